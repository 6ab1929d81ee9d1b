"""Season: how many average days is a stretch of the calendar worth?

A fortnight in which the shops were shut is no silence, and three quiet weeks weigh more before
Christmas than after it. So a silence is measured in average days: each of its days counts as much
as the same calendar week did a year before, 1 being an average day. Visits are then a renewal
process whose clock runs fast in busy weeks and slowly in quiet ones (a time-changed renewal
process; Cox 1972 for its Poisson case, operational time).

Derivation. Who was seen on days F < L and n times between them would, coming evenly, have been
seen n / (L - F - 1) times on each day between: given their number, a Poisson process's visits lie
evenly. Summed over customers these are a day's expected visits, in which neither newcomers nor
those who left appear. A day's pace is observed over expected visits of the seven days around its
weekday 364 days earlier (indirect standardisation), drawn towards 1 as by a gamma prior worth
PRIOR_VISITS expected visits (Clayton and Kaldor 1987):

    pace = (observed + PRIOR_VISITS) / (expected + PRIOR_VISITS)

The present year never judges itself: were its own dip its season, nobody could fall silent in it.

Limits. Days whose week a year before is not known count 1. A feast that moves (Easter, Ramadan)
is looked for where it was. One pace holds for all customers: a summer guest stays lost in spring.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from foundation.errors import TooLittleData

Floats: TypeAlias = npt.NDArray[np.float64]

# Whole weeks, so that a Saturday is compared with a Saturday.
YEAR_DAYS = 364
# Days on either side of the one compared: a week has no weekday, and shut days may move by some.
AROUND_DAYS = 3
# One comparable day, and the days around it.
HISTORY_DAYS = YEAR_DAYS + 2 * AROUND_DAYS + 1
# Weeks differ by some 15 %, which is a gamma prior of 1 / .15^2 = 44 visits.
PRIOR_VISITS = 50.0


@dataclass(frozen=True)
class Season:
    """The pace of each day back from T, shape (n_days,); days beyond have pace 1."""

    pace: Floats

    def elapsed(self, start: Floats, end: Floats) -> Floats:
        """Return how many average days lie between two ages.

        Args:
            start, end: Days before T, start the larger; same shape. NaN stays NaN.
        """
        return self._back(start) - self._back(end)

    def _back(self, days: Floats) -> Floats:
        known = len(self.pace)
        total = np.concatenate([[0.0], np.cumsum(self.pace)])
        inside = np.interp(days, np.arange(known + 1), total)
        return inside + np.maximum(days - known, 0.0)


# Every day is an average one.
EVEN = Season(np.empty(0))


def season_evidence(visits: Any) -> tuple[ibis.Table, ibis.Table]:
    """Sum up what a season is learned from.

    Args:
        visits: Visit days as foundation.features gives them, of one instant: customer_id, age.

    Returns:
        `spans`: last and first visit in whole days back, and all visits between, one row a pair;
        `days`: whole days back, and the visits on them that lie between others.
    """
    rows = visits.mutate(back=visits.age.floor().cast("int64"))
    own = ibis.window(group_by="customer_id")
    rows = rows.mutate(first=rows.back.max().over(own), last=rows.back.min().over(own))
    between = rows.filter((rows.back < rows["first"]) & (rows.back > rows["last"]))
    spans = between.group_by("first", "last").aggregate(visits=between.count())
    return spans, between.group_by("back").aggregate(visits=between.count())


def learn_season(spans: pd.DataFrame, days: pd.DataFrame, history_days: int) -> Season:
    """Learn the pace of the days before T from their weeks a year before.

    Args:
        spans, days: As season_evidence sums them up, any order of rows.
        history_days: How many whole days the lake goes back; a stray line of long ago is in them.

    Raises:
        TooLittleData: Less than HISTORY_DAYS of history, or no week a year back in which as many
            visits were to be expected as the prior is worth: paces would be the prior's own.
    """
    if history_days < HISTORY_DAYS:
        raise TooLittleData(
            f"silences are judged without season: the lake holds {history_days} days, "
            f"{HISTORY_DAYS} are needed; load older purchases, or wait"
        )
    size = history_days + 2
    # Sorted, since a floating sum in another order is another sum.
    spans = spans.sort_values(["first", "last"])
    observed = np.bincount(days["back"], days["visits"], minlength=size)
    first, last = spans["first"].to_numpy(np.int64), spans["last"].to_numpy(np.int64)
    evenly = spans["visits"].to_numpy(np.float64) / (first - last - 1)
    steps = np.bincount(last + 1, evenly, size) - np.bincount(first, evenly, size)
    expected = np.cumsum(steps)
    week = np.ones(2 * AROUND_DAYS + 1)
    # From the first day whose week is whole to the last.
    weeks = slice(YEAR_DAYS - AROUND_DAYS, history_days)
    seen = np.convolve(observed[weeks], week, "valid")
    due = np.convolve(expected[weeks], week, "valid").clip(min=0.0)
    most = float(due.max())
    if most < PRIOR_VISITS:
        raise TooLittleData(
            f"silences are judged without season: the oldest line is {history_days} days old, but "
            f"of the weeks {YEAR_DAYS} days and more back none has {PRIOR_VISITS:.0f} visits to be "
            f"expected (at most {most:.0f}); load older purchases, or wait"
        )
    return Season((seen + PRIOR_VISITS) / (due + PRIOR_VISITS))
