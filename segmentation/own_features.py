"""Own features: which customer features say what a segment's rule itself asks for?

A model of the members that sees them restates the rule and finds nobody new. A feature counts as
asked for in all its windows: 5 orders in a month are 5 in a quarter too. What is left may still
hint at the rule: who has not been here for a year has no basket of the last quarter.
"""

from collections.abc import Sequence

from foundation.counted_events import Count
from foundation.features import Feature, definitions
from foundation.rules import AttributeIs, CountIs, FeatureIs, Rule, SegmentIn, leaves
from segmentation.behaviour import TRAITS

# What each segmentation is made of.
MADE_OF: dict[str, tuple[str, ...]] = {
    "rfm": ("recency_days", "orders_365d", "spend_365d"),
    "lifecycle": (
        "recency_days",
        "tenure_days",
        "visit_days_365d",
        "gap_mean_365d",
        "gap_spread_365d",
    ),
    "cluster": ("orders_365d", *(trait.feature for trait in TRAITS)),
}

# Asking for one tells the other: the last order was within 30 days where 30 days had an order.
TELLS: dict[str, tuple[str, ...]] = {
    "recency_days": ("orders", "visit_days", "spend"),
    "orders": ("recency_days",),
    "redeem_recency_days": ("offers_redeemed", "redemptions"),
    "offers_redeemed": ("redemptions", "redeem_recency_days"),
    "redemptions": ("offers_redeemed", "redeem_recency_days"),
    "sent_recency_days": ("offers_sent",),
    "offers_sent": ("sent_recency_days",),
}


def own_features(rule: Rule, features: Sequence[Feature]) -> frozenset[str]:
    """Return the features a rule asks for, by name, in all their windows, and those they tell.

    Args:
        rule: Living segments that it asks for have rules of their own, which are not looked at.
        features: The registry; what a rule asks for besides is in none of them.
    """
    quantities = {feature.name: _quantity(feature) for feature in features}
    asked = {name for leaf in leaves(rule) for name in _asked(leaf, features)}
    own = {quantities[name] for name in asked & quantities.keys()}
    own |= {told for quantity in own for told in TELLS.get(quantity, ())}
    return frozenset(name for name, quantity in quantities.items() if quantity in own)


def _quantity(feature: Feature) -> str:
    return feature.name.removesuffix(f"_{feature.window}d")


def _asked(leaf: Rule, features: Sequence[Feature]) -> Sequence[str]:
    match leaf:
        case FeatureIs(feature):
            return [feature]
        case SegmentIn(segment):
            return MADE_OF.get(segment, ())
        case AttributeIs("joined_at"):
            return ["tenure_days"]
        case CountIs(count):
            return _counted(count, features)
        case _:
            return ()


def _counted(count: Count, features: Sequence[Feature]) -> Sequence[str]:
    if count.source == "interaction":
        return [feature.name for feature in features if feature.view == "offers"]
    where = dict(count.where)
    if not where:
        return ["orders_365d"]
    always = {feature.name for feature in definitions()}
    shares = definitions(where.get("category", ()))
    return [feature.name for feature in shares if feature.name not in always]
