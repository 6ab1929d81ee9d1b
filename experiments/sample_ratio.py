"""Sample-ratio mismatch: did traffic split the way the experiment asked?

A mismatch means assignment or logging is broken, so no metric may be read. The p-value says
whether the split can be chance; the deviation says how far off it is. Read both: among millions
of customers a split off by a thousandth is no longer chance, and may still not matter.
"""

import math
from collections.abc import Sequence

from scipy import stats

from foundation.errors import RegularsError


class InvalidSplit(RegularsError):
    """The counts or the planned shares cannot be compared."""


def sample_ratio_p_value(observed: Sequence[int], planned: Sequence[float]) -> float:
    """Return the chance of a split at least this uneven if assignment works.

    Args:
        observed: Distinct customers per variant, shape (n_variants,).
        planned: Traffic shares (0-1), same order and shape, summing to 1.

    Returns:
        Chi-square p-value in [0, 1].

    Raises:
        InvalidSplit: Shapes differ, a share is not positive, or they do not sum to 1; a count is
            negative, or nobody was counted.

    Source: Pearson's chi-square test.
    """
    expected = _expected(observed, planned)
    distance = sum((seen - due) ** 2 / due for seen, due in zip(observed, expected, strict=True))
    return float(stats.chi2.sf(distance, len(expected) - 1))


def sample_ratio_deviation(observed: Sequence[int], planned: Sequence[float]) -> float:
    """Return how far the worst variant is from its planned count, as a share of that count.

    Of 1,000 customers planned half and half, 510 and 490 deviate by .02.

    Raises:
        InvalidSplit: As for `sample_ratio_p_value`.
    """
    expected = _expected(observed, planned)
    return max(abs(seen - due) / due for seen, due in zip(observed, expected, strict=True))


def _expected(observed: Sequence[int], planned: Sequence[float]) -> list[float]:
    """Return the planned counts, once both sides can be compared."""
    if len(observed) != len(planned):
        raise InvalidSplit(
            f"{len(observed)} counts were observed for {len(planned)} planned shares; "
            "give one count for each share, 0 included"
        )
    if len(planned) < 2:
        raise InvalidSplit(f"a split has at least 2 variants, got {len(planned)}; add the others")
    for place, (seen, share) in enumerate(zip(observed, planned, strict=True), start=1):
        if not math.isfinite(seen) or seen < 0 or seen != int(seen):
            raise InvalidSplit(f"variant {place} has a count of {seen}; count distinct customers")
        if share == 0 and seen:
            raise InvalidSplit(
                f"variant {place} was planned at 0 and got {seen} customers; "
                "find who assigns them, or plan its share"
            )
        # `not > 0` also catches NaN.
        if not share > 0:
            raise InvalidSplit(
                f"variant {place} has a planned share of {share}, it must be above 0; "
                "leave out a variant without traffic"
            )
    planned_total = math.fsum(planned)
    if abs(planned_total - 1) > 1e-9:
        raise InvalidSplit(
            f"planned shares sum to {planned_total:.12g}, they must sum to 1; divide by their sum"
        )
    total = sum(observed)
    if total == 0:
        raise InvalidSplit("no customer was observed in any variant; wait for the first ones")
    return [share * total for share in planned]
