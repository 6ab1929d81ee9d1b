"""How far off were forecast totals of groups, beyond what their bounds allow?

Single customers' errors even out in a group and a model's own do not: bounds of a total that hold
chance and parameters alone are far too narrow. So what groups of a past day brought is held against
their bounds, and bounds of today's are widened by the factor that would have held 80 % of those:
split conformal prediction over groups, with the ratio to the nearer bound as score. The past groups
are all customers, those of as many purchases, and fifths by silence and by rate: what segments are
mostly made of. They share a period, so the factor knows one period's error and not the next one's.

Source: Vovk, Gammerman and Shafer 2005; Lei et al. 2018 (split conformal).
"""

import numpy as np
import pandas as pd

Floats = np.ndarray
HELD = 0.8
FIFTHS = 5
# In weeks, so that who came yesterday for the first time has no rate of one a day.
SETTLED_WEEKS = 4.0


def past_groups(summary: pd.DataFrame) -> pd.DataFrame:
    """Return groups of customers by their histories: a column a way of grouping, same index.

    Args:
        summary: As of summarise_days.
    """
    x, T = summary["x"].to_numpy(), summary["T"].to_numpy()
    again = np.select([x == 0, x == 1, x <= 3], ["0", "1", "2-3"], "4+")
    return pd.DataFrame(
        {
            "all": "all",
            "repeat purchases": again,
            "silence": _fifths(T - summary["t_x"].to_numpy()),
            "rate": _fifths((1 + x) / (SETTLED_WEEKS + T)),
        },
        index=summary.index,
    )


def overshoot(bounds: dict[str, pd.DataFrame], paid: pd.Series, groups: pd.DataFrame) -> Floats:
    """Return by which factor each group's total missed its bounds, 1 inside, shape (n_groups,).

    A group that brought nothing, or whose value is unknown, has no ratio and is left out.

    Args:
        bounds: By way of grouping, a row a group: value_low and value_high.
        paid: What each customer brought.
        groups: As of past_groups, same index as `paid`.
    """
    found: list[Floats] = []
    for name, told in bounds.items():
        came = paid.groupby(groups[name]).sum().reindex(told.index).to_numpy(np.float64)
        low, high = (told[side].to_numpy(np.float64) for side in ("value_low", "value_high"))
        known = (came > 0) & (high > 0)
        ratios = [low[known] / came[known], came[known] / high[known]]
        found.append(np.maximum(np.maximum(*ratios), 1.0))
    return np.concatenate(found)


def widening(missed: Floats) -> float:
    """Return the factor that bounds are widened by, so that 80 % of such groups were held."""
    if not len(missed):
        return 1.0
    # One more, the coming group, is among them: its rank is as likely as any other's.
    rank = int(np.ceil(HELD * (len(missed) + 1)))
    return float(np.sort(missed)[min(rank, len(missed)) - 1])


def _fifths(values: Floats) -> list[str]:
    rank = pd.Series(values).rank(method="first").to_numpy() - 1
    return [f"fifth {1 + int(FIFTHS * one // len(values))}" for one in rank]
