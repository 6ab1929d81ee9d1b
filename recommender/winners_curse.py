"""The winner's curse: what may be believed of a choice that was made for looking best?

The largest of several estimates is more likely to be one that errs upwards. An interval of the
usual width around it holds the truth too seldom, and it fails by promising too much.
"""

from scipy import stats

from foundation.scores import Z_95, Interval


def chosen_interval(value: float, error: float, rivals: int) -> Interval:
    """Return a 95 % interval for what was chosen by its estimate.

    Args:
        value: Its estimate.
        error: The estimate's standard error.
        rivals: How many choices there were beside it; choosing nothing is one.

    Returns:
        Below, the bound that would hold for all choices at once; above, chance alone flatters
        nothing that was chosen, and the usual one stands.

    Source: Bonferroni; Andrews, Kitagawa and McCloskey 2024 (inference on winners) on the bias.
    """
    below = float(stats.norm.isf(0.025 / (rivals + 1)))
    return Interval(value, value - below * error, value + Z_95 * error)
