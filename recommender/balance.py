"""Was the treatment drawn by chance for each row, given what is said to be known before it?

Chance gives every treatment the same customers. A column that differs between treatments was
known only after them, or they were not given with these probabilities; and a column within whose
values everybody got the same treatment names what it was drawn for: its rows are one draw.

Sources: inverse propensity weighting, Horvitz and Thompson 1952; Wald test with cluster-robust
variance, Liang and Zeger 1986, against Hotelling's F; families of tests, Holm 1979; cells of
expected counts of at least 5, Cochran 1954.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from recommender.table_features import is_nested
from recommender.trial import Trial

# A clean file loses a column in one of a hundred cases, and says so.
LEVEL = 0.01
FEWEST_EXPECTED = 5
# Values that repeat and share a treatment: nearly all of them, and that by no chance.
SAME_TREATMENT = 0.9
SURE = 1e-6


def imbalance_p(columns: np.ndarray, rows: Trial) -> float:
    """Return the chance of columns as unlike between treatments as these, were they known before.

    Args:
        columns: Shape (n, m), without gaps.

    Each treatment's mean, weighted by 1 / propensity, is compared with the mean of all rows.
    """
    spread = columns.std(axis=0)
    centred = (columns - columns.mean(axis=0))[:, spread > 0] / spread[spread > 0]
    if centred.shape[1] == 0:
        return 1.0
    units = int(rows.unit.max()) + 1
    parts: list[np.ndarray] = []
    for code in range(rows.k + 1):
        weight = (rows.treatment == code) / rows.propensity
        if weight.any():
            away = centred * (weight - 1)[:, None]
            parts += [np.bincount(rows.unit, each, minlength=units) for each in away.T]
    sums = np.column_stack(parts)
    mean = sums.mean(axis=0)
    spread_of_mean = np.cov(sums, rowvar=False).reshape(len(mean), len(mean)) / units
    # Treatments' deviations add up to none, so that one of them says nothing new.
    roots, axes = np.linalg.eigh(spread_of_mean)
    kept = roots > 1e-8 * max(float(roots.max()), 1e-300)
    freedom = int(kept.sum())
    if freedom == 0 or units <= freedom:
        return 1.0
    square = float((((mean @ axes)[kept] ** 2) / roots[kept]).sum())
    scaled = square * (units - freedom) / (freedom * (units - 1))
    return float(stats.f.sf(scaled, freedom, units - freedom))


def unbalanced(columns: Mapping[str, np.ndarray], rows: Trial) -> dict[str, float]:
    """Return the columns that surely differ between treatments, with the chance of it.

    Args:
        columns: Each as encoded, NaN where missing, shape (n, width).

    Numbers are compared by their ranks and by being known at all; rare words together. Of all the
    columns at once, LEVEL is the chance to name one that does not differ (Holm).
    """
    found = {name: imbalance_p(_scores(each, rows), rows) for name, each in columns.items()}
    named: dict[str, float] = {}
    for place, (name, p) in enumerate(sorted(found.items(), key=lambda one: one[1])):
        if p > LEVEL / (len(found) - place):
            break
        named[name] = p
    return named


def drawn_for(values: pd.Series, treatment: np.ndarray, unit: np.ndarray) -> int:
    """Return for how many values that repeat the treatment was drawn once, 0 where for each row.

    Args:
        values: Shape (n,); what is no single value (see table_features) is compared as text.
        treatment: Codes, shape (n,).
        unit: Whose row it is, shape (n,): a unit counts once.
    """
    first = np.unique(unit, return_index=True)[1]
    if is_nested(values):
        # Arrays of any length are written whole as lists.
        values = values.map(lambda one: str(one.tolist() if isinstance(one, np.ndarray) else one))
    frame = pd.DataFrame({"value": values.to_numpy()[first], "code": treatment[first]}).dropna()
    if frame["value"].is_unique:
        return 0
    frame["value"] = pd.factorize(frame["value"])[0]
    groups = frame.groupby("value")["code"]
    repeats = groups.transform("size") > 1
    repeating = frame[repeats]
    met = int(repeating["value"].nunique())
    # Fewer values than that are kinds of the treatment itself.
    if met < 2 * len(np.unique(treatment)):
        return 0
    whole = float((groups.nunique()[groups.size() > 1] == 1).mean())
    agrees = (frame["code"] == groups.transform("first"))[repeats].sum() - met
    more = len(repeating) - met
    chance = float((np.bincount(frame["code"]) ** 2).sum()) / len(frame) ** 2
    sure = stats.binom.sf(agrees - 1, more, min(chance, 1.0)) < SURE
    return met if whole >= SAME_TREATMENT and sure else 0


def _scores(column: np.ndarray, rows: Trial) -> np.ndarray:
    """Return bounded scores of a column, enough rows of each that an F test holds."""
    least = FEWEST_EXPECTED * (rows.k + 1)
    if column.shape[1] > 1:
        often = column.sum(axis=0) >= least
        rare = column[:, ~often].sum(axis=1, keepdims=True)
        return np.hstack([column[:, often], rare] if rare.sum() >= least else [column[:, often]])
    value = column[:, 0]
    known = ~np.isnan(value)
    ranks = np.zeros(len(value))
    ranks[known] = stats.rankdata(value[known]) / max(int(known.sum()), 1)
    ranks[known] -= ranks[known].mean() if known.any() else 0.0
    gaps = int((~known).sum())
    told = least <= gaps <= len(value) - least
    return np.column_stack([ranks, ~known]) if told else ranks[:, None]
