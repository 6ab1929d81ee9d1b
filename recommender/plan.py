"""Plan a campaign: which offers go to whom, within all limits, so that most is earned?

The limits are priced, customers choose at the prices, and the choices are repaired into a plan that
keeps every limit. The prices also bound what any plan can earn, so each plan says how far from the
best it may be; where that is more than a little, what the prices leave undecided is decided by an
integer programme. The price of a limit is what one more unit of it would earn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from foundation.money import MINOR_PER_MAJOR, Currency
from recommender.campaign import Campaign, Floats, Integers, InvalidCampaign
from recommender.choices import Flags, Rows, demand, interested
from recommender.exact_plan import decide_core, first_unit
from recommender.prices import Tangent, lowest_bound
from recommender.repair import plan_at, taken_by

# Prices are looked for on so many customers before all: most steps are then quick ones.
SAMPLES = 10_000, 100_000
# The search for prices ends within this part of the lowest bound, or after so many steps.
TOLERANCE = 5e-5
STEPS = 300
# Customers who would be sent nothing at this part of the sample's prices are left out of the
# search: at the prices found they are sent nothing either, and if some were, the bound tells.
NEARBY = 0.8
# A limit of which less than this is used is not exhausted.
SLACK = 0.99
# Plans are made at the prices of so many of the lowest bounds.
ATTEMPTS = 3
# Few customers leave much to chance: plans at parts of the prices, and at none, are tried as well.
FEW, PARTS = 1_000, (0.9, 0.7, 0.4, 0.0, 1.3)
# A plan this near to its bound is not improved further.
NEAR = 2e-4


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How a plan uses one limit.

    `price` is what one more unit (a minor unit of budget, a contact, a use) would earn at the
    margin, in minor units, 0 where the limit does not bind.
    """

    kind: str
    name: str
    used: float
    limit: int
    price: float

    def sentence(self, currency: Currency) -> str:
        """Say whether the limit binds and what more of it would earn."""
        if self.price > 0 and self.limit == 0:
            first = "minor unit" if self.kind == "budget" else self.kind
            return (
                f"{self.name} is 0: its first {first} would earn up to {currency.show(self.price)}"
            )
        if self.price > 0:
            unit = currency.show(MINOR_PER_MAJOR) if self.kind == "budget" else self.kind
            earned = self.price * (MINOR_PER_MAJOR if self.kind == "budget" else 1)
            more = f"another {unit}" if self.kind == "budget" else f"one more {unit}"
            if earned < 0.5:
                return f"{self.name} hardly binds: {more} would earn less than {currency.show(1)}"
            return f"{self.name} binds: {more} would earn about {currency.show(earned)}"
        used, limit = _amount(self.used), _amount(self.limit)
        if self.kind == "budget":
            used, limit = currency.show(self.used), currency.show(self.limit)
        return f"{self.name} does not bind: {used} of {limit} are used"


@dataclass(frozen=True)
class Plan:
    """What to send, and what is expected of it.

    Attributes:
        customers: Row of the customer of each offer sent, rising, shape (S,).
        offers: Column of the offer, shape (S,).
        value: Expected incremental margin of all of it, in minor units.
        bound: No plan within the limits is expected to earn more.
        by_offer: A row an offer: offer_id, sent, value, cost and uses.
        limits: Each limit that was set.
        per_customer: How many offers a customer may get.
        another: What a further offer a customer could earn in all, at most, in minor units.
    """

    customers: Integers
    offers: Integers
    value: float
    bound: float
    by_offer: pd.DataFrame
    limits: list[LimitUse]
    per_customer: int
    another: float

    @property
    def gap(self) -> float:
        """What the plan may lack to the best, at most, as a part of the bound."""
        return max(self.bound - self.value, 0.0) / self.bound if self.bound > 0 else 0.0

    def sentences(self, currency: Currency) -> list[str]:
        """Say what the plan earns, how good it is, and what each limit costs."""
        told = [
            f"{len(self.offers):,} offers are expected to earn {currency.show(self.value)}; "
            f"no plan within the limits earns more than {currency.show(self.bound)}"
        ]
        told += [limit.sentence(currency) for limit in self.limits]
        number = "1 offer" if self.per_customer == 1 else f"{self.per_customer} offers"
        return [
            *told,
            f"at most {number} a customer: one more would earn at most "
            f"{currency.show(self.another)} in all",
        ]


def plan(campaign: Campaign) -> Plan:
    """Return the plan of highest expected incremental margin found; the same for the same input.

    Sources: Lagrangian relaxation, Fisher 1981; at this scale, Zhang et al. 2020, "Solving
    billion-scale knapsack problems"; the core, Balas and Zemel 1980.
    """
    rows = Rows.of(campaign)
    prices, bound, sent = repaired(campaign, rows)
    lacking = bound - _value(campaign, sent)
    if lacking > NEAR * bound:
        sent = decide_core(campaign, rows, prices, sent, lacking)
    return _told(campaign, rows, prices, bound, sent)


def repaired(campaign: Campaign, rows: Rows) -> tuple[Floats, float, Flags]:
    """Return the lowest bound's prices, that bound, and the best of the plans made at prices."""
    prices, bound = priced(campaign, rows)
    tried = prices[:ATTEMPTS]
    if campaign.customers <= FEW:
        tried = [*tried, *(part * prices[0] for part in PARTS)]
    plans = (plan_at(campaign, rows, near) for near in tried)
    # The first of equals: the same input gives the same plan.
    return prices[0], bound, max(plans, key=lambda one: _value(campaign, one))


def priced(campaign: Campaign, rows: Rows) -> tuple[list[Floats], float]:
    """Return prices of low bounds, the lowest first, shape (R,) each, and the lowest bound.

    They are looked for on a few customers first, then among those who come into question.

    Raises:
        InvalidCampaign: There is no customer.
    """
    if campaign.customers == 0:
        raise InvalidCampaign(
            f"values of shape {campaign.values.shape} have no customer: give a row for each, or "
            "plan nothing"
        )
    limited = np.isfinite(rows.capacity)
    scale = _scale(campaign, rows)[limited]
    prices = np.zeros(len(rows.capacity))
    found: list[Tangent] = []
    draw = np.random.default_rng(0)
    for size in [*(s for s in SAMPLES if 2 * s < campaign.customers), campaign.customers]:
        if size < campaign.customers:
            some = _some(campaign, np.sort(draw.choice(campaign.customers, size, replace=False)))
        else:
            near = interested(campaign, rows, NEARBY * prices)
            some = (
                _some(campaign, np.flatnonzero(near)) if prices.any() and near.any() else campaign
            )
        theirs = replace(rows, capacity=rows.capacity * (size / campaign.customers))
        bound = _bound(some, theirs, limited)
        reach = _value(some, plan_at(some, theirs, prices)) if prices.any() else 0.0
        found = lowest_bound(bound, bound(prices[limited]), reach, scale, TOLERANCE, STEPS)
        prices[limited] = found[0].prices
    of_all = [_of_all(tangent.prices, limited) for tangent in found]
    return of_all, _bound(campaign, rows, limited)(prices[limited]).bound


def _of_all(prices: Floats, limited: Flags) -> Floats:
    of_all = np.zeros(len(limited))
    of_all[limited] = prices
    return of_all


def _some(campaign: Campaign, customers: Integers) -> Campaign:
    uses = None if campaign.uses is None else campaign.uses[customers]
    values, costs = campaign.values[customers], campaign.costs[customers]
    return replace(campaign, values=values, costs=costs, uses=uses)


def _bound(campaign: Campaign, rows: Rows, limited: Flags) -> Callable[[Floats], Tangent]:
    """Return the bound by the prices of the limits there are."""

    def bound(prices: Floats) -> Tangent:
        chosen = demand(campaign, rows, _of_all(prices, limited))
        capacity = rows.capacity[limited]
        worth = chosen.worth + float(prices @ capacity)
        return Tangent(prices, worth, capacity - chosen.taken[limited])

    return bound


def _scale(campaign: Campaign, rows: Rows) -> Floats:
    """Return each limit's price at which a contact costs one minor unit on average."""
    scale = np.ones(len(rows.capacity))
    scale[0] = _of_one(campaign.costs.mean(dtype=np.float64))
    if campaign.uses is not None:
        scale[rows.stock :] = [_of_one(use) for use in campaign.uses.mean(axis=0, dtype=np.float64)]
    return scale


def _of_one(mean: float) -> float:
    return 1.0 / mean if mean > 0 else 1.0


def _value(campaign: Campaign, sent: Flags) -> float:
    return float(campaign.values[sent].sum(dtype=np.float64))


def _told(campaign: Campaign, rows: Rows, prices: Floats, bound: float, sent: Flags) -> Plan:
    customer, offer = np.nonzero(sent)
    value = campaign.values[customer, offer].astype(np.float64)
    offers, number = campaign.offers, len(campaign.offers)
    taken = taken_by(campaign, rows, sent)
    by_offer = pd.DataFrame(
        {
            "offer_id": [one.offer_id for one in offers],
            "sent": np.bincount(offer, minlength=number),
            "value": np.bincount(offer, value, number),
            "cost": np.bincount(offer, campaign.costs[customer, offer], number),
            "uses": taken[rows.stock :],
        }
    )
    told = np.where(_worthless(rows, prices, bound, taken), 0.0, prices)
    more = replace(rows, per_customer=min(rows.per_customer + 1, number))
    another = demand(campaign, more, prices).worth - demand(campaign, rows, prices).worth
    earned = float(value.sum())
    return Plan(
        customers=customer,
        offers=offer,
        value=earned,
        # A bound and a plan that meet may differ in the last digit.
        bound=max(bound, earned),
        by_offer=by_offer,
        limits=_limit_uses(campaign, rows, first_unit(campaign, rows, told), taken),
        per_customer=campaign.limits.per_customer,
        another=max(another, 0.0),
    )


def _worthless(rows: Rows, prices: Floats, bound: float, taken: Floats) -> Flags:
    """Return the limits whose price is only what the search has not told from nothing.

    All of such a limit is worth less than the search's tolerance, and some of it is left over.
    """
    finite = np.where(np.isfinite(rows.capacity), rows.capacity, 0.0)
    return (prices * finite <= TOLERANCE * bound) & (taken < SLACK * finite)


def _limit_uses(campaign: Campaign, rows: Rows, prices: Floats, taken: Floats) -> list[LimitUse]:
    named = [("budget", "the budget"), ("contact", "the limit of contacts")]
    named += [
        ("contact", f"the limit of contacts by {channel}")
        for channel in campaign.limits.contacts_by_channel
    ]
    named += [("use", f"the stock of offer {offer.offer_id}") for offer in campaign.offers]
    return [
        LimitUse(kind, name, float(used), int(limit), float(price))
        for (kind, name), used, limit, price in zip(
            named, taken, rows.capacity, prices, strict=True
        )
        if np.isfinite(limit)
    ]


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"
