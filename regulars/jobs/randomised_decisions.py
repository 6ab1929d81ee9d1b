"""Which of our decisions say what an offer causes: who got it by chance, and who got none?

One row a customer and experiment: her first decision, since the variant she is in is independent
only of what came before it. The treatment is the offer that stood first at the decision's first
placement, or "no offer"; the outcome is what she earned in the window after it, over all products
and net of what redeemed offers cost. Only decisions that could show one offer in all are taken:
the effect of several would be credited to the first.

"No offer" is rarely drawn by a policy; it is what a variant of an experiment gives. Its
probability is therefore that of the variant, and an offer's is that of the variant times the one
that the policy drew it with. Compared are the variants that give none and the one variant that
draws most at random; given that a customer is in one of these, their shares are

    p(no offer) = share(none) / (share(none) + share(drawing))
    p(offer a)  = share(drawing) / (share(none) + share(drawing)) x propensity(a),

whatever is known of her. The global holdout is such an experiment while no other one decides. A
policy to which "no offer" is a candidate of its own (uplift) is compared within itself: what it
would have drawn for customers of other variants is in no record.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import compress
from typing import Any

import numpy as np
import pandas as pd

from adapters.postgres_admin import StoredExperiment
from experiments.design import Experiment, Variant
from experiments.holdout import HOLDOUT
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.decision import DecisionRecord, Policy
from foundation.errors import TooLittleData
from foundation.features import Feature
from foundation.lake import Lake
from recommender.affinity import response_hash
from recommender.decision_log import decision_records, time_zones
from recommender.policies import Eligible
from recommender.policy_value import Price
from recommender.trial import FEWEST_UNITS, FLOOR, Trial, trial
from recommender.value import Contacts
from regulars.jobs.earned import with_metrics
from regulars.jobs.off_policy import eligible_at, offers_known

NO_OFFER = "no offer"
# Of offers that name no window: until their end would be another one for each decision.
USUAL_DAYS = 30
ROUNDING = 1e-9
MANY_SLOTS = "that could show several offers at once"
WAY_OUT = (
    "start an experiment with one variant of policy none and one of policy random ('regulars "
    "experiment start FILE'), and train again when its outcomes are in the lake ('regulars ingest')"
)


@dataclass(frozen=True)
class RandomisedDecisions:
    """Decisions drawn by chance, with what followed.

    Attributes:
        rows: customer_id, unit, at, channel, offer_id (missing: no offer), propensity, drawn
            (whether a policy drew it, not a variant that gives none), outcome (minor units, before
            any contact's cost), response (whether she redeemed any offer in the window).
        matrix: Her features and the moment's as recorded, NaN where unknown, shape (n, p).
        names: Of the matrix's columns.
        offers: The choice that every row had, in the order of treatment codes from 1.
        placement: Where they stood.
        policies: The kinds of policy that drew.
        days: The window after the decision that the outcome counts.
        again: Rows whose customer was decided for again inside the window.
        left_out: Decisions left out, by reason.
    """

    rows: pd.DataFrame
    matrix: np.ndarray
    names: tuple[str, ...]
    offers: tuple[str, ...]
    placement: str
    policies: tuple[str, ...]
    days: int
    again: int
    left_out: dict[str, int]

    @property
    def shown(self) -> dict[str, int]:
        """Customers by what they got, "no offer" among them."""
        got = self.rows["offer_id"].fillna(NO_OFFER)
        customers = self.rows.groupby(got)["customer_id"].nunique().to_dict()
        return {name: int(customers.get(name, 0)) for name in (NO_OFFER, *self.offers)}

    def trial(self) -> Trial:
        """Return the rows as a trial, "no offer" its control.

        Raises:
            TooLittleData: Too few got an offer or none, or some by too small a chance.
        """
        scarce = [(name, n) for name, n in self.shown.items() if n < FEWEST_UNITS]
        if scarce:
            name, n = min(scarce, key=lambda one: one[1])
            what = name if name == NO_OFFER else f"offer {name!r}"
            raise TooLittleData(
                f"{what} came by chance to {n} customers, at least {FEWEST_UNITS} are needed to "
                f"learn what it causes{told(self.left_out)}; let the experiment run on, draw by "
                "policy random, or name fewer offers in its variant"
            )
        # Written so that rounding alone refuses nothing.
        rare = int((self.rows["propensity"] < FLOOR * (1 - ROUNDING)).sum())
        if rare:
            raise TooLittleData(
                f"{rare:,} of {len(self.rows):,} decisions drew what they showed with a "
                f"probability below {FLOOR:g}, and so few of their kind speak for all others; "
                "let a variant of the experiment draw by policy random, or name fewer offers in it"
            )
        return self.judged(learn=True)

    def price(self, contacts: Contacts) -> Price:
        """Return the price of the outcome: money already, with what showing any offer would cost.

        It is the served score's own cost: a model learns effects before contacts, and whoever
        values or serves them takes the contact off once.
        """
        return Price(cost=contacts.typical(self.rows["channel"].tolist()))

    def judged(self, *, learn: bool = False) -> Trial:
        """Return the rows as a trial on which models that learned elsewhere are judged."""
        codes = {offer_id: code for code, offer_id in enumerate(self.offers, start=1)}
        return trial(
            self.matrix,
            np.array([codes.get(one, 0) for one in self.rows["offer_id"].tolist()]),
            self.rows["outcome"].to_numpy(dtype=np.float64),
            self.rows["propensity"].to_numpy(dtype=np.float64),
            self.rows["unit"].to_numpy(dtype=object),
            (NO_OFFER, *self.offers),
            learn=learn,
        )


def told(left_out: dict[str, int]) -> str:
    """Say what was left out, for the end of a sentence's first half."""
    if not left_out:
        return ""
    counted = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    return f" (decisions left out: {counted})"


def _way_out(left_out: dict[str, int]) -> str:
    if MANY_SLOTS in left_out:
        return f"ask for one placement with limit 1 where the experiment runs; or {WAY_OUT}"
    return WAY_OUT


@dataclass
class _Place:
    """An experiment as decisions meet it: who gives none, who may draw."""

    design: Experiment
    gives_none: frozenset[str]
    seen: list["_Met"] = field(default_factory=list["_Met"])


@dataclass(frozen=True)
class _Met:
    """A customer's first decision in an experiment."""

    record: DecisionRecord
    variant: str
    unit: str


def randomised_decisions(
    lake: Lake,
    features: Sequence[Feature],
    experiments: Sequence[StoredExperiment],
    until: datetime,
    time_zone: str,
    after: datetime | None = None,
) -> RandomisedDecisions:
    """Read the lake's decisions that were drawn by chance.

    Args:
        features: Today's definitions; what was recorded under others means something else.
        experiments: All there were, with the holdout: their shares are in no record.
        until: Outcomes are known up to here.
        time_zone: Zone of a customer who has none of her own.
        after: Earlier decisions are left out; those from the beginning by default.

    Raises:
        TooLittleData: No decision can be used; says why, and what to do.
    """
    left_out: Counter[str] = Counter()
    times: dict[str, list[datetime]] = {}
    places = _places(experiments)
    records = (record for record in decision_records(lake) if record.slates)
    _meet(records, places, experiments, left_out, times)
    rows, choices = _drawn(lake, places, features, left_out)
    if after is not None:
        late = [row["at"] > after for row in rows]
        _count(left_out, f"up to {after:%Y-%m-%d %H:%M}", late.count(False))
        rows, choices = list(compress(rows, late)), list(compress(choices, late))
    if not rows:
        raise TooLittleData(
            "no decision in the lake was drawn by chance beside customers who by chance got no "
            f"offer{told(left_out)}; {_way_out(left_out)}"
        )
    # Customers who could choose from other offers are other customers: one choice, one trial.
    (placement, offers), _ = Counter(choices).most_common(1)[0]
    same = [row for row, choice in zip(rows, choices, strict=True) if choice == (placement, offers)]
    _count(left_out, "with another choice of offers", len(rows) - len(same))
    days = _window(lake, offers)
    over = [row for row in same if row["at"] + timedelta(days=days) <= until]
    _count(left_out, f"whose {days} days are not over", len(same) - len(over))
    if not over:
        first = min(row["at"] for row in same) + timedelta(days=days)
        raise TooLittleData(
            f"no randomised decision's window of {days} days is over, the first is on "
            f"{first:%Y-%m-%d}{told(left_out)}; ingest later outcomes, then train again"
        )
    zones = time_zones(lake)
    matrix = np.array(
        [recorded_inputs(row["record"], zones, time_zone, len(features)) for row in over]
    )
    frame = pd.DataFrame(over)
    kinds = sorted({row["record"].policy.kind for row in over if row["drawn"]})
    frame = _followed(lake, frame.drop(columns="record"), days)
    window = timedelta(days=days)
    again = sum(
        any(row["at"] < at < row["at"] + window for at in times[row["customer_id"]]) for row in over
    )
    return RandomisedDecisions(
        frame,
        matrix,
        (*(feature.name for feature in features), *CONTEXT_NAMES),
        tuple(sorted(offers)),
        placement,
        tuple(kinds),
        days,
        again,
        dict(left_out),
    )


def _places(experiments: Sequence[StoredExperiment]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for stored in experiments:
        design = stored.design
        if design.key == HOLDOUT or _decides(design):
            none = frozenset(v.name for v in design.variants if _gives_none(v))
            places[design.key] = _Place(design, none)
    return places


def _decides(design: Experiment) -> bool:
    return any(v.policy is not None or v.offers is not None for v in design.variants)


def _gives_none(variant: Variant) -> bool:
    # With a list of its own, what else she could have been shown is in no record.
    return variant.policy == "none" and variant.offers is None


def _meet(
    records: Iterator[DecisionRecord],
    places: dict[str, _Place],
    experiments: Sequence[StoredExperiment],
    left_out: Counter[str],
    times: dict[str, list[datetime]],
) -> None:
    """Sort each customer's first decision into the experiment that decided it."""
    trials = [s for s in experiments if s.design.key in places and s.design.key != HOLDOUT]
    met: set[tuple[str, str]] = set()
    for record in records:
        times.setdefault(record.customer_id, []).append(record.at)
        assigned = [a for a in record.assignments if a.key in places and a.key != HOLDOUT]
        if len(assigned) > 1:
            _count(left_out, "in several experiments at once")
            continue
        if not assigned:
            held = [a for a in record.assignments if a.key == HOLDOUT and HOLDOUT in places]
            running = any(
                s.started_at <= record.at and (s.stopped_at is None or record.at < s.stopped_at)
                for s in trials
            )
            # Beside an experiment, whom it leaves over are not everybody whom no holdout holds.
            if not held or running:
                _count(left_out, "outside of any experiment or holdout to compare in")
                continue
            assigned = held
        key = assigned[0].key
        if (key, record.customer_id) in met:
            _count(left_out, "later ones of a customer in the same experiment")
            continue
        met.add((key, record.customer_id))
        places[key].seen.append(_Met(record, assigned[0].variant, assigned[0].unit))


@dataclass(frozen=True)
class _Compared:
    """The variants of an experiment that are compared: the one that draws, and who gets none.

    `within` is a policy that draws "no offer" itself. `share` is the drawing variant's among
    those compared.
    """

    drawing: Variant
    none: frozenset[str]
    within: bool
    share: float


def _drawn(
    lake: Lake,
    places: dict[str, _Place],
    features: Sequence[Feature],
    left_out: Counter[str],
) -> tuple[list[dict[str, Any]], list[tuple[str, frozenset[str]]]]:
    """Return usable decisions with their probability, and what each could choose from."""
    offers = offers_known(lake)
    definitions, width = response_hash(features), len(features)
    rows: list[dict[str, Any]] = []
    choices: list[tuple[str, frozenset[str]]] = []
    for place in places.values():
        compared = _compared(place)
        if compared is None:
            _count(left_out, "of experiments without draws by chance, or none", len(place.seen))
            continue
        for met in place.seen:
            choice = _choice(met.record, compared, offers)
            fault = _fault(met, compared, choice, definitions, width)
            if fault is not None:
                _count(left_out, fault)
                continue
            rows.append(_row(met, compared))
            choices.append((met.record.slates[0].placement, choice or frozenset()))
    return rows, choices


def _compared(place: _Place) -> _Compared | None:
    drawing = _drawing(place)
    if drawing is None:
        return None
    if drawing.policy == "uplift":
        return _Compared(drawing, frozenset(), within=True, share=1.0)
    if not place.gives_none:
        return None
    shares = {v.name: v.weight for v in place.design.variants}
    none = sum(shares[name] for name in place.gives_none)
    share = drawing.weight / (none + drawing.weight)
    return _Compared(drawing, place.gives_none, within=False, share=share)


def _row(met: _Met, compared: _Compared) -> dict[str, Any]:
    drawn = met.variant == compared.drawing.name
    slate = met.record.slates[0]
    first = slate.offers[0] if slate.offers else None
    chance = slate.slate_propensity if first is None else first.propensity
    return {
        "customer_id": met.record.customer_id,
        "unit": met.unit,
        "at": met.record.at,
        "channel": met.record.channel,
        "offer_id": None if first is None else first.offer_id,
        "propensity": chance * (compared.share if drawn else 1 - compared.share),
        "drawn": drawn,
        "record": met.record,
    }


def _drawing(place: _Place) -> Variant | None:
    """Return the variant whose decisions were drawn most at random, None where none was."""
    found: dict[str, list[float]] = {}
    for met in place.seen:
        if met.record.propensity_valid and met.variant not in place.gives_none:
            found.setdefault(met.variant, []).append(_exploration(met.record.policy))
    # Rounded, so that of variants that explore alike the one with more customers is taken.
    mean = {name: round(float(np.mean(shares)), 6) for name, shares in found.items()}
    best = max(mean, key=lambda name: (mean[name], len(found[name])), default=None)
    if best is None or mean[best] == 0:
        return None
    return next(v for v in place.design.variants if v.name == best)


def _exploration(policy: Policy) -> float:
    return 1.0 if policy.kind == "random" else policy.exploration


def _choice(
    record: DecisionRecord,
    compared: _Compared,
    offers: dict[str, tuple[Eligible, frozenset[str]]],
) -> frozenset[str] | None:
    """Return what the drawing variant could have shown first; None where an offer is unknown."""
    if any(offer_id not in offers for offer_id in record.scores):
        return None
    placement = record.slates[0].placement
    choice = frozenset(o.offer_id for o in eligible_at(record, placement, offers))
    named = compared.drawing.offers
    return choice if named is None else choice & frozenset(named)


def _fault(
    met: _Met, compared: _Compared, choice: frozenset[str] | None, definitions: str, width: int
) -> str | None:
    record, drew = met.record, met.variant == compared.drawing.name
    if not drew and met.variant not in compared.none:
        return "of variants not compared"
    if not record.propensity_valid:
        return "not drawn as the policy meant (propensity not valid)"
    # Some policies cannot decide for them, so that they are in one variant more than in others.
    if record.vector is None:
        return "of customers that the snapshot did not know"
    if record.versions.features != definitions or len(record.vector) != width:
        return "recorded under other definitions of features"
    if sum(placement.limit for placement in record.placements) != 1:
        return MANY_SLOTS
    if choice is None:
        return "with offers that the lake does not know"
    if not choice:
        return "with no offer to choose"
    if drew and _exploration(record.policy) == 0:
        return "not drawn by chance"
    if drew and not record.slates[0].offers and not compared.within:
        return "not drawn by chance"
    return None


def _count(left_out: Counter[str], reason: str, n: int = 1) -> None:
    if n:
        left_out[reason] += n


def _window(lake: Lake, offers: frozenset[str]) -> int:
    """Return the longest attribution window: all are compared over the same days."""
    table = lake.table("offers").select("offer_id", "attribution_days")
    days = {row["offer_id"]: row["attribution_days"] for row in lake.fetch(table).to_pylist()}
    return max(days[offer_id] or USUAL_DAYS for offer_id in offers)


def _followed(lake: Lake, rows: pd.DataFrame, days: int) -> pd.DataFrame:
    at = pd.to_datetime(rows["at"], utc=True)
    numbered = pd.DataFrame(
        {
            "unit_id": rows.index.astype(str),
            "customer_id": rows["customer_id"],
            "variant": "",
            "since": at,
        }
    )
    metrics = with_metrics(lake, numbered, at + pd.Timedelta(days=days)).set_index("unit_id")
    metrics = metrics.reindex(rows.index.astype(str))
    return rows.assign(
        outcome=metrics["margin"].to_numpy(dtype=np.float64),
        response=metrics["redeemed"].to_numpy(dtype=np.float64),
    )


def recorded_inputs(
    record: DecisionRecord, zones: dict[str, str | None], time_zone: str, width: int
) -> np.ndarray:
    """Return a decision's inputs: her features as recorded, then the moment's; NaN if unknown."""
    vector = record.vector if record.vector is not None else [None] * width
    basket = record.context.basket
    amounts = None if basket is None else [line.amount for line in basket]
    zone = zones.get(record.customer_id) or time_zone
    moment = context_features(record.channel, record.at, zone, amounts)
    return np.concatenate([[np.nan if v is None else v for v in vector], moment])
