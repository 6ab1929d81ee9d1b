"""Claims on offers: kept for a customer, used, given back, each counted once for all channels."""

import asyncio
from collections.abc import Sequence

import msgspec

from foundation.errors import KeyReused, StoreUnavailable
from foundation.own_id import own_id
from foundation.replay import Replay
from foundation.rule_profile import Facts
from foundation.uses import Claim, Claimed, Ended
from serving import metrics
from serving.arms import arms_of
from serving.batching import Batcher
from serving.breaker import Breaker
from serving.eligibility import inapplicable
from serving.ids import new_id
from serving.live import LiveKnowledge
from serving.messages import (
    ActivationAnswer,
    ActivationRequest,
    RedemptionAnswer,
    RedemptionRequest,
)
from serving.parts import Parts

# A till waits no longer; under its Idempotency-Key it may ask again, whatever became of this one.
CLAIM_SECONDS = 5.0
# After this many in a row that were too late or failed.
FAILURES = 3


class Claims:
    """Activations and redemptions of scarce offers; the counter itself is the Uses port."""

    def __init__(self, parts: Parts, live: LiveKnowledge) -> None:
        self._parts = parts
        self._live = live
        # One offer that all want is one lock: a second lane serves the other offers meanwhile.
        self._claims: Batcher[Claim, Claimed | Exception | None] = Batcher(self._judge, lanes=2)
        self._breaker = Breaker(FAILURES, told=metrics.BREAKER.labels("claim"))

    async def activate(self, asked: ActivationRequest, replay: str | None) -> ActivationAnswer:
        """Keep one use of an offer for a customer, for a while.

        Args:
            replay: Names the request; the same one gets the same answer again.

        Raises:
            KeyReused: The name belongs to another request.
            StoreUnavailable: The database or the profile store does not answer; nothing was kept.
        """
        claim = await self._claim(asked, replay, redeem=False)
        granted = await self._granted(claim)
        return ActivationAnswer(granted.use_id, granted.expires_at, granted.refused)

    async def redeem(self, asked: RedemptionRequest, replay: str | None) -> RedemptionAnswer:
        """Use an offer now: the use kept for her, or one of those left.

        Raises:
            As `activate`.
        """
        claim = await self._claim(asked, replay, redeem=True)
        claim = msgspec.structs.replace(
            claim, activation_id=asked.activation_id, order_id=asked.order_id
        )
        granted = await self._granted(claim)
        return RedemptionAnswer(granted.use_id, granted.refused)

    async def cancel(self, activation_id: str, replay: Replay | None = None) -> Ended:
        """Give a reservation back before its time.

        Args:
            replay: Names the request; the same one gets the same answer again.

        Raises:
            As `activate`.
        """
        ended = await self._parts.uses.cancel(activation_id, replay)
        return await self._ended("activation", ended)

    async def reverse(self, redemption_id: str, replay: Replay | None = None) -> Ended:
        """Give a use back after a return: cap, stock and budget have it again.

        Args, Raises:
            As `cancel`.
        """
        ended = await self._parts.uses.reverse(
            redemption_id, own_id("reverse", redemption_id), replay
        )
        return await self._ended("redemption", ended)

    async def _claim(
        self, asked: ActivationRequest | RedemptionRequest, replay: str | None, *, redeem: bool
    ) -> Claim:
        known = self._live.required()
        profile = await self._parts.profiles.fetch(asked.customer_id)
        offer = known.catalogue.by_id.get(asked.offer_id)
        if offer is None:
            reason = "unknown_offer"
        else:
            facts = Facts({}, {}) if profile is None else profile.facts(known.feature_names)
            reason = inapplicable(
                offer, known.catalogue, facts, self._parts.clock.now(), asked.store_id
            )
        return Claim(
            use_id=new_id(self._parts.clock),
            customer_id=asked.customer_id,
            offer_id=asked.offer_id,
            channel=asked.channel,
            redeem=redeem,
            replay=replay,
            store_id=asked.store_id,
            decision_id=asked.decision_id,
            inapplicable=reason,
            used_before=0 if profile is None else profile.redemptions.get(asked.offer_id, 0),
            lasts_seconds=self._parts.activation_seconds,
            valid_to=None if offer is None else offer.valid_to,
            arm=arms_of(asked.customer_id, profile, known.catalogue.shared).get(asked.offer_id),
        )

    async def _judge(self, claims: Sequence[Claim]) -> list[Claimed | Exception | None]:
        """Judge claims in one transaction; one that fails for a reason of its own fails alone."""
        try:
            return list(await self._parts.uses.claim(claims))
        except StoreUnavailable as error:
            return [error] * len(claims)
        except Exception as error:  # Whatever it is: its claim hears of it, the others do not.
            if len(claims) == 1:
                return [error]
        half = len(claims) // 2
        return [*await self._judge(claims[:half]), *await self._judge(claims[half:])]

    async def _granted(self, claim: Claim) -> Claimed:
        # Also what is refused goes there: the same request was perhaps granted before.
        if not self._breaker.allows():
            raise StoreUnavailable("the database does not answer, and counts no use; try again")
        by = asyncio.get_running_loop().time() + CLAIM_SECONDS
        try:
            claimed = await self._claims.submit(claim, by)
            if isinstance(claimed, Exception):
                raise claimed
        except StoreUnavailable:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        if claimed is None:
            raise KeyReused
        kind = "redemption" if claim.redeem else "activation"
        metrics.USES.labels(kind, claimed.refused or "granted").inc()
        return claimed

    async def _ended(self, kind: str, ended: Ended) -> Ended:
        if ended.changed and ended.state is not None:
            metrics.USES.labels(kind, ended.state).inc()
        await self._live.read_uses()
        return ended
