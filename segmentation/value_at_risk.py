"""Value at risk: how much of what customers are expected to bring may stay away, by segment?

The expected loss of a segment is the sum over its customers of P(churn) x expected value. Its
interval is that of the loss itself, were each customer to leave or stay independently: for a
segment of few customers it is wide. The errors of probability and value are not in it.
"""

import numpy as np
import pandas as pd

from foundation.errors import RegularsError


def value_at_risk(probability: pd.Series, value: pd.Series, segment: pd.Series) -> pd.DataFrame:
    """Price churn by segment.

    Args:
        probability: P(churn) in [0, 1], one a customer, index unique.
        value: Expected value if she stays, in minor units, not negative; same customers.
        segment: Whose segment, same customers.

    Returns:
        A row a segment, the largest loss first: customers, value (their sum), at_risk, low and
        high (95 % of the loss), share (at_risk / value; null where there is no value).

    Raises:
        RegularsError: A customer lacks a value or segment, or a figure is missing or outside its
            range.

    Source: variance of a sum of independent Bernoulli losses, normal approximation.
    """
    rows = pd.DataFrame({"probability": probability})
    rows["value"] = value.reindex(rows.index).astype("float64")
    rows["segment"] = segment.reindex(rows.index)
    valid = rows["probability"].between(0, 1) & (rows["value"] >= 0) & rows["segment"].notna()
    if not bool(np.isfinite(rows["value"]).all() and valid.all()):
        wrong = rows.index[~(valid & np.isfinite(rows["value"]))]
        raise RegularsError(
            f"value at risk of customer {wrong[0]!r} and {len(wrong) - 1} more: the probability "
            "must lie in 0 to 1, the value be 0 or more and the segment known; look at the "
            "forecasts of these customers"
        )
    rows["at_risk"] = rows["probability"] * rows["value"]
    rows["variance"] = rows["value"] ** 2 * rows["probability"] * (1 - rows["probability"])
    found = rows.groupby("segment", sort=True).agg(
        customers=("value", "size"),
        value=("value", "sum"),
        at_risk=("at_risk", "sum"),
        variance=("variance", "sum"),
    )
    margin = 1.96 * np.sqrt(found.pop("variance"))
    found["low"] = (found["at_risk"] - margin).clip(lower=0)
    found["high"] = np.minimum(found["at_risk"] + margin, found["value"])
    found["share"] = found["at_risk"] / found["value"].where(found["value"] > 0)
    return found.sort_values("at_risk", ascending=False, kind="stable")
