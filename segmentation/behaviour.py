"""Behaviour: how does a customer shop, in numbers that distances make sense of?

How often, how much at once, on discount, where and when; not what she is worth, which is RFM's
question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

Floats: TypeAlias = npt.NDArray[np.float64]

# A customer with one order has shares of 0 or 1: she is lent this many typical orders, or the
# clusters would be "the one-time evening buyers" and the like.
LENT_ORDERS = 5


@dataclass(frozen=True)
class Trait:
    """One feature of behaviour, with the words for little and much of it."""

    feature: str
    kind: Literal["count", "money", "share"]
    low: str
    high: str
    meaning: str


TRAITS = (
    Trait("visit_days_365d", "count", "infrequent", "frequent", "days with a visit in a year"),
    Trait("basket_mean_365d", "money", "small baskets", "large baskets", "the typical basket"),
    Trait("discount_share_365d", "share", "full price", "discounts", "saved by discounts"),
    Trait("store_share_365d", "share", "several stores", "one store", "of orders in one store"),
    Trait("weekend_share_365d", "share", "weekdays", "weekends", "of orders at weekends"),
    Trait("evening_share_365d", "share", "daytime", "evening", "of orders in the evening"),
)


class Behaviour(TransformerMixin, BaseEstimator):
    """Learn what is typical, and turn features into traits by it; see `traits_of`."""

    def fit(self, X: pd.DataFrame, y: None = None) -> "Behaviour":  # noqa: ARG002
        self.typical_ = [typical(X, trait) for trait in TRAITS]
        return self

    def transform(self, X: pd.DataFrame) -> Floats:
        return traits_of(X, self.typical_)


def preparation() -> Pipeline:
    """Return the steps before a distance: traits, the typical value for unknown ones, one scale."""
    return Pipeline(
        [
            ("behaviour", Behaviour()),
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )


def traits_of(profile: pd.DataFrame, typicals: Sequence[float]) -> Floats:
    """Return customers' traits, shape (n_customers, n_traits); NaN where unknown.

    Money and counts are skewed, so their logarithm is taken; shares of few orders lean on the
    typical customer's.

    Args:
        profile: One row a customer: orders_365d and the features of TRAITS.
        typicals: The typical value of each trait, shape (n_traits,).
    """
    orders = profile["orders_365d"].to_numpy(np.float64)
    columns: list[Floats] = []
    for trait, usual in zip(TRAITS, typicals, strict=True):
        values = feature_values(profile, trait)
        if trait.kind == "share":
            values = (values * orders + usual * LENT_ORDERS) / (orders + LENT_ORDERS)
        else:
            # Returns can bring money below nothing.
            values = np.log1p(np.maximum(values, 0))
        columns.append(values)
    return np.column_stack(columns)


def feature_values(profile: pd.DataFrame, trait: Trait) -> Floats:
    """Return a trait's feature as it is, shape (n_customers,); NaN where unknown."""
    return profile[trait.feature].to_numpy(np.float64, na_value=np.nan)


def typical(profile: pd.DataFrame, trait: Trait) -> float:
    """Return the median of the known values of a trait's feature; NaN where none is known."""
    values = feature_values(profile, trait)
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else np.nan
