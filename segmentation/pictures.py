"""Pictures of segments: how large are they, what sets them apart, and do two views agree?"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from segmentation.behaviour import TRAITS, Floats, preparation
from segmentation.lifecycle import STATES
from segmentation.rfm import GROUPS

ROW = 0.45
MARGIN = 1.2
# Beyond two standard deviations a colour need not tell more from much.
STRONGEST = 2.0


def sizes_picture(sizes: Mapping[str, int], title: str) -> Figure:
    """Draw a bar a group, the largest on top, with its customers and their share."""
    ordered = sorted(sizes.items(), key=lambda pair: pair[1])
    total = sum(sizes.values())
    figure = Figure(figsize=(8, MARGIN + ROW * len(ordered)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([name for name, _ in ordered], [size for _, size in ordered])
    labels = [f"{size:,} ({size / max(total, 1):.0%})" for _, size in ordered]
    axes.bar_label(bars, labels, padding=4)
    axes.margins(x=0.15)
    axes.set(xlabel="customers", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def portraits_picture(profile: pd.DataFrame, labels: pd.Series) -> Figure:
    """Draw what sets each cluster apart: its mean of every trait beside the average buyer's.

    Args:
        profile: As in fit_clusters; who has no order in the year is left out there and here.
        labels: Each customer's cluster, index as the profile's.

    Returns:
        Clusters by traits, the largest cluster on top; 1 is one standard deviation between buyers.
    """
    buyers = profile.loc[profile["orders_365d"] > 0]
    # Prepared as for the clustering, so that names and picture tell the same.
    points: Floats = np.asarray(preparation().fit_transform(buyers))
    found = labels.loc[buyers.index]
    names = [str(name) for name in found.value_counts().index]
    means = np.array([points[(found == name).to_numpy()].mean(axis=0) for name in names])
    figure = _heat(
        means,
        names,
        [f"{trait.low} -\n{trait.high} +" for trait in TRAITS],
        [[f"{mean:+.1f}" for mean in row] for row in means],
        colours="RdBu_r",
        limits=(-STRONGEST, STRONGEST),
    )
    figure.axes[0].set_title("What sets clusters apart, in standard deviations")
    return figure


def lifecycle_by_rfm_picture(groups: pd.DataFrame) -> Figure:
    """Draw where the customers of each RFM group stand in their own rhythm.

    Args:
        groups: One row a customer: rfm (a key of GROUPS) and lifecycle (a key of STATES).

    Returns:
        RFM groups by lifecycle states: customers, coloured by their share of the RFM group.
    """
    counts = pd.crosstab(groups["rfm"], groups["lifecycle"])
    counts = counts.reindex(
        index=[name for name in GROUPS if name in counts.index],
        columns=[name for name in STATES if name in counts.columns],
    )
    numbers = counts.to_numpy(np.float64)
    figure = _heat(
        numbers / numbers.sum(axis=1, keepdims=True),
        [
            f"{name} ({total:,.0f})"
            for name, total in zip(counts.index, numbers.sum(1), strict=True)
        ],
        [str(name) for name in counts.columns],
        [[f"{number:,.0f}" for number in row] for row in numbers],
        colours="Blues",
        limits=(0.0, 1.0),
    )
    figure.axes[0].set_title("Lifecycle within each RFM group, in customers")
    return figure


def spread_picture(values: pd.Series, groups: pd.Series, label: str) -> Figure:
    """Draw a feature's distribution in each group: median, middle half and middle nine tenths.

    Args:
        values: The feature by customer; who has no value is left out and the others counted.
        groups: Each customer's group, same index.
        label: What the axis says, with the unit.

    Returns:
        A box a group, the highest median on top; a group without any value has none.
    """
    known = values[values.notna()]
    parts = {str(name): part for name, part in known.groupby(groups.loc[known.index])}
    ordered = sorted(parts.items(), key=lambda pair: float(pair[1].median()))
    figure = Figure(figsize=(8, MARGIN + ROW * len(ordered)), layout="constrained")
    axes = figure.subplots()
    if ordered:
        axes.boxplot(
            [part.to_numpy(np.float64) for _, part in ordered],
            orientation="horizontal",
            tick_labels=[f"{name} ({len(part):,})" for name, part in ordered],
            whis=(5, 95),
            showfliers=False,
            widths=0.6,
        )
    axes.set(xlabel=label, title="Median, middle half, middle nine tenths")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _heat(
    shades: Floats,
    rows: Sequence[str],
    columns: Sequence[str],
    texts: Sequence[Sequence[str]],
    *,
    colours: str,
    limits: tuple[float, float],
) -> Figure:
    size = (max(8, 2.5 + 1.15 * len(columns)), MARGIN + ROW * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    low, high = limits
    axes.imshow(shades, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    # Dark fields lie at the far ends of a two-sided scale, and above the middle of a one-sided one.
    dark = 0.6 * max(abs(low), abs(high))
    for i, row in enumerate(texts):
        for j, words in enumerate(row):
            ink = "white" if abs(shades[i, j]) > dark else "black"
            axes.text(j, i, words, ha="center", va="center", color=ink)
    return figure
