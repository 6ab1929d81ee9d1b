"""Contacting: decisions that go out to a customer, kept only together with their contact.

`states` are read with her contacts.
"""

from functools import partial

from foundation.contact_policy import Decided, Written
from foundation.errors import StoreUnavailable
from serving import metrics
from serving.batching import Batcher, shared
from serving.breaker import Breaker
from serving.contacts import ContactCounter
from serving.errors import Overloaded
from serving.journal import Journal
from serving.states import FAILURES, States


class Contacting:
    """Reads states with contacts, and writes decisions with theirs, many in one round trip.

    Without the database nobody may be contacted: her consent is not known then.

    Args:
        patience: Seconds that the database may take for a round trip; while it takes no longer,
            whoever asks waits for her turn.
    """

    def __init__(self, journal: Journal, counter: ContactCounter, patience: float) -> None:
        self.states = States(partial(journal.live_states, contacts=True), "contact_state", patience)
        self._writes: Batcher[Decided, Written] = Batcher(
            counter.record, lanes=1, patience=patience
        )
        self._breaker = Breaker(FAILURES, told=metrics.BREAKER.labels("contact"))

    async def keep(self, decided: Decided, by: float) -> Written | None:
        """Write a decision and count its contact; None where the database does not do it in time.

        What is late may yet be written and counted: then she is contacted less, never more.
        """
        if not self._breaker.allows():
            return None
        try:
            written = await self._writes.submit(decided, by)
        except (StoreUnavailable, Overloaded) as error:
            self._breaker.failed(shared(error))
            return None
        self._breaker.succeeded()
        return written
