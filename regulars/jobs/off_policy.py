"""What would another policy have earned on the decisions the lake holds?

Each slate is weighed twice from its record: the probability under the policy that drew it and
under the target. An offer earns when it is redeemed by the decision's own outcome inside the
attribution window; decisions whose window is not over are left out and counted.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from foundation.decision import DecisionRecord, Policy, Slate, decode_record
from foundation.errors import NothingToDo, RegularsError
from foundation.lake import Lake
from recommender.off_policy import Logged, OffPolicyValue, off_policy_value
from recommender.policies import Eligible, slot_probabilities
from recommender.position_chances import position_chances
from recommender.slate_value import slate_value

# Records were written as JSON, to the last digit; more than rounding is another catalogue.
SAME = 1e-6


@dataclass(frozen=True)
class PolicyValue:
    """Responses per decision at a placement: at its first position, and of its whole slates.

    `censored` decisions' windows are not over; `unmatched` ones no longer give the propensity
    that was recorded, since the catalogue has changed. Both are left out.
    """

    first: OffPolicyValue
    slate: OffPolicyValue
    decisions: int
    censored: int
    unmatched: int


@dataclass(frozen=True)
class _Row:
    """A position of a decision: both policies' chances of what was there."""

    customer_id: str
    decision_id: str
    offer_id: str | None
    propensity: float
    target: float
    valid: bool


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
    records = _records(lake, placement)
    if not records:
        raise NothingToDo(
            f"no decision for placement {placement!r} is in the lake; run 'regulars ingest' first"
        )
    window = timedelta(days=days)
    over = [record for record in records if record.at + window <= until]
    offers = offers_known(lake)
    redeemed = _redeemed(lake, until)
    first: list[_Row] = []
    slates: list[_Row] = []
    unmatched = 0
    positions = max((p.limit for r in over for p in r.placements if p.name == placement), default=1)
    for record in over:
        rows = _rows(record, placement, target, offers, positions)
        if rows is None:
            unmatched += 1
            continue
        first.append(rows[0])
        slates += rows[1:]
    earned = {
        (record.decision_id, offer_id)
        for record in over
        for offer_id, at in redeemed.get(record.decision_id, [])
        if record.at <= at < record.at + window
    }
    return PolicyValue(
        first=off_policy_value(_logged(first, earned)),
        slate=slate_value(_logged(slates, earned), positions),
        decisions=len(over) - unmatched,
        censored=len(records) - len(over),
        unmatched=unmatched,
    )


def _records(lake: Lake, placement: str) -> list[DecisionRecord]:
    decisions = lake.table("decisions")
    named = decisions.filter(decisions.slates.contains(json.dumps(placement)))
    rows = lake.fetch(named.order_by("at", "decision_id").select("record"))
    records = [decode_record(text) for text in rows["record"].to_pylist()]
    return [r for r in records if any(slate.placement == placement for slate in r.slates)]


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


def _redeemed(lake: Lake, until: datetime) -> dict[str, list[tuple[str, datetime]]]:
    told = lake.table("interactions")
    told = told.filter((told.kind == "redeem") & told.decision_id.notnull() & (told["at"] < until))
    found: dict[str, list[tuple[str, datetime]]] = {}
    for row in lake.fetch(told.select("decision_id", "offer_id", "at")).to_pylist():
        found.setdefault(row["decision_id"], []).append((row["offer_id"], row["at"]))
    return found


def _rows(
    record: DecisionRecord,
    placement: str,
    target: Policy,
    offers: dict[str, tuple[Eligible, frozenset[str]]],
    positions: int,
) -> list[_Row] | None:
    """Return the first position's row, then one for each position; None where unmatched."""
    slate = next(slate for slate in record.slates if slate.placement == placement)
    if not record.propensity_valid:
        return [_Row(record.customer_id, record.decision_id, None, 1.0, 1.0, False)] * (
            positions + 1
        )
    if target.scored is not None and target.scored != record.policy.scored:
        raise RegularsError(
            f"the target ranks by {target.scored} scores, decision {record.decision_id!r} recorded "
            f"{record.policy.scored or 'none'}; evaluate on decisions of a policy that ranks alike"
        )
    limit = next(p.limit for p in record.placements if p.name == placement)
    eligible = eligible_at(record, placement, offers)
    shown = [offer.offer_id for offer in slate.offers]
    logging, wanted = (
        slot_probabilities(policy, eligible, record.scores, limit, shown)
        for policy in (record.policy, target)
    )
    if abs(logging[-1] - slate.slate_propensity) > SAME * slate.slate_propensity:
        return None
    top = _Row(
        record.customer_id, record.decision_id, shown[0] if shown else None,
        logging[0], wanted[0], True,
    )  # fmt: skip
    here, there = (
        position_chances(policy, eligible, record.scores, limit)
        for policy in (record.policy, target)
    )
    padded = [*shown, *[None] * (positions - len(shown))]
    rows = [
        _Row(
            record.customer_id,
            record.decision_id,
            offer_id,
            # Below its limit a slate is empty for sure.
            here[place][offer_id] if place < limit else 1.0,
            there[place].get(offer_id, 0.0) if place < limit else 1.0,
            True,
        )
        for place, offer_id in enumerate(padded)
    ]
    return [top, *rows]


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


def _logged(rows: list[_Row], earned: set[tuple[str, str]]) -> Logged:
    return Logged(
        customer=np.array([row.customer_id for row in rows], dtype=object),
        # Chances of a sum of products may pass 1 by rounding.
        propensity=np.minimum([row.propensity for row in rows], 1.0),
        target=np.minimum([row.target for row in rows], 1.0),
        reward=np.array(
            [float((row.decision_id, row.offer_id) in earned) for row in rows], dtype=np.float64
        ),
        valid=np.array([row.valid for row in rows], dtype=bool),
    )
