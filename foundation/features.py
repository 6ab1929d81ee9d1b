"""Customer features: each defined once, evaluated as of an instant T from events before T only.

A definition is an aggregate over one view of a customer's past. The views (lines, orders, visits,
stores, offers) are cut at T before anything is derived from them, so no definition can look ahead.
Training and the nightly publication evaluate the same definitions with other spines.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Literal, Protocol

import ibis

from foundation.contracts import TABLES
from foundation.errors import RegularsError
from foundation.taken_back import standing, with_taken_back

View = Literal["lines", "orders", "visits", "stores", "offers"]
WINDOWS = (7, 30, 90, 365)
SECONDS_A_DAY = 86_400

# What the views read, so that a new column of a contract is not a new definition.
_LINE = (
    "customer_id",
    "at",
    "order_id",
    "product_id",
    "store_id",
    "local_day",
    "local_hour",
    "amount",
    "discount",
    "offer_discount",
)
_INTERACTION = ("customer_id", "at", "kind", "offer_id")

# Ibis gives every column the type of no column in particular, so a checker knows nothing of rows.
Rows = Any


class Events(Protocol):
    """The tables that features are made of; a lake is one."""

    def table(self, name: str) -> ibis.Table: ...


# The unit of what is money.
MINOR_UNITS = "minor units"


@dataclass(frozen=True)
class Feature:
    """One figure about a customer as of T.

    `expression` aggregates a view whose rows all lie before T and carry `age` (days before T, as
    a float, to the second). `empty` is the value of a customer without such rows: 0 for counts
    and sums, None (unknown) for means and shares. `window` is days back from T, None for the
    whole past.
    """

    name: str
    kind: Literal["int64", "float64"]
    unit: str
    window: int | None
    view: View
    empty: int | None
    expression: Callable[[Rows], Any]


@cache
def money_features() -> frozenset[str]:
    """Return the names of features that are money, in minor units."""
    return frozenset(feature.name for feature in definitions() if feature.unit == MINOR_UNITS)


def definitions(categories: Sequence[str] = ()) -> tuple[Feature, ...]:
    """Return the registry, in the order that vectors keep.

    Args:
        categories: Product categories whose share of spend is a feature of its own.

    Raises:
        RegularsError: Two categories would give features of one name.
    """
    found = (
        *_recency(),
        *_purchases(),
        *_rhythm(),
        *_habits(),
        *_loyalty(),
        *(_share(category) for category in categories),
        *_offers(),
    )
    for name, times in Counter(feature.name for feature in found).items():
        if times > 1:
            raise RegularsError(
                f"feature {name!r} is defined {times} times; give the categories names that "
                f"differ in a letter or digit, each once"
            )
    return found


def feature_hash(features: Sequence[Feature]) -> str:
    """Return a fingerprint of these definitions and of the views they aggregate.

    Their names, types, units, windows and expressions are in it, and their order; nothing else.
    """
    digest = blake2b(digest_size=8)
    for feature in features:
        derivation, view = _blank_views()[feature.view]
        text = ibis.to_sql(view.aggregate(value=feature.expression(view)), dialect="duckdb")
        declared = (feature.name, feature.kind, feature.unit, feature.window, feature.empty)
        digest.update(f"{declared}|{derivation}|{text}\n".encode())
    return digest.hexdigest()


def features_as_of(events: Events, spine: ibis.Table, features: Sequence[Feature]) -> ibis.Table:
    """Evaluate features for customers at instants.

    Args:
        events: Source of purchases, products and interactions.
        spine: Distinct pairs, columns customer_id and as_of (aware).
        features: Definitions to evaluate.

    Returns:
        One row a pair of the spine: customer_id, as_of, then a column a feature. A customer
        without history keeps her row.

    Raises:
        RegularsError: The instants are naive.
    """
    if spine.schema()["as_of"].timezone is None:  # pyright: ignore[reportAttributeAccessIssue]
        raise RegularsError("the spine's as_of has no time zone; give aware instants, in UTC")
    # A pair given twice would count every event twice.
    spine = spine.select("customer_id", "as_of").distinct()
    result = spine
    for name, view in _views(events, spine).items():
        wanted = [feature for feature in features if feature.view == name]
        if not wanted:
            continue
        values = view.group_by("customer_id", "as_of").aggregate(
            **{feature.name: feature.expression(view) for feature in wanted}
        )
        result = result.left_join(values, ["customer_id", "as_of"]).drop(
            "customer_id_right", "as_of_right"
        )
    return result.select("customer_id", "as_of", *(_typed(result, f) for f in features))


def visit_days_as_of(events: Events, spine: ibis.Table) -> ibis.Table:
    """Return the days with an order before T: customer_id, as_of, local_day, age and gap (days).

    `age` is that of the day's first order, `gap` the days since the visit before, null for the
    first of all.

    Args:
        events, spine: As in features_as_of.
    """
    return _views(events, spine)["visits"]


def _typed(table: ibis.Table, feature: Feature) -> ibis.Value:
    value: Any = table[feature.name].cast(feature.kind)
    if feature.empty is not None:
        value = value.fill_null(feature.empty)
    return value.name(feature.name)


def _views(events: Events, spine: ibis.Table) -> dict[View, Rows]:
    """Cut every source at T, then derive: an order or a day never contains a line after T."""
    interactions: Rows = events.table("interactions").select(*_INTERACTION)
    lines = events_before(events.table("purchases").select(*_LINE), spine)
    categories = events.table("products").select("product_id", "category")
    lines = lines.left_join(categories, "product_id").drop("product_id_right")
    orders = lines.group_by("customer_id", "as_of", "order_id").aggregate(
        age=lines.age.max(),
        local_day=lines.local_day.min(),
        local_hour=lines.local_hour.min(),
        store_id=lines.store_id.min(),
        amount=lines.amount.sum(),
        discount=lines.discount.sum(),
        lines=lines.count(),
    )
    # A receipt that gives back more than it takes is a return, not an order.
    orders = orders.filter(orders.amount >= 0)
    days = orders.group_by("customer_id", "as_of", "local_day").aggregate(age=orders.age.max())
    past = ibis.window(group_by=["customer_id", "as_of"], order_by="local_day")
    visits = days.mutate(gap=days.local_day - days.local_day.lag().over(past))
    known = orders.filter(orders.store_id.notnull())
    stores = known.group_by("customer_id", "as_of", "store_id").aggregate(
        orders=(known.age < 365).sum()
    )
    told = with_taken_back(interactions.filter(interactions.offer_id.notnull()))
    offers = events_before(told, spine)
    return {
        "lines": lines,
        "orders": orders,
        "visits": visits,
        "stores": stores,
        # A redemption taken back before T was none.
        "offers": standing(offers, offers.as_of),
    }


def events_before(source: ibis.Table, spine: ibis.Table) -> Rows:
    """Return each event of a customer before each of her instants, with its age in days.

    Args:
        source: Events with customer_id and at.
        spine: Distinct pairs, columns customer_id and as_of (aware).
    """
    # Seconds are told before the join: each event once, not once for every instant it precedes.
    told: Rows = source.mutate(at_second=_second(source["at"]))
    asked: Rows = spine.select("customer_id", "as_of", as_of_second=_second(spine["as_of"]))
    joined: Rows = asked.join(told, "customer_id")
    joined = joined.filter(joined["at"] < joined.as_of)
    age = (joined.as_of_second - joined.at_second) / SECONDS_A_DAY
    # Not `drop`: of several columns it writes their names in an order that differs from one
    # process to the next, and with the text the fingerprint of all features would.
    kept = [name for name in joined.columns if name not in ("at_second", "as_of_second")]
    return joined.select(*kept, age=age)


def _second(instant: Rows) -> Rows:
    # Engines disagree on fractions of an epoch's second: DuckDB keeps them, Spark drops them.
    return instant.truncate("s").epoch_seconds()


class NoEvents:
    """The contracts' tables without rows, to write down what is derived from them."""

    def table(self, name: str) -> ibis.Table:
        return ibis.table(ibis.Schema.from_pyarrow(TABLES[name].arrow_schema), name=name)


@cache
def _blank_views() -> dict[View, tuple[str, Rows]]:
    """Return each view's derivation in SQL, and a table of its columns under its own name."""
    spine = ibis.table({"customer_id": "string", "as_of": "timestamp('UTC')"}, name="spine")
    return {
        name: (ibis.to_sql(view, dialect="duckdb"), ibis.table(view.schema(), name=name))
        for name, view in _views(NoEvents(), spine).items()
    }


def _recency() -> tuple[Feature, ...]:
    return (
        Feature("recency_days", "float64", "days", None, "orders", None, lambda t: t.age.min()),
        Feature("tenure_days", "float64", "days", None, "orders", None, lambda t: t.age.max()),
    )


def _purchases() -> tuple[Feature, ...]:
    found: list[Feature] = []
    for w in WINDOWS:
        found += [
            Feature(
                f"orders_{w}d", "int64", "orders", w, "orders", 0,
                lambda t, w=w: (t.age < w).sum(),
            ),
            Feature(
                f"spend_{w}d", "int64", MINOR_UNITS, w, "lines", 0,
                lambda t, w=w: t.amount.sum(where=t.age < w),
            ),
        ]  # fmt: skip
    for w in (90, 365):
        found += [
            Feature(
                f"basket_mean_{w}d", "float64", MINOR_UNITS, w, "orders", None,
                lambda t, w=w: t.amount.mean(where=t.age < w),
            ),
            Feature(
                f"basket_lines_{w}d", "float64", "lines", w, "orders", None,
                lambda t, w=w: t.lines.mean(where=t.age < w),
            ),
            Feature(
                f"discount_share_{w}d", "float64", "share", w, "lines", None,
                lambda t, w=w: _ratio(
                    t.discount.sum(where=t.age < w),
                    t.discount.sum(where=t.age < w) + t.amount.sum(where=t.age < w),
                ),
            ),
        ]  # fmt: skip
    for w in (90, 365):
        # Coupons handed in at the till, our own and the manufacturers': who clips, clips again.
        found += [
            Feature(
                f"coupon_lines_{w}d", "int64", "lines", w, "lines", 0,
                lambda t, w=w: ((t.offer_discount > 0) & (t.age < w)).sum(),
            ),
            Feature(
                f"coupon_share_{w}d", "float64", "share", w, "lines", None,
                lambda t, w=w: (t.offer_discount > 0).cast("float64").mean(where=t.age < w),
            ),
        ]  # fmt: skip
    # A month against the quarter it belongs to: 1 is steady, 0 has stopped, above 1 grows.
    found += [
        Feature(
            "spend_trend", "float64", "ratio", 90, "lines", None,
            lambda t: _ratio(
                t.amount.sum(where=t.age < 30).fill_null(0) * 3, t.amount.sum(where=t.age < 90)
            ),
        ),
        Feature(
            "orders_trend", "float64", "ratio", 90, "orders", None,
            lambda t: _ratio((t.age < 30).sum() * 3, (t.age < 90).sum()),
        ),
    ]  # fmt: skip
    return tuple(found)


def _rhythm() -> tuple[Feature, ...]:
    return (
        Feature(
            "visit_days_365d", "int64", "days", 365, "visits", 0, lambda t: (t.age < 365).sum()
        ),
        Feature(
            "gap_mean_365d", "float64", "days", 365, "visits", None,
            lambda t: t.gap.mean(where=t.age < 365),
        ),
        Feature(
            "gap_spread_365d", "float64", "days", 365, "visits", None,
            lambda t: _spread(t.gap, t.age < 365),
        ),
    )  # fmt: skip


def _habits() -> tuple[Feature, ...]:
    def weekend(t: Rows) -> Rows:
        # 1970-01-01 was a Thursday: days 2 and 3 of that count are Saturday and Sunday.
        return (t.local_day % 7).isin([2, 3])

    return (
        Feature(
            "weekend_share_365d", "float64", "share", 365, "orders", None,
            lambda t: weekend(t).cast("float64").mean(where=t.age < 365),
        ),
        Feature(
            "morning_share_365d", "float64", "share", 365, "orders", None,
            lambda t: (t.local_hour < 12).cast("float64").mean(where=t.age < 365),
        ),
        Feature(
            "evening_share_365d", "float64", "share", 365, "orders", None,
            lambda t: (t.local_hour >= 17).cast("float64").mean(where=t.age < 365),
        ),
    )  # fmt: skip


def _loyalty() -> tuple[Feature, ...]:
    return (
        Feature(
            "store_share_365d", "float64", "share", 365, "stores", None,
            lambda t: _ratio(t.orders.max(), t.orders.sum()),
        ),
        Feature("stores_365d", "int64", "stores", 365, "stores", 0, lambda t: (t.orders > 0).sum()),
        Feature(
            "categories_90d", "int64", "categories", 90, "lines", 0,
            lambda t: t.category.nunique(where=t.age < 90),
        ),
        Feature(
            "products_90d", "int64", "products", 90, "lines", 0,
            lambda t: t.product_id.nunique(where=t.age < 90),
        ),
    )  # fmt: skip


def _share(category: str) -> Feature:
    word = "".join(c if c.isalnum() else "_" for c in category.lower())
    return Feature(
        f"share_{word}_365d", "float64", "share", 365, "lines", None,
        lambda t: _ratio(
            t.amount.sum(where=(t.age < 365) & (t.category == category)).fill_null(0),
            t.amount.sum(where=t.age < 365),
        ),
    )  # fmt: skip


def _offers() -> tuple[Feature, ...]:
    def distinct(t: Rows, kind: str, w: int) -> Rows:
        return t.offer_id.nunique(where=(t.kind == kind) & (t.age < w))

    found: list[Feature] = []
    for w in (90, 365):
        found += [
            Feature(
                f"offers_sent_{w}d", "int64", "offers", w, "offers", 0,
                lambda t, w=w: distinct(t, "sent", w),
            ),
            Feature(
                f"offers_redeemed_{w}d", "int64", "offers", w, "offers", 0,
                lambda t, w=w: distinct(t, "redeem", w),
            ),
            Feature(
                f"redemptions_{w}d", "int64", "redemptions", w, "offers", 0,
                lambda t, w=w: ((t.kind == "redeem") & (t.age < w)).sum(),
            ),
        ]  # fmt: skip
    found += [
        Feature(
            "redeem_rate_365d", "float64", "share", 365, "offers", None,
            lambda t: _ratio(distinct(t, "redeem", 365), distinct(t, "sent", 365)),
        ),
        Feature(
            "redeem_recency_days", "float64", "days", None, "offers", None,
            lambda t: t.age.min(where=t.kind == "redeem"),
        ),
        Feature(
            "sent_recency_days", "float64", "days", None, "offers", None,
            lambda t: t.age.min(where=t.kind == "sent"),
        ),
    ]  # fmt: skip
    return tuple(found)


def _spread(whole: Rows, where: Rows) -> Rows:
    """Return the sample standard deviation of whole numbers; of fewer than two it is unknown.

    From sums of whole numbers: an engine's own gives other last digits for another order of rows.
    """
    n, total = whole.count(where=where), whole.sum(where=where)
    squares = (whole * whole).sum(where=where)
    return _ratio(n * squares - total * total, n * (n - 1)).sqrt()


def _ratio(top: Rows, bottom: Rows) -> Rows:
    """Divide; nothing over nothing is unknown, not zero."""
    return top.cast("float64") / bottom.nullif(0)
