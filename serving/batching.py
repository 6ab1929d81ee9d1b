"""Group work: requests that wait at the same time share one round trip or one commit."""

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Generic, TypeVar

from serving.errors import Overloaded, TooLate

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 256
# More than this would wait so long that a caller does better to come again.
MOST_WAITING = 512
# A loop that comes to a deadline this late was held up itself, and has answers yet to read.
HELD_UP_SECONDS = 0.005


def shared(error: Exception) -> Exception | None:
    """Return what all who gave up together heard, None of an error that is each one's own."""
    return error if isinstance(error, TooLate) else None


class Batcher(Generic[Item, Result]):
    """Collects items while earlier batches are under way, and does each batch as one.

    `work` gets a batch and returns a result for each item, in order; its error reaches every
    waiting request of that batch. `lanes` batches may be under way at once, each of `largest`
    items at most.

    After a batch the next one waits for `rest` seconds: a few who come one after the other would
    each pay for a batch of their own.

    Whoever waits while the work is done at least every `patience` seconds waits on past its
    deadline: its turn comes, and to do something else instead would only make the queue longer.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        lanes: int,
        largest: int = LARGEST,
        most_waiting: int = MOST_WAITING,
        patience: float = 0.0,
        rest: float = 0.0,
    ) -> None:
        self._work = work
        self._free = lanes
        self._largest = largest
        self._most_waiting = most_waiting
        self._patience = patience
        self._rest = rest
        self._rested: asyncio.TimerHandle | None = None
        self._done_at = -math.inf
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._running: set[asyncio.Task[None]] = set()
        # One timer for all deadlines: a timer for each request costs more than its place here.
        self._deadlines: list[tuple[float, int, asyncio.Future[Result]]] = []
        self._order = count()
        self._timer: asyncio.Handle | None = None
        # Kept beside the timer: one that is due at once has no `when()` under uvloop.
        self._rings_at = math.inf

    @property
    def lively(self) -> bool:
        """Whether the work was done just now, so that waiting for it is worth while."""
        return asyncio.get_running_loop().time() < self._lively_until

    @property
    def _lively_until(self) -> float:
        return self._done_at + self._patience

    async def submit(self, item: Item, by: float = math.inf) -> Result:
        """Return the item's result once its batch is done.

        Args:
            by: When the caller gives up, on the loop's clock, unless the work is lively. What is
                not under way by then is not done any more.

        Raises:
            TooLate: It was not done in time; what was under way may be done all the same.
            Overloaded: Too many wait already.
        """
        loop = asyncio.get_running_loop()
        if len(self._waiting) >= self._most_waiting:
            raise Overloaded("too many requests wait already; come again in a second")
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        self._start()
        if by < math.inf:
            by = max(by, self._lively_until)
            heapq.heappush(self._deadlines, (by, next(self._order), future))
            if by < self._rings_at:
                self._set_timer(loop, by)
        return await future

    def _start(self) -> None:
        while self._free and self._waiting:
            if self._rest and self._rests():
                return
            batch = self._next_batch()
            if not batch:
                return
            self._free -= 1
            task = asyncio.create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _rests(self) -> bool:
        """Whether the batch before was just now; then the next one starts a little later."""
        loop = asyncio.get_running_loop()
        wait = self._done_at + self._rest - loop.time()
        if wait > 0 and self._rested is None:
            self._rested = loop.call_later(wait, self._go_on)
        return self._rested is not None

    def _go_on(self) -> None:
        self._rested = None
        self._start()

    def _next_batch(self) -> "list[tuple[Item, asyncio.Future[Result]]]":
        """Take the first of those that still have an ear for their result."""
        waiting = [pair for pair in self._waiting if not pair[1].done()]
        self._waiting = waiting[self._largest :]
        return waiting[: self._largest]

    async def _run(self, batch: list[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
            self._done_at = asyncio.get_running_loop().time()
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

    def _set_timer(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = loop.call_at(at, self._ring, at)

    def _ring(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - due
        if late > HELD_UP_SECONDS:
            # What the loop could not read yet was perhaps in time: that comes in first.
            more = max(HELD_UP_SECONDS, min(late, self._patience))
            self._timer = loop.call_later(more, self._give_up, due)
            return
        self._give_up(now)

    def _give_up(self, now: float) -> None:
        self._timer, self._rings_at = None, math.inf
        deadlines = self._deadlines
        # One for all of them: they share what they waited for.
        late = TooLate("it was not done in time; try again")
        if self.lively and deadlines:
            self._set_timer(asyncio.get_running_loop(), self._lively_until)
            return
        while deadlines and (deadlines[0][0] <= now or deadlines[0][2].done()):
            _, _, future = heapq.heappop(deadlines)
            if not future.done():
                future.set_exception(late)
        # Who gave up makes room, also while a batch hangs.
        self._waiting = [pair for pair in self._waiting if not pair[1].done()]
        if deadlines:
            self._set_timer(asyncio.get_running_loop(), deadlines[0][0])
