"""Customer features: right to the last digit, and blind to everything at or after T."""

import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import ibis
import pandas as pd
import pyarrow as arrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from adapters.duckdb_lake import DuckDbLake
from foundation import features as registry
from foundation.contracts import INTERACTIONS, PRODUCTS, PURCHASES
from foundation.errors import RegularsError
from foundation.features import Feature, definitions, feature_hash, features_as_of

NEW_YORK = ZoneInfo("America/New_York")
CATEGORY = {"milk": "GROCERY", "rice": "GROCERY", "bread": "PASTRY", "ham": "MEAT"}
FEATURES = definitions(("GROCERY", "MEAT-PCKGD"))
NAMES = [feature.name for feature in FEATURES]

Pair = tuple[str, datetime]


@dataclass(frozen=True)
class Line:
    """A purchase line as these tests write it down; `local` may differ from `at` in poison."""

    customer: str
    order: str
    at: datetime
    product: str
    amount: int
    discount: int = 0
    offer_discount: int = 0
    store: str | None = "s1"
    local: datetime | None = None

    @property
    def wall(self) -> datetime:
        return self.local or self.at.astimezone(NEW_YORK)

    @property
    def day(self) -> int:
        return self.wall.date().toordinal() - date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Told:
    """An interaction about an offer."""

    customer: str
    at: datetime
    kind: str
    offer: str


def fill(lake: DuckDbLake, lines: Iterable[Line], told: Iterable[Told]) -> DuckDbLake:
    """Write a history into a lake."""
    purchases = [
        {
            "line_id": f"l{n}", "customer_id": x.customer, "order_id": x.order,
            "product_id": x.product, "store_id": x.store, "channel": "store", "at": x.at,
            "local_day": x.day, "local_hour": x.wall.hour, "quantity": 1.0, "amount": x.amount,
            "discount": x.discount, "offer_discount": x.offer_discount,
        }
        for n, x in enumerate(lines)
    ]  # fmt: skip
    interactions = [
        {
            "event_id": f"e{n}", "customer_id": x.customer, "at": x.at, "channel": "mail",
            "kind": x.kind, "offer_id": x.offer,
        }
        for n, x in enumerate(told)
    ]  # fmt: skip
    products = [{"product_id": p, "category": c, "brand": None} for p, c in CATEGORY.items()]
    with lake.write() as write:
        write.merge("products", PRODUCTS.from_rows(products))
        write.merge("purchases", PURCHASES.from_rows(purchases))
        write.merge("interactions", INTERACTIONS.from_rows(interactions))
    return lake


def evaluate(
    lake: DuckDbLake, pairs: Iterable[Pair], features: Iterable[Feature] = FEATURES
) -> pd.DataFrame:
    """Return features, a row a pair, indexed and sorted by customer and instant."""
    customers, instants = zip(*pairs, strict=True)
    spine = arrow.table(
        {
            "customer_id": arrow.array(customers, arrow.string()),
            "as_of": arrow.array(instants, arrow.timestamp("us", tz="UTC")),
        }
    )
    found = lake.fetch(features_as_of(lake, lake.memory(spine), tuple(features)))
    # Python's own values: nothing is rounded, and missing is None.
    frame = pd.DataFrame(found.to_pydict(), dtype=object)
    return frame.set_index(["customer_id", "as_of"]).sort_index()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ------------------------------------------------------------------------------- a small history

NOON = utc("2026-07-01 07:00")  # 03:00 in New York, the nightly publication

ANA = (
    # Tuesday evening, New York.
    Line("ana", "o1", utc("2026-06-30 22:00"), "milk", 300),
    Line("ana", "o1", utc("2026-06-30 22:00"), "bread", 200, discount=50, offer_discount=50),
    # Saturday 10:00, and the receipt that gives it back.
    Line("ana", "o2", utc("2026-06-20 14:00"), "milk", 400, discount=100),
    Line("ana", "o6", utc("2026-06-21 15:00"), "milk", -400),
    # Friday 12:00, another store.
    Line("ana", "o3", utc("2026-05-01 16:00"), "ham", 1000, store="s2"),
    # Wednesday 09:00 in winter, store unknown.
    Line("ana", "o4", utc("2025-12-24 14:00"), "milk", 500, store=None),
    # Two years ago.
    Line("ana", "o5", utc("2024-06-01 20:59"), "rice", 700, store="s3"),
    # At T itself: the future.
    Line("ana", "o7", NOON, "ham", 99_999, discount=9_999, store="s9"),
)
ANA_TOLD = (
    Told("ana", utc("2026-06-25 04:00"), "sent", "A"),
    Told("ana", utc("2026-06-28 03:59:59"), "redeem", "A"),
    Told("ana", utc("2026-06-29 03:59:59"), "redeem", "A"),
    Told("ana", utc("2026-06-29 10:00"), "impression", "D"),
    Told("ana", utc("2026-01-01 05:00"), "sent", "B"),
    Told("ana", utc("2024-01-01 05:00"), "sent", "C"),
    Told("ana", NOON, "redeem", "B"),
    # Taken back the day after; what is taken back at T is not yet.
    Told("ana", utc("2026-06-29 12:00"), "redeem", "E"),
    Told("ana", utc("2026-06-30 12:00"), "reverse", "E"),
    Told("ana", NOON, "reverse", "A"),
)

# Worked out by hand from ANA and ANA_TOLD as of 2026-07-01 07:00 UTC. Ages in days: o1 0.375, o6
# 9.67, o2 10.71, o3 60.625, o4 188.71, o5 759.42; o6 is a return, so no order and no visit.
BY_HAND: dict[str, float | None] = {
    "recency_days": 0.375,
    # 760 days less 13 h 59 min.
    "tenure_days": (760 * 86_400 - 50_340) / 86_400,
    "orders_7d": 1,
    "orders_30d": 2,
    "orders_90d": 3,
    "orders_365d": 4,
    "spend_7d": 500,
    "spend_30d": 500,
    "spend_90d": 1500,
    "spend_365d": 2000,
    "basket_mean_90d": 1900 / 3,
    "basket_mean_365d": 600,
    "basket_lines_90d": 4 / 3,
    "basket_lines_365d": 1.25,
    "discount_share_90d": 150 / 1650,
    "discount_share_365d": 150 / 2150,
    "coupon_lines_90d": 1,
    "coupon_lines_365d": 1,
    "coupon_share_90d": 1 / 5,
    "coupon_share_365d": 1 / 6,
    "spend_trend": 1.0,
    "orders_trend": 2.0,
    "visit_days_365d": 4,
    # Days between visits: 571 (before o4), 128, 50, 10.
    "gap_mean_365d": 189.75,
    "gap_spread_365d": (201_004.75 / 3) ** 0.5,
    "weekend_share_365d": 1 / 4,
    "morning_share_365d": 2 / 4,
    "evening_share_365d": 1 / 4,
    # Of the three orders whose store is known, two in s1.
    "store_share_365d": 2 / 3,
    "stores_365d": 2,
    "categories_90d": 3,
    "products_90d": 3,
    "share_grocery_365d": 800 / 2000,
    "share_meat_pckgd_365d": 0.0,
    "offers_sent_90d": 1,
    "offers_sent_365d": 2,
    "offers_redeemed_90d": 1,
    "offers_redeemed_365d": 1,
    "redemptions_90d": 2,
    "redemptions_365d": 2,
    "redeem_rate_365d": 0.5,
    # 2 days 3 h 1 s.
    "redeem_recency_days": (2 * 86_400 + 10_801) / 86_400,
    "sent_recency_days": 6.125,
}


def test_every_feature_of_a_small_history_is_what_a_person_works_out(lake: DuckDbLake) -> None:
    found = evaluate(fill(lake, ANA, ANA_TOLD), [("ana", NOON)])

    assert set(NAMES) == set(BY_HAND), "a new feature needs its figure in BY_HAND"
    assert found.iloc[0].to_dict() == pytest.approx(BY_HAND, rel=1e-15)


# ------------------------------------------------- an independent implementation, and histories


def expected(lines: Iterable[Line], told: Iterable[Told], t: datetime) -> dict[str, Any]:
    """Every feature in plain Python, written from the features' meanings alone."""

    def age(at: datetime) -> float:
        return (t.replace(microsecond=0) - at.replace(microsecond=0)).total_seconds() / 86_400

    def ratio(top: float, bottom: float) -> float | None:
        return top / bottom if bottom else None

    def mean(values: list[Any]) -> float | None:
        return sum(values) / len(values) if values else None

    past = [x for x in lines if x.at < t]
    orders: list[list[Line]] = []
    for order in dict.fromkeys(x.order for x in past):
        receipt = [x for x in past if x.order == order]
        if sum(x.amount for x in receipt) >= 0:
            orders.append(receipt)
    # An order is as old as its first line, and stands on that line's day.
    aged = [(max(age(x.at) for x in receipt), receipt) for receipt in orders]
    firsts = [(a, min(x.day for x in r), min(x.wall.hour for x in r)) for a, r in aged]
    days = sorted({day for _, day, _ in firsts})
    visits = [(max(a for a, d, _ in firsts if d == day), day) for day in days]
    gaps = [
        day - before
        for (a, day), before in zip(visits[1:], days, strict=False)
        if a < 365
    ]  # fmt: skip
    known = [
        (a, min(x.store for x in r if x.store is not None))
        for a, r in aged
        if any(x.store is not None for x in r)
    ]
    stores = [store for a, store in known if a < 365]
    offers = kept([x for x in told if x.at < t])

    result: dict[str, Any] = {
        "recency_days": min((a for a, _ in aged), default=None),
        "tenure_days": max((a for a, _ in aged), default=None),
        "visit_days_365d": sum(a < 365 for a, _ in visits),
        "gap_mean_365d": mean(gaps),
        "gap_spread_365d": statistics.stdev(gaps) if len(gaps) > 1 else None,
        "weekend_share_365d": mean([date.fromordinal(d + 719_163).weekday() >= 5
                                    for a, d, _ in firsts if a < 365]),
        "morning_share_365d": mean([h < 12 for a, _, h in firsts if a < 365]),
        "evening_share_365d": mean([h >= 17 for a, _, h in firsts if a < 365]),
        "store_share_365d": ratio(max((stores.count(s) for s in stores), default=0), len(stores)),
        "stores_365d": len(set(stores)),
        "redeem_recency_days": min((age(x.at) for x in offers if x.kind == "redeem"), default=None),
        "sent_recency_days": min((age(x.at) for x in offers if x.kind == "sent"), default=None),
    }  # fmt: skip

    def spend(w: int) -> int:
        return sum(x.amount for x in past if age(x.at) < w)

    def count(w: int) -> int:
        return sum(a < w for a, _ in aged)

    def distinct(kind: str, w: int) -> int:
        return len({x.offer for x in offers if x.kind == kind and age(x.at) < w})

    for w in (7, 30, 90, 365):
        result[f"orders_{w}d"] = count(w)
        result[f"spend_{w}d"] = spend(w)
    for w in (90, 365):
        recent = [x for x in past if age(x.at) < w]
        baskets = [receipt for a, receipt in aged if a < w]
        off = sum(x.discount for x in recent)
        result |= {
            f"basket_mean_{w}d": mean([sum(x.amount for x in r) for r in baskets]),
            f"basket_lines_{w}d": mean([len(r) for r in baskets]),
            f"discount_share_{w}d": ratio(off, off + spend(w)),
            f"coupon_lines_{w}d": sum(x.offer_discount > 0 for x in recent),
            f"coupon_share_{w}d": mean([x.offer_discount > 0 for x in recent]),
            f"offers_sent_{w}d": distinct("sent", w),
            f"offers_redeemed_{w}d": distinct("redeem", w),
            f"redemptions_{w}d": sum(x.kind == "redeem" and age(x.at) < w for x in offers),
        }
    quarter = [x for x in past if age(x.at) < 90]
    year = [x for x in past if age(x.at) < 365]
    groceries = sum(x.amount for x in year if CATEGORY.get(x.product) == "GROCERY")
    return result | {
        "spend_trend": ratio(spend(30) * 3, spend(90)),
        "orders_trend": ratio(count(30) * 3, count(90)),
        "categories_90d": len({CATEGORY[x.product] for x in quarter if x.product in CATEGORY}),
        "products_90d": len({x.product for x in quarter}),
        "redeem_rate_365d": ratio(distinct("redeem", 365), distinct("sent", 365)),
        "share_grocery_365d": ratio(groceries, spend(365)),
        "share_meat_pckgd_365d": ratio(0, spend(365)),
    }


def near(value: float | None, right: float | None) -> bool:
    """Tell whether values agree to the rounding of one division."""
    if value is None or right is None:
        return value is right
    return math.isclose(value, right, rel_tol=1e-14)


def kept(told: list[Told]) -> list[Told]:
    """Return events without the redemptions that were taken back, each by the next reversal."""
    left: list[Told] = []
    for event in sorted(told, key=lambda x: (x.at, x.kind)):
        if event.kind != "reverse":
            left.append(event)
            continue
        same = [x for x in left if x.kind == "redeem" and x.offer == event.offer]
        if same:
            left.remove(same[-1])
    return left


def random_history(rng: random.Random, customer: str) -> tuple[list[Line], list[Told]]:
    """Return some eighteen months of shopping, returns and offers, in every shape."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)

    def instant() -> datetime:
        whole = rng.random() < 0.5
        return begin + timedelta(
            seconds=rng.randrange(540 * 86_400), microseconds=0 if whole else rng.randrange(10**6)
        )

    lines: list[Line] = []
    for order in range(rng.randrange(12)):
        at = instant()
        for _ in range(rng.randrange(1, 5)):
            # A till prints a receipt's lines over some minutes; now and then one brings back.
            at += timedelta(seconds=rng.randrange(300))
            amount = rng.randrange(1, 3000) * (-1 if rng.random() < 0.1 else 1)
            discount = rng.choice((0, 0, rng.randrange(500)))
            lines.append(
                Line(
                    customer, f"{customer}-{order}", at,
                    rng.choice(("milk", "rice", "bread", "ham", "unlisted")), amount, discount,
                    rng.choice((0, discount)), rng.choice(("s1", "s1", "s2", None)),
                )
            )  # fmt: skip
    told = [
        Told(
            customer, instant(), rng.choice(("sent", "redeem", "redeem", "reverse", "view")),
            rng.choice("ABC"),
        )
        for _ in range(rng.randrange(14))
    ]  # fmt: skip
    return lines, told


def random_instant(rng: random.Random, lines: list[Line], told: list[Told]) -> datetime:
    """Return a T: anywhere, at an event, a microsecond beside it, or in the midst of its day."""
    events = [x.at for x in lines] + [x.at for x in told]
    where = rng.randrange(5)
    if not events or where == 0:
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=rng.randrange(540 * 86_400 * 10**6)
        )
    at = rng.choice(events)
    if where == 1:
        return at
    if where == 2:
        return at + timedelta(microseconds=rng.choice((-1, 1)))
    if where == 3:
        return at + timedelta(seconds=rng.randrange(-43_200, 43_200))
    # A whole number of days after an event: the edge of a window.
    return at + timedelta(days=rng.choice((7, 30, 90, 365)))


def test_every_feature_agrees_with_an_independent_implementation(lake: DuckDbLake) -> None:
    rng = random.Random(20_261_121)
    histories = {f"c{n}": random_history(rng, f"c{n}") for n in range(400)}
    pairs = [(c, random_instant(rng, *history)) for c, history in histories.items()]
    fill(lake, *([x for h in histories.values() for x in h[kind]] for kind in (0, 1)))

    found = evaluate(lake, pairs)

    assert len(found) == len(pairs)
    for customer, t in pairs:
        right = expected(*histories[customer], t)
        assert set(right) == set(NAMES), "a new feature needs its own lines in expected()"
        for name, value in found.loc[(customer, t)].items():
            assert near(value, right[name]), (customer, t, name, value, right[name])


# ------------------------------------------------------------------------------ the leakage probe

POISON = 1_000_000_007


def poisoned(customer: str, t: datetime, rng: random.Random, lines: list[Line]) -> list[Line]:
    """Return purchases at and after T that would show in any value that saw one of them."""
    before = [x for x in lines if x.at < t]
    found: list[Line] = []
    for delay in (timedelta(0), timedelta(microseconds=1), timedelta(hours=1), timedelta(days=40)):
        # Also further lines of receipts and days that had begun before T.
        begun = rng.choice(before) if before else None
        found.append(
            Line(
                customer, begun.order if begun else f"{customer}-poison", t + delay, "poison",
                POISON, POISON, POISON, "aaa", begun.wall if begun else None,
            )
        )  # fmt: skip
        found.append(
            Line(customer, f"{customer}-{delay}", t + delay, "poison", POISON, POISON, POISON)
        )
    return found


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> tuple[DuckDbLake, DuckDbLake, list[Pair]]:
    """The same 3,600 pairs twice: their past alone, and their past with a poisoned future.

    Each pair has a customer id of its own, so that one query evaluates them all.
    """
    rng = random.Random(7)
    clean: tuple[list[Line], list[Told]] = ([], [])
    full: tuple[list[Line], list[Told]] = ([], [])
    pairs: list[Pair] = []
    for n in range(3_600):
        customer = f"p{n}"
        lines, told = random_history(rng, customer)
        t = random_instant(rng, lines, told)
        pairs.append((customer, t))
        clean[0].extend(x for x in lines if x.at < t)
        clean[1].extend(x for x in told if x.at < t)
        full[0].extend(lines + poisoned(customer, t, rng, lines))
        full[1].extend(told)
        for kind in ("sent", "redeem"):
            for delay in (0, 1, 86_400_000_000):
                at = t + timedelta(microseconds=delay)
                full[1].append(Told(customer, at, kind, f"poison-{delay}"))
        # What she had redeemed is taken back when it is too late to be known.
        full[1].extend(Told(customer, t, "reverse", x.offer) for x in told if x.kind == "redeem")
    folder = tmp_path_factory.mktemp("probe")
    return (
        fill(DuckDbLake(folder / "clean"), *clean),
        fill(DuckDbLake(folder / "full"), *full),
        pairs,
    )


def differing(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, int]:
    """Count, by feature, the rows in which two evaluations are not the same to the last bit."""
    assert left.index.get_level_values(0).equals(right.index.get_level_values(0))
    return {
        name: sum(x != y for x, y in zip(left[name], right[name], strict=True))
        for name in left.columns
    }


def test_no_event_at_or_after_t_is_in_any_value_of_thousands_of_pairs(
    probe: tuple[DuckDbLake, DuckDbLake, list[Pair]],
) -> None:
    clean, full, pairs = probe

    seen = evaluate(full, pairs)

    assert differing(evaluate(clean, pairs), seen) == dict.fromkeys(NAMES, 0)
    # The probe is no empty one: thousands of pairs, most with a past, and values that vary.
    assert len(seen) == len(pairs) >= 3_000
    assert (seen["orders_365d"] > 0).mean() > 0.5
    varied = [name for name in NAMES if name != "share_meat_pckgd_365d"]
    assert seen[varied].nunique().min() > 1


@pytest.mark.parametrize(
    ("leak", "beyond"),
    [
        ("`<=` instead of `<`", lambda t: t + timedelta(microseconds=1)),
        ("the hour of T", lambda t: t + timedelta(hours=1, microseconds=1)),
        ("the day of T", lambda t: t.replace(hour=23, minute=59, second=59)),
    ],
)
def test_the_probe_finds_a_planted_leak_in_every_view(
    probe: tuple[DuckDbLake, DuckDbLake, list[Pair]],
    leak: str,
    beyond: Callable[[datetime], datetime],
) -> None:
    clean, full, pairs = probe

    right = evaluate(clean, pairs)
    found = differing(right, evaluate(full, [(customer, beyond(t)) for customer, t in pairs]))

    # One of each view: lines, orders, visits, stores, offers.
    for name in ("spend_7d", "orders_7d", "visit_days_365d", "stores_365d", "redemptions_90d"):
        assert found[name] > 1_000, (leak, name)


def test_the_probe_finds_a_receipt_that_is_summed_before_it_is_cut(
    probe: tuple[DuckDbLake, DuckDbLake, list[Pair]],
) -> None:
    clean, full, pairs = probe
    whole = full.fetch(full.table("purchases").group_by("order_id").aggregate(
        total=lambda t: t.amount.sum(), first=lambda t: t["at"].min()
    )).to_pandas()  # fmt: skip
    whole["customer_id"] = whole["order_id"].str.split("-").str[0]
    cut = whole.merge(pd.DataFrame(pairs, columns=["customer_id", "t"]))
    begun = cut[(cut["first"] < cut["t"]) & (cut["first"] > cut["t"] - timedelta(days=90))]
    leaky = begun.groupby("customer_id")["total"].mean()

    right = evaluate(clean, pairs)["basket_mean_90d"].droplevel("as_of").reindex(leaky.index)

    assert (leaky.to_numpy() != right.to_numpy(dtype=float)).sum() > 1_000


# ------------------------------------------------------------------------ windows and empty pasts


@pytest.mark.parametrize("window", [7, 30, 90, 365])
def test_a_window_ends_just_short_of_its_days(lake: DuckDbLake, window: int) -> None:
    t = utc("2026-07-01 07:00")
    old = t - timedelta(days=window)
    lines = [
        Line("at-edge", "o1", old, "milk", 100),
        Line("inside", "o2", old + timedelta(seconds=1), "milk", 100),
        Line("just-now", "o3", t - timedelta(microseconds=1), "milk", 100),
        Line("now", "o4", t, "milk", 100),
    ]

    customers = ("at-edge", "inside", "just-now", "now")
    found = evaluate(fill(lake, lines, []), [(customer, t) for customer in customers])

    spend = found[f"spend_{window}d"].droplevel("as_of")
    assert spend[list(customers)].tolist() == [0, 100, 100, 0]
    orders = found[f"orders_{window}d"].droplevel("as_of")
    assert orders[list(customers)].tolist() == [0, 1, 1, 0]
    # Ages are told to the second, and never negative.
    assert found["recency_days"].droplevel("as_of")["just-now"] == 1 / 86_400


def test_a_customer_without_history_keeps_her_row_with_zero_counts_and_unknown_means(
    lake: DuckDbLake,
) -> None:
    found = evaluate(fill(lake, ANA, ANA_TOLD), [("nobody", NOON), ("ana", utc("2020-01-01"))])

    assert len(found) == 2
    for _, row in found.iterrows():
        for feature in FEATURES:
            assert row[feature.name] == feature.empty, feature.name
    assert {f.empty for f in FEATURES if f.kind == "int64"} == {0}
    assert {f.empty for f in FEATURES if f.kind == "float64"} == {None}


def test_features_of_an_empty_lake_are_those_of_unknown_customers(lake: DuckDbLake) -> None:
    found = evaluate(lake, [("nobody", NOON)])

    assert found["orders_365d"].tolist() == [0]
    assert found["recency_days"].tolist() == [None]


def test_values_come_in_the_declared_order_and_types(lake: DuckDbLake) -> None:
    spine = arrow.table({"customer_id": ["ana"], "as_of": arrow.array([NOON])})

    found = lake.fetch(features_as_of(fill(lake, ANA, ANA_TOLD), lake.memory(spine), FEATURES))

    assert found.column_names == ["customer_id", "as_of", *NAMES]
    assert [str(found.schema.field(f.name).type) for f in FEATURES] == [
        {"int64": "int64", "float64": "double"}[f.kind] for f in FEATURES
    ]


def test_a_pair_given_twice_counts_its_events_once(lake: DuckDbLake) -> None:
    found = evaluate(fill(lake, ANA, ANA_TOLD), [("ana", NOON), ("ana", NOON)])

    assert len(found) == 1
    assert found["orders_365d"].tolist() == [4]


def test_naive_instants_are_refused(lake: DuckDbLake) -> None:
    naive = lake.memory(arrow.table({"customer_id": ["ana"], "as_of": [datetime(2026, 7, 1)]}))  # noqa: DTZ001

    with pytest.raises(RegularsError, match="has no time zone"):
        features_as_of(lake, naive, FEATURES)


def test_categories_whose_features_would_share_a_name_are_refused() -> None:
    with pytest.raises(RegularsError, match="feature 'share_drug_gm_365d' is defined 2 times"):
        definitions(("DRUG GM", "Drug-GM"))


# ------------------------------------------------------------------------------------- the spine


@pytest.fixture(scope="module")
def evaluated(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[DuckDbLake, list[Pair], pd.DataFrame]:
    rng = random.Random(3)
    histories = [random_history(rng, f"c{n}") for n in range(30)]
    lake = fill(
        DuckDbLake(tmp_path_factory.mktemp("spine") / "lake"),
        [x for lines, _ in histories for x in lines],
        [x for _, told in histories for x in told],
    )
    # Several instants a customer: the past of one must not enter another.
    pairs = [
        (f"c{n}", random_instant(rng, *history))
        for n, history in enumerate(histories)
        for _ in range(4)
    ]
    pairs = list(dict.fromkeys(pairs))
    return lake, pairs, evaluate(lake, pairs)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=some.data())
def test_a_split_spine_gives_the_values_of_the_whole(
    evaluated: tuple[DuckDbLake, list[Pair], pd.DataFrame], data: some.DataObject
) -> None:
    lake, pairs, whole = evaluated
    mask = data.draw(some.lists(some.booleans(), min_size=len(pairs), max_size=len(pairs)))
    chosen = [pair for pair, taken in zip(pairs, mask, strict=True) if taken] or pairs[:1]

    part = evaluate(lake, chosen)

    assert differing(whole.loc[part.index], part) == dict.fromkeys(NAMES, 0)


# ------------------------------------------------------------------------------ the fingerprint

FIRST = FEATURES[0]


def changed(**what: Any) -> tuple[Feature, ...]:
    return (replace(FIRST, **what), *FEATURES[1:])


@pytest.mark.parametrize(
    "features",
    [
        changed(name="recency"),
        changed(kind="int64"),
        changed(unit="hours"),
        changed(window=365),
        changed(empty=0),
        changed(expression=lambda t: t.age.max()),
        changed(expression=lambda t: t.age.min(where=t.age < 365)),
        changed(view="visits"),
        FEATURES[1:],
        (*FEATURES[1:], FIRST),
        definitions(("GROCERY",)),
        definitions(("MEAT-PCKGD", "GROCERY")),
    ],
    ids=[
        "name", "kind", "unit", "window", "empty", "expression", "condition", "view", "fewer",
        "order", "categories", "category order",
    ],
)  # fmt: skip
def test_the_fingerprint_changes_with_a_definition(features: tuple[Feature, ...]) -> None:
    assert feature_hash(features) != feature_hash(FEATURES)


def test_the_fingerprint_stays_when_no_definition_changes() -> None:
    again = definitions(("GROCERY", "MEAT-PCKGD"))
    # Written another way, the same expression.
    rewritten = changed(expression=lambda rows: rows["age"].min())

    assert feature_hash(again) == feature_hash(FEATURES) == feature_hash(rewritten)
    # Names that Ibis counts up as a process goes on are not in it.
    ibis.memtable({"x": [1]})
    assert feature_hash(again) == feature_hash(FEATURES)


def test_the_fingerprint_changes_with_which_events_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that learned from redemptions taken back is another one."""
    now = feature_hash(FEATURES)
    registry._blank_views.cache_clear()
    monkeypatch.setattr(registry, "standing", lambda events, _: events)
    try:
        assert feature_hash(FEATURES) != now
    finally:
        registry._blank_views.cache_clear()


# Seed 4 puts the names of a set in another order than 1 does.
@pytest.mark.parametrize("seed", ["1", "4"])
def test_the_fingerprint_is_the_same_in_another_process(seed: str) -> None:
    code = (
        "from foundation.features import definitions, feature_hash;"
        "print(feature_hash(definitions(('GROCERY', 'MEAT-PCKGD'))))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": seed},
    )

    assert told.stdout.strip() == feature_hash(FEATURES)
