"""What would another policy have earned on the decisions the lake holds?

Each slate is weighed twice from its record: the probability under the policy that drew it and
under the target. An offer earns when a redemption credited to the decision (see
recommender/credit.py) lies inside the attribution window and is not taken back in it; decisions
whose window is not over are left out and counted.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

from foundation.decision import DecisionRecord, Policy, Slate, decode_record, encode
from foundation.errors import NothingToDo, RegularsError
from foundation.lake import Lake
from recommender.beliefs import FirstShown
from recommender.credit import credited, responded, shown_offers
from recommender.decision_log import decision_records
from recommender.forecasts import direct_by_offer
from recommender.off_policy import Direct, Logged, OffPolicyValue, off_policy_value
from recommender.policies import Eligible, slot_probabilities
from recommender.policy_contest import Contest, contest
from recommender.position_chances import position_chances
from recommender.slate_value import slate_value
from recommender.value import NO_COSTS, Contacts
from regulars.jobs.earned import with_metrics
from regulars.jobs.recorded_scores import Scores

# Records were written as JSON, to the last digit; more than rounding is another catalogue.
SAME = 1e-6
MOST_DECISIONS = 20_000


@dataclass(frozen=True)
class Counted:
    """Decisions of a placement: those evaluated, and why others are left out.

    `censored` ones' windows are not over; `unmatched` ones no longer give the propensity that was
    recorded, since the catalogue has changed. `unscored` ones cannot be scored again: their record
    is of other features or an older release, or their offers have changed. `not_by_chance` were
    drawn by a policy that could not have shown what another one would.
    """

    decisions: int
    censored: int
    unmatched: int
    unscored: int = 0
    not_by_chance: int = 0
    older: int = 0


@dataclass(frozen=True)
class PolicyValue(Counted):
    """Responses per decision at a placement: at its first position, and of its whole slates."""

    first: OffPolicyValue = field(kw_only=True)
    slate: OffPolicyValue = field(kw_only=True)


@dataclass(frozen=True)
class PolicyContest(Counted):
    """The same of two rankings, on the same decisions; older ones than the newest were not asked.

    `slate` is in `unit`: responses of its positions, or money (minor units) that customers brought
    in the window, net of what redeemed offers and contacts cost, whatever it was bought for. Then
    there is no `first` position to tell apart.
    """

    first: Contest | None = field(kw_only=True)
    slate: Contest = field(kw_only=True)
    unit: Literal["responses", "money"] = field(kw_only=True)


@dataclass(frozen=True)
class _Row:
    """A position of a decision, or the whole slate: the policies' chances of what was there.

    `spreads` are, of a position, each target's chances of every offer there.
    """

    customer_id: str
    decision_id: str
    offer_id: str | None
    propensity: float
    targets: tuple[float, ...]
    valid: bool
    place: int = 0
    spreads: tuple[Mapping[str | None, float], ...] = ()


@dataclass
class _Weighed:
    """The rows of all decisions: of first positions, of every position, of whole slates."""

    first: list[_Row] = field(default_factory=list[_Row])
    positions: list[_Row] = field(default_factory=list[_Row])
    whole: list[_Row] = field(default_factory=list[_Row])


class _Log:
    """The decisions of a placement whose window is over, and what was redeemed by them."""

    def __init__(
        self, lake: Lake, placement: str, until: datetime, days: int, most: int | None = None
    ) -> None:
        self.lake, self.placement = lake, placement
        self.window = timedelta(days=days)
        made = _made_at(lake, placement)
        if not made:
            raise NothingToDo(
                f"no decision for placement {placement!r} is in the lake; run 'regulars ingest' "
                "first"
            )
        over = [at for at in made if at + self.window <= until]
        self.censored = len(made) - len(over)
        kept = over if most is None else over[-most:]
        self.older = len(over) - len(kept)
        self.over = _records(lake, placement, kept[0], kept[-1]) if kept else []
        # Beliefs that changed in between were learned from the decisions before the change.
        beliefs = {encode(part.posteriors) for r in self.over for part in _sampling(r.policy)}
        self.adaptive = len(beliefs) > 1
        self.offers = offers_known(lake)
        limits = (p.limit for r in self.over for p in r.placements if p.name == placement)
        self.positions = max(limits, default=1)
        made_at = {record.decision_id: record.at for record in self.over}
        outcomes = credited(lake, shown_offers(lake), "redeem")
        made = pd.to_datetime(outcomes["decision_id"].map(made_at), utc=True)
        inside = (made <= outcomes["at"]) & (outcomes["at"] < made + self.window)
        stayed = responded(outcomes[inside], ["decision_id", "offer_id"])
        self.earned = set(stayed.itertuples(index=False, name=None))

    def weighed(
        self, policy: Policy, rankings: Sequence[Scores | None], *, chance_only: bool
    ) -> tuple[_Weighed, Counted]:
        """Weigh each decision by the policy on several rankings; None ranks as was recorded."""
        found = _Weighed()
        left: Counter[str] = Counter()
        for record in self.over:
            if chance_only and not _could_show(record, policy):
                left["not_by_chance"] += 1
                continue
            scores = [record.scores if rank is None else rank(record) for rank in rankings]
            if any(told is None for told in scores):
                left["unscored"] += 1
                continue
            known = [told for told in scores if told is not None]
            if not self._weigh(record, policy, known, found):
                left["unmatched"] += 1
        decisions = len(self.over) - left.total()
        return found, Counted(
            decisions, self.censored, older=self.older, **{"unmatched": 0, **left}
        )

    def _weigh(
        self,
        record: DecisionRecord,
        policy: Policy,
        rankings: Sequence[Mapping[str, float]],
        found: _Weighed,
    ) -> bool:
        """Add a decision's rows; False where the log's own chance is no longer the recorded one."""
        who, which = record.customer_id, record.decision_id
        if not record.propensity_valid:
            blank = _Row(who, which, None, 1.0, (1.0,) * len(rankings), False)
            found.first.append(blank)
            found.whole.append(blank)
            found.positions += [blank] * self.positions
            return True
        slate = next(slate for slate in record.slates if slate.placement == self.placement)
        limit = next(p.limit for p in record.placements if p.name == self.placement)
        eligible = eligible_at(record, self.placement, self.offers)
        shown = [offer.offer_id for offer in slate.offers]
        drawn = [(record.policy, record.scores), *((policy, scores) for scores in rankings)]
        slots = [slot_probabilities(p, eligible, scores, limit, shown) for p, scores in drawn]
        if abs(slots[0][-1] - slate.slate_propensity) > SAME * slate.slate_propensity:
            return False

        def row(offer_id: str | None, chances: Sequence[float], place: int = 0) -> _Row:
            spreads = tuple(each[place] for each in places[1:]) if place < limit else ()
            return _Row(who, which, offer_id, chances[0], tuple(chances[1:]), True, place, spreads)

        places = [position_chances(p, eligible, scores, limit) for p, scores in drawn]
        found.first.append(row(shown[0] if shown else None, [each[0] for each in slots]))
        found.whole.append(row(None, [each[-1] for each in slots]))
        for place, offer_id in enumerate([*shown, *[None] * (self.positions - len(shown))]):
            # Below its limit a slate is empty for sure.
            chances = [each[place].get(offer_id, 0.0) if place < limit else 1.0 for each in places]
            found.positions.append(row(offer_id, chances, place))
        return True

    def logged(self, rows: list[_Row], reward: Sequence[float] | None = None) -> Logged:
        """Return rows as a log of the first ranking; they earn what was redeemed, or `reward`."""
        told = reward
        if told is None:
            told = [float((row.decision_id, row.offer_id) in self.earned) for row in rows]
        return Logged(
            customer=np.array([row.customer_id for row in rows], dtype=object),
            # Chances of a sum of products may pass 1 by rounding.
            propensity=np.minimum([row.propensity for row in rows], 1.0),
            target=_targets(rows, 0),
            reward=np.array(told, dtype=np.float64),
            valid=np.array([row.valid for row in rows], dtype=bool),
            adaptive=self.adaptive,
        )

    def direct(self, rows: list[_Row], ranking: int = 0) -> Direct:
        """Return the forecasts of positions' rewards for the doubly robust value of a ranking."""
        return direct_by_offer(
            np.array([row.customer_id for row in rows], dtype=object),
            np.array([row.place for row in rows], dtype=np.int64),
            [row.offer_id for row in rows],
            np.array([float((row.decision_id, row.offer_id) in self.earned) for row in rows]),
            [row.spreads[ranking] if row.spreads else {} for row in rows],
        )

    def money(self, rows: list[_Row], contacts: Contacts) -> list[float]:
        """Return what each decision's customer brought in its window, minor units.

        It is net of a contact for each offer that the placement showed, as served scores are.
        """
        if not rows:
            return []
        at = {record.decision_id: record.at for record in self.over}
        each = contacts.typical([record.channel for record in self.over])
        spent = {
            record.decision_id: cost
            * sum(len(slate.offers) for slate in record.slates if slate.placement == self.placement)
            for record, cost in zip(self.over, each, strict=True)
        }
        units = pd.DataFrame(
            {
                "unit_id": [row.decision_id for row in rows],
                "customer_id": [row.customer_id for row in rows],
                "variant": "",
                "since": pd.to_datetime([at[row.decision_id] for row in rows], utc=True),
            }
        )
        metrics = with_metrics(self.lake, units, units["since"] + pd.Timedelta(self.window))
        found = metrics.set_index("unit_id")["margin"].reindex(units["unit_id"])
        return [
            float(value) - float(spent[row.decision_id])
            for value, row in zip(found, rows, strict=True)
        ]


def policy_value(
    lake: Lake, target: Policy, placement: str, until: datetime, days: int = 30
) -> PolicyValue:
    """Evaluate a policy on the logged decisions of a placement.

    Args:
        target: A policy that ranks by the scores that were recorded, if by any.
        until: Outcomes are known up to here.
        days: Attribution window of a decision.

    Raises:
        NothingToDo: No decision was made for the placement.
        RegularsError: The target ranks by scores that were not recorded, or an offer is unknown.
    """
    log = _Log(lake, placement, until, days)
    for record in log.over:
        if (
            record.propensity_valid
            and target.scored is not None
            and target.scored != record.policy.scored
        ):
            raise RegularsError(
                f"the target ranks by {target.scored} scores, decision {record.decision_id!r} "
                f"recorded {record.policy.scored or 'none'}; evaluate on decisions of a policy "
                "that ranks alike"
            )
    rows, counted = log.weighed(target, [None], chance_only=False)
    return PolicyValue(
        **vars(counted),
        first=off_policy_value(log.logged(rows.first), direct=log.direct(rows.first)),
        slate=slate_value(
            log.logged(rows.positions), log.positions, direct=log.direct(rows.positions)
        ),
    )


def policy_contest(
    lake: Lake,
    policy: Policy,
    challenger: Scores,
    champion: Scores,
    placement: str,
    until: datetime,
    days: int = 30,
    most: int = MOST_DECISIONS,
    contacts: Contacts = NO_COSTS,
) -> PolicyContest:
    """Evaluate a policy that ranks by two models in turn, on the same decisions of a placement.

    Only decisions count that were drawn in part at random, whoever drew them. A policy that may
    show nothing on purpose is judged by decisions of such policies, and in money: its best slates
    have nothing to redeem.

    Args:
        policy: What draws, by either model's scores.
        until, days: As for `policy_value`.
        most: The newest decisions that are asked; scoring each again takes milliseconds.
        contacts: What they cost, where value is money.

    Raises:
        NothingToDo, RegularsError: As `policy_value`.
    """
    log = _Log(lake, placement, until, days, most)
    rows, counted = log.weighed(policy, [challenger, champion], chance_only=True)
    if policy.scored == "uplift":
        logged = log.logged(rows.whole, log.money(rows.whole, contacts))
        slate = contest(logged, _targets(rows.whole, 1))
        return PolicyContest(**vars(counted), first=None, slate=slate, unit="money")
    first = contest(
        log.logged(rows.first),
        _targets(rows.first, 1),
        directs=(log.direct(rows.first), log.direct(rows.first, 1)),
    )
    slate = contest(
        log.logged(rows.positions),
        _targets(rows.positions, 1),
        rows_a_decision=log.positions,
        directs=(log.direct(rows.positions), log.direct(rows.positions, 1)),
    )
    return PolicyContest(**vars(counted), first=first, slate=slate, unit="responses")


@dataclass(frozen=True)
class FirstSlots:
    """What the decisions of a placement showed first; `left_out` are fallbacks and empty slates."""

    shown: FirstShown
    left_out: int
    censored: int


def first_shown(
    lake: Lake, placement: str, until: datetime, days: int = 30, *, money: Contacts | None = None
) -> FirstSlots:
    """Return what stood at the first slot and what it earned: a response, or money of the window.

    Args:
        until, days: As for `policy_value`.
        money: What contacts cost where they earn what the customer brought in the window, minor
            units net of them, and not a response.

    Raises:
        NothingToDo: No decision was made for the placement.
    """
    log = _Log(lake, placement, until, days)
    rows = [
        _Row(record.customer_id, record.decision_id, shown.offer_id, shown.propensity, (1.0,), True)
        for record in log.over
        if record.propensity_valid
        for slate in record.slates
        if slate.placement == placement
        for shown in slate.offers[:1]
    ]
    logged = log.logged(rows, None if money is None else log.money(rows, money))
    offer = np.array([row.offer_id for row in rows], dtype=object)
    shown = FirstShown(logged.customer, offer, logged.propensity, logged.reward)
    return FirstSlots(shown, len(log.over) - len(rows), log.censored)


def newest_decisions(lake: Lake, most: int) -> list[DecisionRecord]:
    """Return the newest decisions, the newest first."""
    newest: Any = lake.table("decisions")
    newest = newest.order_by(newest["at"].desc(), "decision_id").limit(most).select("record")
    return [decode_record(text) for text in lake.fetch(newest)["record"].to_pylist()]


def placements_decided(lake: Lake) -> list[str]:
    """Return the placements that decisions were made for, the busiest first."""
    counted: Counter[str] = Counter()
    for text in lake.fetch(lake.table("decisions").select("slates"))["slates"].to_pylist():
        counted.update(slate.placement for slate in msgspec.json.decode(text, type=list[Slate]))
    return [name for name, _ in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def _could_show(record: DecisionRecord, policy: Policy) -> bool:
    """Whether a decision's policy gave every slate of the target a chance."""
    if not record.propensity_valid:
        # Left out as such, and counted there.
        return True
    if record.policy.kind != "random" and record.policy.exploration == 0:
        return False
    # "No offer" has a chance only with policies that rank it.
    return policy.scored != "uplift" or record.policy.scored == "uplift"


def _sampling(policy: Policy) -> list[Policy]:
    return [part for part in (policy, *policy.parts) if part.kind == "thompson"]


def _targets(rows: list[_Row], ranking: int) -> np.ndarray:
    return np.minimum([row.targets[ranking] for row in rows], 1.0)


def _made_at(lake: Lake, placement: str) -> list[datetime]:
    """Return when a placement's decisions were made, in the order of time."""
    rows = lake.fetch(_named(lake, placement).order_by("at").select("at", "slates")).to_pylist()
    return [
        row["at"]
        for row in rows
        if any(
            slate.placement == placement
            for slate in msgspec.json.decode(row["slates"], type=list[Slate])
        )
    ]


def _records(lake: Lake, placement: str, first: datetime, last: datetime) -> list[DecisionRecord]:
    named = _named(lake, placement).filter(lambda t: t["at"].between(first, last))
    records = decision_records(lake, named)
    return [r for r in records if any(slate.placement == placement for slate in r.slates)]


def _named(lake: Lake, placement: str) -> Any:
    decisions = lake.table("decisions")
    return decisions.filter(decisions.slates.contains(json.dumps(placement)))


def offers_known(lake: Lake) -> dict[str, tuple[Eligible, frozenset[str]]]:
    """Return the lake's offers, each with the placements it is for (none listed: all)."""
    table = lake.table("offers").select("offer_id", "priority", "exclusive_group", "placements")
    return {
        row["offer_id"]: (
            Eligible(row["offer_id"], row["priority"], row["exclusive_group"]),
            frozenset(row["placements"]),
        )
        for row in lake.fetch(table).to_pylist()
    }


def eligible_at(
    record: DecisionRecord, placement: str, offers: dict[str, tuple[Eligible, frozenset[str]]]
) -> list[Eligible]:
    """Return what was left for a placement below those that were filled before it."""
    above: list[Slate] = []
    for slate in record.slates:
        if slate.placement == placement:
            break
        above.append(slate)
    unknown = [offer_id for offer_id in record.scores if offer_id not in offers]
    if unknown:
        raise RegularsError(
            f"decision {record.decision_id!r} considered offer {unknown[0]!r}, which the lake does "
            "not know; load the offers, then evaluate again"
        )
    taken = {shown.offer_id for slate in above for shown in slate.offers}
    groups = {offers[offer_id][0].exclusive_group for offer_id in taken} - {None}
    return [
        offer
        for offer, placements in (offers[offer_id] for offer_id in record.scores)
        if offer.offer_id not in taken
        and offer.exclusive_group not in groups
        and (not placements or placement in placements)
    ]
