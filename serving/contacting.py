"""Contacting: decisions that go out to a customer, kept only together with their contact."""

from functools import partial

from foundation.contact_policy import Decided, Written
from foundation.errors import StoreUnavailable
from foundation.profile import UNCOUNTED, LiveState
from serving.batching import Batcher
from serving.contacts import ContactCounter
from serving.errors import Overloaded
from serving.journal import Journal


class Contacting:
    """Reads states with contacts, and writes decisions with theirs, many in one round trip.

    Without the database nobody may be contacted: her consent is not known then.

    Args:
        patience: Seconds that the database may take for a round trip; while it takes no longer,
            whoever asks waits for her turn.
    """

    def __init__(self, journal: Journal, counter: ContactCounter, patience: float) -> None:
        self._reads: Batcher[str, LiveState] = Batcher(
            partial(journal.live_states, contacts=True), lanes=1, patience=patience
        )
        self._writes: Batcher[Decided, Written] = Batcher(
            counter.record, lanes=1, patience=patience
        )

    async def state_of(self, customer_id: str, by: float) -> LiveState:
        """Return her state with her contacts, UNCOUNTED where it does not come in time.

        Args:
            by: When it has to be there, on the loop's clock.
        """
        try:
            return await self._reads.submit(customer_id, by)
        except (StoreUnavailable, Overloaded):
            return UNCOUNTED

    async def keep(self, decided: Decided, by: float) -> Written | None:
        """Write a decision and count its contact; None where the database does not do it in time.

        What is late may yet be written and counted: then she is contacted less, never more.
        """
        try:
            return await self._writes.submit(decided, by)
        except (StoreUnavailable, Overloaded):
            return None
