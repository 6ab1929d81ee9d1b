"""Value at risk: how much of what customers are expected to bring may stay away, by segment?

The loss of a segment is the sum over its customers of P(no purchase in the next days) x the value
she has if she has not stopped: what would be lost if all who stay away for so long stayed away for
good. Some come back, so it is the most that silence may cost. Value as such would not do: that she
may have stopped already is in it, and would be counted twice.

The bounds hold two things: chance, who of them will stay away (each for herself), and how sure the
probabilities are, whose error all share. The error of value is not in them.
"""

import numpy as np
import pandas as pd

from foundation.errors import RegularsError
from foundation.scores import Z_95


def value_at_risk(forecast: pd.DataFrame, value: pd.Series, segment: pd.Series) -> pd.DataFrame:
    """Price churn by segment.

    Args:
        forecast: Columns probability, low and high (95 %) of churn in [0, 1], a row a customer,
            index unique.
        value: Expected value if she has not stopped, in minor units, not negative; same customers.
        segment: Whose segment, same customers.

    Returns:
        A row a segment, the largest loss first: customers, value (their sum), at_risk, low and
        high (95 %), share (at_risk / value; null where there is no value).

    Raises:
        RegularsError: A customer lacks a value or segment, or a figure is missing or outside its
            range.

    Source: variance of a sum of independent Bernoulli losses, plus that of the shared error of the
    probabilities; normal approximation.
    """
    rows = forecast[["probability", "low", "high"]].astype("float64")
    rows["value"] = value.reindex(rows.index).astype("float64")
    rows["segment"] = segment.reindex(rows.index)
    probable = rows[["probability", "low", "high"]].apply(lambda p: p.between(0, 1)).all(axis=1)
    valid = probable & (rows["value"] >= 0) & rows["segment"].notna()
    if not bool(np.isfinite(rows["value"]).all() and valid.all()):
        wrong = rows.index[~(valid & np.isfinite(rows["value"]))]
        raise RegularsError(
            f"value at risk of customer {wrong[0]!r} and {len(wrong) - 1} more: the probability "
            "must lie in 0 to 1, the value be 0 or more and the segment known; look at the "
            "forecasts of these customers"
        )
    rows["at_risk"] = rows["probability"] * rows["value"]
    rows["variance"] = rows["value"] ** 2 * rows["probability"] * (1 - rows["probability"])
    rows["shared"] = rows["value"] * (rows["high"] - rows["low"]) / (2 * Z_95)
    found = rows.groupby("segment", sort=True).agg(
        customers=("value", "size"),
        value=("value", "sum"),
        at_risk=("at_risk", "sum"),
        variance=("variance", "sum"),
        shared=("shared", "sum"),
    )
    margin = Z_95 * np.sqrt(found.pop("variance") + found.pop("shared") ** 2)
    found["low"] = (found["at_risk"] - margin).clip(lower=0)
    found["high"] = np.minimum(found["at_risk"] + margin, found["value"])
    found["share"] = found["at_risk"] / found["value"].where(found["value"] > 0)
    return found.sort_values("at_risk", ascending=False, kind="stable")
