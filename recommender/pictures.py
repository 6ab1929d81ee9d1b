"""Pictures of a response model: is it calibrated, and whom does it find?"""

from matplotlib.figure import Figure

from recommender.response import HeldOut, Kind


def calibration_picture(held_out: dict[Kind, HeldOut]) -> Figure:
    """Draw predicted against observed rates; the diagonal is a perfectly calibrated model."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    top = max(max(b.predicted, b.observed) for h in held_out.values() for b in h.bins)
    axes.plot([0, top], [0, top], color="grey", linewidth=1, linestyle="--")
    for kind, found in held_out.items():
        axes.plot(
            [b.predicted for b in found.bins],
            [b.observed for b in found.bins],
            marker="o",
            label=f"{kind} (error {found.calibration_error:.3f})",
        )
    axes.set(xlabel="predicted response", ylabel="observed response", title="Calibration")
    axes.legend()
    return figure


def lift_picture(held_out: dict[Kind, HeldOut]) -> Figure:
    """Draw each tenth's response over the average, from the highest scores to the lowest."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(held_out)
    for place, (kind, found) in enumerate(held_out.items()):
        total = sum(b.n for b in found.bins)
        mean = sum(b.n * b.observed for b in found.bins) / total
        heights = [b.observed / mean for b in reversed(found.bins)]
        axes.bar(
            [tenth + 1 + place * width for tenth in range(len(heights))],
            heights,
            width=width,
            label=kind,
        )
    axes.axhline(1, color="grey", linewidth=1, linestyle="--")
    axes.set(xlabel="tenth by score, best first", ylabel="times the average", title="Lift")
    axes.legend()
    return figure
