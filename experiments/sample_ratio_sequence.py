"""Sample ratio at every look: did traffic ever split as the experiment did not ask?

Whoever reads a report every day gives the usual test a new chance of a false alarm each time. This
one may be read after every unit: the chance that it ever alarms without a fault stays below the
level. It also finds a fault that later units have covered up, and says when it showed first.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
import pandas as pd
from scipy import special

from experiments.sample_ratio import InvalidSplit

# Units that the prior's belief in the plan weighs: it finds splits off by some percent soonest
# (simulated in tests).
CONCENTRATION = 1_000.0


class SampleRatioSequence(msgspec.Struct, frozen=True):
    """The split judged after every unit; `p` is the lowest so far, valid at all looks together.

    `alarm_unit` counts the units that were assigned when it first fell below the level of an alarm,
    `alarm_at` is that instant; None where it never did.
    """

    p: float
    alarm_unit: int | None = None
    alarm_at: datetime | None = None


def sample_ratio_sequence(
    units: pd.DataFrame, planned: dict[str, float], alarm: float
) -> SampleRatioSequence:
    """Judge the split after every unit, in the order in which they were assigned.

    Args:
        units: One row a unit: unit_id, variant, since (aware).
        planned: Shares by variant, summing to 1.
        alarm: The level of an alarm.

    Raises:
        InvalidSplit: As for `always_valid_p_values`.
    """
    names = list(planned)
    ordered = units.sort_values(["since", "unit_id"], ignore_index=True)
    codes = pd.Categorical(ordered["variant"], categories=names).codes
    p = always_valid_p_values(codes, list(planned.values()))
    below = np.flatnonzero(p < alarm)
    if not len(below):
        return SampleRatioSequence(float(p[-1]))
    first = int(below[0])
    return SampleRatioSequence(float(p[-1]), first + 1, ordered["since"].iloc[first])


def always_valid_p_values(
    variants: np.ndarray, planned: Sequence[float], concentration: float = CONCENTRATION
) -> np.ndarray:
    """Return the p-value after each unit, never rising, shape (n,).

    Args:
        variants: The variant's place in `planned` of each unit in order, shape (n,).
        planned: Shares (0-1), summing to 1.
        concentration: Units that the prior's belief in the plan weighs.

    Raises:
        InvalidSplit: There is no unit, one is in no variant, or a share is not above 0.

    Source: Lindon and Malek 2020, "Anytime-valid inference for multinomial count data": the Bayes
    factor of a Dirichlet prior around the plan against the plan is a martingale where the plan
    holds, so its inverse is ever below alpha with a chance of at most alpha (Ville 1939).
    """
    shares = np.asarray(planned, dtype=np.float64)
    if not len(variants):
        raise InvalidSplit("no unit was assigned, so there is no split to judge; wait for some")
    if not bool((shares > 0).all()) or abs(float(shares.sum()) - 1) > 1e-9:
        raise InvalidSplit(
            f"planned shares {list(planned)} must be above 0 and sum to 1; leave out a variant "
            "without traffic"
        )
    if bool(((variants < 0) | (variants >= len(shares))).any()):
        raise InvalidSplit("a unit is in a variant without a planned share; plan its share")
    total = np.arange(1, len(variants) + 1, dtype=np.float64)
    prior = concentration * shares
    evidence = special.gammaln(concentration) - special.gammaln(concentration + total)
    for place, (belief, share) in enumerate(zip(prior, shares, strict=True)):
        seen = np.cumsum(variants == place)
        evidence += special.gammaln(belief + seen) - special.gammaln(belief) - seen * np.log(share)
    return np.minimum(1.0, np.exp(-np.maximum.accumulate(evidence)))
