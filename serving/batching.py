"""Group work: requests that wait at the same time share one round trip or one commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 256


class Batcher(Generic[Item, Result]):
    """Collects items while earlier batches are under way, and does each batch as one.

    `work` gets a batch and returns a result for each item, in order; its error reaches every
    waiting request of that batch. `lanes` batches may be under way at once.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], lanes: int
    ) -> None:
        self._work = work
        self._free = lanes
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Return the item's result once its batch is done."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._start()
        return await future

    def _start(self) -> None:
        while self._free and self._waiting:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, batch: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items were given, {len(results)} results came")
            for (_, future), result in zip(batch, results, strict=True):
                # A request that gave up meanwhile has no ear any more.
                if not future.done():
                    future.set_result(result)
        except Exception as error:  # Every waiting request must hear of it, whatever it is.
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        except BaseException:
            # The work was cancelled: who waits for it would wait for ever.
            for _, future in batch:
                future.cancel()
            raise
        finally:
            self._free += 1
            self._start()
