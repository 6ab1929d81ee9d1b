"""How quickly is a campaign planned, are all limits kept, and how far from the best is the plan?

Customers with tastes of their own are drawn with the seed: responses, uplifts, margins and costs by
offer; some offers lose money on some customers. Stock is used by expected redemptions, budget by
expected reward costs. Limits are checked anew from the amounts drawn, not as the plan tells them.

`gap_small` is the largest part of the exact optimum that a plan lacks on small campaigns of many
kinds (ties, costs spread over decades, no stock, losses, several offers a customer, exclusive
groups); `gap_small_prices` is that of prices and repair alone, without deciding the core anew: all
that happens at scale, where the core is a vanishing part. What a large plan lacks at most is
`gap_to_bound`, measured against a bound on the optimum.
"""

import argparse
import resource
import sys
import time
from typing import Any

import numpy as np

from benchmarks.run import Bar
from foundation.errors import RegularsError
from recommender.campaign import Campaign, Limits, PlannedOffer
from recommender.choices import Flags, Rows
from recommender.exact_plan import exact_plan
from recommender.plan import Plan, plan, repaired

SECONDS, PEAK_MB, GAP = 120.0, 4_000.0, 0.005
CHUNK = 50_000
CHANNELS = ("email", "app", "till")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--offers", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="chance of customers and offers")
    shown = "or 'none'; by default in proportion to customers"
    parser.add_argument("--budget", default="", help=f"minor units, {shown}")
    parser.add_argument("--stock", default="", help=f"expected uses of each offer, {shown}")
    parser.add_argument("--contacts", default="", help=f"offers sent in all, {shown}")
    parser.add_argument("--per-customer", type=int, default=2, help="offers a customer at most")
    parser.add_argument("--small", type=int, default=400, help="small campaigns beside the exact")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and peak of one large plan, and the gaps of small ones.

    Raises:
        RegularsError: There is no customer, offer or small campaign, or a limit is no whole number.
    """
    if options.small < 1:
        raise RegularsError(f"--small {options.small}: at least one small campaign is needed")
    if options.customers < 1 or options.offers < 1:
        raise RegularsError(
            f"--customers {options.customers} --offers {options.offers}: at least one of each "
            "is needed"
        )
    customers = options.customers
    campaign = drawn(
        customers,
        options.offers,
        options.seed,
        stock=_limit("--stock", options.stock, customers // 400),
        limits=Limits(
            budget=_limit("--budget", options.budget, 5 * customers),
            contacts=_limit("--contacts", options.contacts, customers // 5),
            per_customer=options.per_customer,
        ),
    )
    begun, worked = time.perf_counter(), time.process_time()
    large = plan(campaign)
    seconds, processor = time.perf_counter() - begun, time.process_time() - worked
    peak = _peak_mb()
    violations = broken(campaign, large)
    del campaign
    small = [_gaps(options.seed * 1_000_003 + number) for number in range(options.small)]
    gaps = np.array([one[:2] for one in small if one is not None]).reshape(-1, 2)
    return {
        "seconds": seconds,
        "processor_seconds": processor,
        "peak_mb": peak,
        "violations": violations + sum(one[2] for one in small if one is not None),
        "gap_small": float(gaps[:, 0].max()) if len(gaps) else None,
        "gap_small_mean": float(gaps[:, 0].mean()) if len(gaps) else None,
        "gap_small_prices": float(gaps[:, 1].max()) if len(gaps) else None,
        "gap_small_prices_mean": float(gaps[:, 1].mean()) if len(gaps) else None,
        "small_campaigns": len(gaps),
        "gap_to_bound": large.gap,
        "value": large.value,
        "bound": large.bound,
        "sent": len(large.offers),
        "binding": sum(limit.price > 0 for limit in large.limits),
        "customers": customers,
        "offers": options.offers,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    seconds, peak = figures["seconds"], figures["peak_mb"]
    broken, gap = figures["violations"], figures["gap_small"]
    return [
        Bar("seconds", seconds, f"at most {SECONDS}", seconds <= SECONDS),
        Bar("peak_mb", peak, f"at most {PEAK_MB}", peak <= PEAK_MB),
        Bar("violations", broken, "0", broken == 0),
        # Where no small campaign earns anything there was nothing to compare.
        Bar(
            "gap_small",
            gap,
            f"at most {GAP}" if gap is not None else "not measured: no small campaign earns any",
            gap is not None and gap <= GAP,
        ),
    ]


def drawn(customers: int, offers: int, seed: int, stock: int | None, limits: Limits) -> Campaign:
    """Return a campaign among made-up customers, float32, drawn some thousand at a time."""
    draw = np.random.default_rng(seed)
    taste = draw.normal(0, 0.5, (4, offers))
    liked = draw.normal(-2.2, 0.7, offers)
    margin, cost = draw.uniform(200, 1_500, offers), draw.uniform(50, 400, offers)
    values = np.empty((customers, offers), dtype=np.float32)
    costs, uses = np.empty_like(values), np.empty_like(values)
    for start in range(0, customers, CHUNK):
        rows = slice(start, min(start + CHUNK, customers))
        own = draw.standard_normal((rows.stop - start, 4))
        response = 1 / (1 + np.exp(-(own @ taste + liked)))
        uplift = response * draw.beta(2, 2, response.shape)
        uses[rows] = response
        costs[rows] = response * cost
        # The reward costs at every redemption, a contact three cents.
        values[rows] = uplift * margin - response * cost * 0.3 - 3
    planned = [
        PlannedOffer(
            f"o-{number}",
            stock=stock,
            channel=CHANNELS[number % 3],
            exclusive_group=f"group-{number // 5}" if number < offers // 2 else None,
        )
        for number in range(offers)
    ]
    return Campaign(values, costs, planned, limits, uses)


def small_campaign(seed: int) -> Campaign:
    """Return a campaign small enough to be planned exactly, of some nasty kind."""
    draw = np.random.default_rng(seed)
    shape = int(draw.integers(1, 80)), int(draw.integers(1, 9))
    values = draw.gamma(1, 100, shape) - 50 * draw.integers(0, 2)
    costs = draw.gamma(draw.choice([0.2, 1, 5]), 50, shape)
    kind = draw.integers(0, 6)
    if kind == 1:
        values = np.round(values / 60) * 60
    elif kind == 2:
        values[:] = 100
    elif kind == 3:
        costs = np.round(costs / 20) * 20
    elif kind == 4:
        values = costs * draw.uniform(0.9, 1.1, shape)
    values[draw.random(shape) < 0.1] = -np.inf
    uses = draw.random(shape) if draw.random() < 0.4 else None

    def limit(all_of_it: float) -> int | None:
        shares = [0, 0.02, 0.1, 0.1, 0.2, 0.3, 0.6, 1.2]
        return None if draw.random() < 0.4 else int(np.ceil(all_of_it * draw.choice(shares)))

    offers = [
        PlannedOffer(
            f"o-{number}",
            stock=limit(shape[0]),
            channel=str(draw.choice(CHANNELS)),
            exclusive_group=f"group-{draw.integers(0, 3)}" if draw.random() < 0.4 else None,
        )
        for number in range(shape[1])
    ]
    through = {offer.channel: limit(shape[0]) for offer in offers if offer.channel}
    return Campaign(
        values.astype(np.float32),
        costs.astype(np.float32),
        offers,
        Limits(
            budget=limit(costs.sum() / 2),
            contacts=limit(shape[0]),
            contacts_by_channel={name: most for name, most in through.items() if most is not None},
            per_customer=int(draw.integers(1, 4)),
        ),
        None if uses is None else uses.astype(np.float32),
    )


def broken(campaign: Campaign, made: Plan) -> int:
    """Count the limits a plan breaks, from the campaign's own amounts."""
    customers, columns = made.customers, made.offers
    limits, offers = campaign.limits, campaign.offers
    cost = campaign.costs[customers, columns].sum(dtype=np.float64)
    one = np.ones(len(columns))
    use = one if campaign.uses is None else campaign.uses[customers, columns]
    used = np.bincount(columns, use, len(offers))
    held = [
        limits.budget is None or cost <= limits.budget * (1 + 1e-12),
        limits.contacts is None or len(columns) <= limits.contacts,
        np.bincount(customers, minlength=1).max() <= limits.per_customer,
        not np.isneginf(campaign.values[customers, columns]).any(),
        len(set(zip(customers.tolist(), columns.tolist(), strict=True))) == len(columns),
    ]
    for number, offer in enumerate(offers):
        held.append(offer.stock is None or used[number] <= offer.stock * (1 + 1e-12))
    for channel, most in limits.contacts_by_channel.items():
        through = np.array([offer.channel == channel for offer in offers])
        held.append(through[columns].sum() <= most)
    for group in {offer.exclusive_group for offer in offers} - {None}:
        inside = np.array([offer.exclusive_group == group for offer in offers])[columns]
        held.append(np.bincount(customers[inside], minlength=1).max() <= 1)
    return held.count(False)


def _gaps(seed: int) -> tuple[float, float, int] | None:
    """Return what plan, and prices alone, lack to the exact one, and the limits broken."""
    campaign = small_campaign(seed)
    best = _worth(campaign, exact_plan(campaign))
    if best <= 0:
        return None
    made = plan(campaign)
    rows = Rows.of(campaign)
    by_prices = repaired(campaign, rows)[2]
    return 1 - made.value / best, 1 - _worth(campaign, by_prices) / best, broken(campaign, made)


def _worth(campaign: Campaign, sent: Flags) -> float:
    return float(campaign.values[sent].sum(dtype=np.float64))


def _limit(option: str, given: str, otherwise: int) -> int | None:
    if given == "none":
        return None
    if given and not given.isdecimal():
        raise RegularsError(f"{option} {given!r}: give a whole number from 0 on, or 'none'")
    return int(given) if given else otherwise


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS tells bytes, Linux kilobytes.
    return peak / 1e6 if sys.platform == "darwin" else peak / 1024
