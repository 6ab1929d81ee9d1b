"""Customer features: each defined once, evaluated as of an instant T from events before T only.

A definition is an aggregate over one view of a customer's past. The views (lines, orders, visits,
stores, offers) are cut at T before anything is derived from them, so no definition can look ahead.
Training and the nightly publication evaluate the same definitions with other spines.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal, Protocol

import ibis

View = Literal["lines", "orders", "visits", "stores", "offers"]
WINDOWS = (7, 30, 90, 365)
SECONDS_A_DAY = 86_400


class Events(Protocol):
    """The tables that features are made of; a lake is one."""

    def table(self, name: str) -> ibis.Table: ...


@dataclass(frozen=True)
class Feature:
    """One figure about a customer as of T.

    `expression` aggregates a view whose rows all lie before T and carry `age` (days before T,
    a float). `empty` is the value of a customer without such rows: 0 for counts and sums, None
    (unknown) for means and shares. `window` is days back from T, None for the whole past.
    """

    name: str
    kind: Literal["int64", "float64"]
    unit: str
    window: int | None
    view: View
    empty: int | None
    expression: Callable[[ibis.Table], ibis.Value]


def definitions(categories: Sequence[str] = ()) -> tuple[Feature, ...]:
    """Return the registry, in the order that vectors keep.

    Args:
        categories: Product categories whose share of spend is a feature of its own.
    """
    return (
        *_recency(),
        *_purchases(),
        *_rhythm(),
        *_habits(),
        *_loyalty(),
        *(_share(category) for category in categories),
        *_offers(),
    )


def feature_hash(features: Sequence[Feature]) -> str:
    """Return a fingerprint of names, types and expressions; a change of any changes it."""
    digest = blake2b(digest_size=8)
    for feature in features:
        view = _EMPTY_VIEWS[feature.view]
        text = ibis.to_sql(view.aggregate(value=feature.expression(view)), dialect="duckdb")
        digest.update(f"{feature.name}|{feature.kind}|{feature.empty}|{text}\n".encode())
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
    """
    result = spine.select("customer_id", "as_of")
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


def _typed(table: ibis.Table, feature: Feature) -> ibis.Value:
    value = table[feature.name].cast(feature.kind)
    if feature.empty is not None:
        value = value.fill_null(feature.empty)
    return value.name(feature.name)


def _views(events: Events, spine: ibis.Table) -> dict[View, ibis.Table]:
    """Cut every source at T, then derive: an order or a day never contains a line after T."""
    lines = _before(events.table("purchases"), spine)
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
    # A receipt that only gives money back is a return, not an order.
    orders = orders.filter(orders.amount >= 0)
    days = orders.group_by("customer_id", "as_of", "local_day").aggregate(age=orders.age.max())
    past = ibis.window(group_by=["customer_id", "as_of"], order_by="local_day")
    visits = days.mutate(gap=days.local_day - days.local_day.lag().over(past))
    stores = orders.group_by("customer_id", "as_of", "store_id").aggregate(
        orders=(orders.age < 365).sum()
    )
    return {
        "lines": lines,
        "orders": orders,
        "visits": visits,
        "stores": stores,
        "offers": _before(
            events.table("interactions").filter(lambda t: t.offer_id.notnull()), spine
        ),
    }


def _before(source: ibis.Table, spine: ibis.Table) -> ibis.Table:
    joined = spine.select("customer_id", "as_of").join(source, "customer_id")
    joined = joined.filter(joined["at"] < joined.as_of)
    age = (joined.as_of.epoch_seconds() - joined["at"].epoch_seconds()) / SECONDS_A_DAY
    return joined.mutate(age=age)


_LINES = ibis.table(
    {
        "age": "float64",
        "amount": "int64",
        "discount": "int64",
        "category": "string",
        "product_id": "string",
        "local_hour": "int64",
    },
    name="lines",
)
_ORDERS = ibis.table(
    {
        "age": "float64",
        "amount": "int64",
        "discount": "int64",
        "lines": "int64",
        "local_day": "int64",
        "local_hour": "int64",
    },
    name="orders",
)
_VISITS = ibis.table({"age": "float64", "local_day": "int64", "gap": "int64"}, name="visits")
_STORES = ibis.table({"store_id": "string", "orders": "int64"}, name="stores")
_OFFERS = ibis.table({"age": "float64", "kind": "string", "offer_id": "string"}, name="offers")
_EMPTY_VIEWS: dict[View, ibis.Table] = {
    "lines": _LINES,
    "orders": _ORDERS,
    "visits": _VISITS,
    "stores": _STORES,
    "offers": _OFFERS,
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
                f"spend_{w}d", "int64", "minor units", w, "lines", 0,
                lambda t, w=w: t.amount.sum(where=t.age < w),
            ),
        ]  # fmt: skip
    for w in (90, 365):
        found += [
            Feature(
                f"basket_mean_{w}d", "float64", "minor units", w, "orders", None,
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
    # A month against the quarter it belongs to: 1 is steady, 0 has stopped, above 1 grows.
    found += [
        Feature(
            "spend_trend", "float64", "ratio", 90, "lines", None,
            lambda t: _ratio(t.amount.sum(where=t.age < 30) * 3, t.amount.sum(where=t.age < 90)),
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
            lambda t: t.gap.std(how="sample", where=t.age < 365),
        ),
    )  # fmt: skip


def _habits() -> tuple[Feature, ...]:
    def weekend(t: ibis.Table) -> ibis.Value:
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
    def distinct(t: ibis.Table, kind: str, w: int) -> ibis.Value:
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


def _ratio(top: ibis.Value, bottom: ibis.Value) -> ibis.Value:
    """Divide; nothing over nothing is unknown, not zero."""
    return top.cast("float64") / bottom.nullif(0)
