"""Picture of an uplift model: do those predicted to gain most gain most?"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from recommender.uplift_curve import Group


def tenths_picture(tenths: Sequence[Group], verdict: str) -> Figure:
    """Draw predicted and observed effects with intervals, from the highest predicted on.

    Args:
        tenths: Groups of held-out rows, highest predicted first.
        verdict: What was chosen and why, in words.
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    places = list(range(1, len(tenths) + 1))
    observed = [group.observed for group in tenths]
    axes.errorbar(
        places,
        [one.value for one in observed],
        yerr=[
            [one.value - one.low for one in observed],
            [one.high - one.value for one in observed],
        ],
        fmt="o",
        capsize=3,
        label="observed, 95 %",
    )
    axes.plot(places, [group.predicted for group in tenths], marker="_", label="predicted")
    axes.axhline(0, color="grey", linewidth=1, linestyle="--")
    axes.set(xlabel="tenth by predicted effect, highest first", ylabel="effect on the outcome")
    axes.set_title(verdict, fontsize=9, wrap=True)
    axes.legend()
    return figure
