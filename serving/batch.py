"""Batch: the service's own decisions for many customers, recorded and counted like any other.

Nothing is decided otherwise here than for one who asks: the same function, knowledge, state,
counters and records. A scarce offer is reserved when she activates it, not when she is sent it.
"""

import asyncio
import secrets
from collections.abc import Sequence

from foundation.contact_policy import Decided
from foundation.decision import DecisionRecord
from foundation.errors import StoreUnavailable
from serving.decide import decide
from serving.ids import new_id
from serving.live import LiveKnowledge
from serving.messages import AskedPlacement, DecisionRequest
from serving.parts import Parts
from serving.reach import zone_of

# One transaction each: large enough to share its commit, small enough to lose little to a kill.
BLOCK = 200
LOADING_SECONDS = 180.0


class BatchDecisions:
    """Decides for blocks of customers, by what is live."""

    def __init__(self, parts: Parts, live: LiveKnowledge) -> None:
        self._parts = parts
        self._live = live

    async def models_loaded(self) -> None:
        """Wait until it is known which models decide: a batch has the time that a checkout has not.

        Raises:
            StoreUnavailable: They do not come.
        """
        try:
            async with asyncio.timeout(LOADING_SECONDS):
                while self._live.loading:
                    await asyncio.sleep(0.1)
        except TimeoutError as error:
            raise StoreUnavailable(
                "the models are not loaded yet; see whether MLflow answers, and try again"
            ) from error

    async def decide(
        self,
        batch_id: str,
        customer_ids: Sequence[str],
        channel: str,
        placements: Sequence[AskedPlacement],
    ) -> list[DecisionRecord]:
        """Decide for customers that the batch did not decide for yet, and record it.

        Raises:
            StoreUnavailable: The database does not answer; nothing of these was recorded.
        """
        known = self._live.required()
        outbound = channel in known.contact_policy.outbound
        made: list[DecisionRecord] = []
        left = list(customer_ids)
        while left:
            states = await self._parts.journal.live_states(left, contacts=outbound)
            decided: list[Decided] = []
            for customer_id, state in zip(left, states, strict=True):
                profile = self._parts.profiles.get(customer_id)
                record = decide(
                    # The channel was checked where it was asked for.
                    DecisionRequest(customer_id, channel, list(placements)),  # pyright: ignore[reportArgumentType]
                    profile,
                    state,
                    known,
                    decision_id=new_id(self._parts.clock),
                    at=self._parts.clock.now(),
                    seed=secrets.randbits(53),
                )
                decided.append(Decided(record, zone_of(profile, known.time_zone)))
            written = await self._parts.contact_counter.record(decided, batch_id)
            told = list(zip(decided, written, strict=True))
            made += [one.record for one, became in told if became.kept]
            # A rival may have contacted them since: their new state says so.
            left = [one.record.customer_id for one, became in told if not became.kept]
        return made
