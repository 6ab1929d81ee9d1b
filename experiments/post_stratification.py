"""Post-stratification: compare within groups known before, and add up what they say.

Chance gives a variant a few more of the best customers now and then. Compared within strata
(segments, stores, months of joining) that luck no longer counts, and the interval is narrower.
It is here for reference; no report shows it yet.
"""

import numpy as np

from experiments.aggregates import Aggregates
from experiments.contrast import Contrast, Figure, contrast
from foundation.errors import TooLittleData


def post_stratified(figure: Figure, treatment: Aggregates, control: Aggregates) -> Contrast:
    """Return one contrast of all strata, each weighted by its share of all units.

    Args:
        figure: As for `contrast`, also adjusted; a ratio is then the mean of the strata's ratios.
        treatment, control: Sums of each stratum, leading dimension (strata,).

    Raises:
        TooLittleData: A stratum has fewer than 2 units in a variant.

    Source: Miratrix, Sekhon and Yu 2013.
    """
    short = np.flatnonzero((treatment.n < 2) | (control.n < 2))
    if len(short):
        raise TooLittleData(
            f"stratum {int(short[0]) + 1} of {treatment.n.size} has {treatment.n[short[0]]:.0f} "
            f"unit(s) in treatment and {control.n[short[0]]:.0f} in control, it needs 2 in both; "
            "merge it with another"
        )
    each = contrast(figure, treatment, control)
    weight = (treatment.n + control.n) / (treatment.n + control.n).sum()
    n, m = treatment.n.sum(), control.n.sum()
    whole = contrast(figure, treatment.total(), control.total())
    return Contrast(
        treatment=np.asarray(weight @ each.treatment),
        control=np.asarray(weight @ each.control),
        # Times the units of the variant, so that variance / n is the figure's as everywhere.
        treatment_variance=np.asarray(weight**2 @ (each.treatment_variance / treatment.n) * n),
        control_variance=np.asarray(weight**2 @ (each.control_variance / control.n) * m),
        treatment_n=n,
        control_n=m,
        # Of all units, strata or not: what differs between strata adds to it, so it errs to refuse.
        skewness=whole.skewness,
    )
