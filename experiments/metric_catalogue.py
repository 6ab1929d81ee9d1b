"""The metrics a plan may name, and what each is made of: columns of one row a unit.

Besides these names a plan may ask for a column in the words of `experiment analyse`: `spend:p90`,
`margin:winsorised99`. Households and stores are assigned whole, so that what is a share of
customers is for them a share of their members.
"""

import msgspec

from experiments.metric_words import read_metrics
from experiments.metrics import Column, InvalidMetric, Mean, Metric, Proportion, Quantile, Ratio

# What every report shows, planned or not.
USUAL = ("margin", "orders", "redeemed")
# What a column of a unit says of the days before, for CUPED.
BEFORE = "_before"
MEMBERS = "members"
# Columns that words may measure; those with a twin of before are adjusted by it.
ADJUSTED = ("margin", "spend", "orders", "items")
WORDED = (*ADJUSTED, "returned")
# A share of members, by the column that counts those of a unit.
_SHARES = {
    "redeemed": "redeemed",
    "buyers": "bought",
    "complaints": "complained",
    "opt_outs": "opted_out",
}
_RATIOS = {
    "basket": ("spend", "orders"),
    "margin_rate": ("margin", "spend"),
    "return_rate": ("returned", "sold"),
    "nps": ("nps_points", "nps_answers"),
    "csat": ("csat_satisfied", "csat_answers"),
}
MEDIAN_SPEND = "median_spend"
NAMES = (*WORDED, *_SHARES, *_RATIOS, MEDIAN_SPEND)
# Which of them depend on who bought, or answered, which a variant may have changed.
SELECTED = {
    MEDIAN_SPEND: "who bought",
    "basket": "who bought",
    "nps": "who answered",
    "csat": "who answered",
}


class Measured(msgspec.Struct, frozen=True):
    """A metric; `cap` is the quantile of all units' values that larger ones count as."""

    metric: Metric
    cap: float | None = None


def measured(name: str, unit: str = "customer") -> Measured:
    """Return the metric of a name, for what is assigned.

    Raises:
        InvalidMetric: It is none of NAMES and no words on a column.
    """
    if name in ADJUSTED:
        return Measured(Mean(Column(name), Column(f"{name}{BEFORE}")))
    if name in _SHARES:
        column = Column(_SHARES[name])
        return Measured(
            Proportion(column) if unit == "customer" else Ratio(column, Column(MEMBERS))
        )
    if name in _RATIOS:
        return Measured(_ratio(*_RATIOS[name]))
    if name == MEDIAN_SPEND:
        return Measured(Quantile(Column("spend"), 0.5, among=Column("bought")))
    if name in WORDED:
        return Measured(Mean(Column(name)))
    return _worded(name)


def _ratio(numerator: str, denominator: str) -> Ratio:
    pair = Column(numerator), Column(denominator)
    if numerator in ADJUSTED and denominator in ADJUSTED:
        return Ratio(*pair, (Column(f"{numerator}{BEFORE}"), Column(f"{denominator}{BEFORE}")))
    return Ratio(*pair)


def _worded(text: str) -> Measured:
    column, colon, _ = text.rpartition(":")
    if not colon or column not in WORDED:
        raise InvalidMetric(
            f"metric {text!r} is none of {', '.join(NAMES)}; or measure {', '.join(WORDED)} in "
            f"words, like spend:p90 or margin:winsorised99"
        )
    (asked,) = read_metrics([text], WORDED).values()
    if asked.kind in ("ratio", "proportion"):
        raise InvalidMetric(
            f"metric {text!r} is a {asked.kind}; a plan names its {asked.kind}s: "
            f"{', '.join(_RATIOS if asked.kind == 'ratio' else _SHARES)}"
        )
    # The cap is a value only once all units are known.
    covariate = f"{column}{BEFORE}" if column in ADJUSTED else None
    return Measured(asked.metric(covariate=covariate), asked.cap)
