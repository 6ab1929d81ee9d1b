"""Multiplicity: with many comparisons, which p-values still mean something?

Holm keeps the chance of any false discovery below alpha; Benjamini-Hochberg the expected share of
false ones among the discoveries, where comparisons are independent or move together;
Benjamini-Yekutieli that share under any dependence. Compare an adjusted p-value with alpha.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from foundation.errors import RegularsError

Correction = Literal["holm", "benjamini_hochberg", "benjamini_yekutieli"]


class InvalidPValues(RegularsError):
    """What was to be adjusted is no list of p-values."""


def adjusted(p_values: Sequence[float], correction: Correction) -> list[float]:
    """Return the adjusted p-values in the order given.

    Args:
        p_values: One p-value a comparison, each in [0, 1]. Refused comparisons are left out by
            the caller: they were not made.

    Raises:
        InvalidPValues: A value is missing or outside [0, 1].

    Source: Holm 1979; Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001.
    """
    p = np.asarray(p_values, dtype=np.float64)
    # `not all within` also catches NaN.
    if not bool(((p >= 0) & (p <= 1)).all()):
        raise InvalidPValues(
            f"p-values {list(p_values)} must each lie in [0, 1]; leave out refused comparisons"
        )
    order = np.argsort(p, kind="stable")
    ranks = np.arange(1, len(p) + 1)
    if correction == "holm":
        stepped = np.maximum.accumulate(p[order] * (len(p) - ranks + 1))
    else:
        price = float((1 / ranks).sum()) if correction == "benjamini_yekutieli" else 1.0
        scaled = p[order] * price * len(p) / ranks
        stepped = np.minimum.accumulate(scaled[::-1])[::-1]
    answer = np.empty_like(p)
    answer[order] = np.minimum(stepped, 1.0)
    return answer.tolist()
