"""What happened to a customer since the snapshot: known in time, or not at all."""

from collections.abc import Awaitable, Callable, Sequence

from foundation.errors import StoreUnavailable
from foundation.profile import UNCOUNTED, LiveState
from serving import metrics
from serving.batching import Batcher, shared
from serving.breaker import Breaker

# Single requests that are late under load are no outage.
FAILURES = 20

# From one read to the next; those who come meanwhile share it.
REST_SECONDS = 0.002

Read = Callable[[Sequence[str]], Awaitable[Sequence[LiveState]]]


class States:
    """Reads live states, one round trip for all who wait.

    Args:
        read: Returns the state of each customer, in order.
        guards: What the metrics call it.
        patience: Seconds that the database may take for a round trip; while it takes no longer,
            whoever asks waits for her turn.
    """

    def __init__(self, read: Read, guards: str, patience: float) -> None:
        # One read at a time: the more come meanwhile, the cheaper each one is.
        self._reads: Batcher[str, LiveState] = Batcher(
            read, lanes=1, patience=patience, rest=REST_SECONDS
        )
        self._breaker = Breaker(FAILURES, told=metrics.BREAKER.labels(guards))

    async def of(self, customer_id: str, by: float) -> LiveState:
        """Return a customer's live state, UNCOUNTED where it does not come in time.

        Args:
            by: When it has to be there, on the loop's clock.

        Raises:
            Overloaded: Too many wait already.
        """
        if not self._breaker.allows():
            return UNCOUNTED
        try:
            state = await self._reads.submit(customer_id, by)
        except StoreUnavailable as error:
            self._breaker.failed(shared(error))
            return UNCOUNTED
        self._breaker.succeeded()
        return state
