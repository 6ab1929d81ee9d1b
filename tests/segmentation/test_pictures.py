"""Read back from the pictures what they say: the figures must be those of the frames."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from segmentation.behaviour import TRAITS
from segmentation.pictures import (
    lifecycle_by_rfm_picture,
    portraits_picture,
    sizes_picture,
    spread_picture,
)


def words(figure: Figure) -> list[str]:
    figure.savefig(io.BytesIO())
    axes = figure.axes[0]
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return [text.get_text() for text in [*ticks, *axes.texts]]


def shoppers() -> tuple[pd.DataFrame, pd.Series]:
    """Forty who shop seldom and ten who shop often, alike in all else; five who never bought."""
    visits = np.repeat([10.0, 100.0, 0.0], [40, 10, 5])
    profile = pd.DataFrame({trait.feature: 0.5 for trait in TRAITS}, index=range(55))
    profile["visit_days_365d"] = profile["orders_365d"] = visits
    profile["weekend_share_365d"] = np.nan
    names = np.repeat(["infrequent", "frequent", "no purchases"], [40, 10, 5])
    return profile, pd.Series(names, index=profile.index)


def test_a_bar_s_length_is_the_group_s_size():
    figure = sizes_picture({"Loyal": 30, "New": 10, "At risk": 60}, "Groups")
    bars = figure.axes[0].containers[0]
    assert [bar.get_width() for bar in bars] == [10, 30, 60]
    assert {"60 (60%)", "30 (30%)", "10 (10%)"} <= set(words(figure))


def test_a_cluster_s_portrait_is_its_mean_in_standard_deviations():
    profile, labels = shoppers()
    figure = portraits_picture(profile, labels)
    shades = np.asarray(figure.axes[0].images[0].get_array())
    # Source: arithmetic. A two-point variable, shares .8 and .2, lies at -.5 and +2 deviations.
    assert shades[:, 0] == pytest.approx([-0.5, 2.0])
    assert shades[:, 1:] == pytest.approx(0, abs=1e-9)
    assert "no purchases" not in words(figure)
    assert words(figure).index("infrequent") < words(figure).index("frequent")


def test_lifecycle_within_a_group_is_shared_out_by_customers():
    groups = pd.DataFrame(
        {
            "rfm": ["At risk"] * 4 + ["Champions"] * 2,
            "lifecycle": ["lost", "lost", "lost", "active", "active", "active"],
        }
    )
    figure = lifecycle_by_rfm_picture(groups)
    shades = np.asarray(figure.axes[0].images[0].get_array())
    # Rows in the order of GROUPS, columns in the order of STATES.
    assert shades.tolist() == [[1, 0], [0.25, 0.75]]
    found = words(figure)
    assert found[:4] == ["active", "lost", "Champions (2)", "At risk (4)"]
    assert found[4:] == ["2", "0", "1", "3"]


def test_a_box_shows_the_median_of_the_known_and_counts_them():
    values = pd.Series([1.0, 2.0, 9.0, np.nan, 20.0, 30.0, np.nan])
    groups = pd.Series(["low"] * 4 + ["high"] * 2 + ["unknown"])
    figure = spread_picture(values, groups, "days")
    found = words(figure)
    assert {"low (3)", "high (2)"} <= set(found)
    assert not any(word.startswith("unknown") for word in found)
    medians = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_color() == "C1"]
    assert medians == [2, 25]


def test_a_feature_that_nobody_has_gives_an_empty_picture():
    figure = spread_picture(pd.Series([np.nan]), pd.Series(["low"]), "days")
    assert not figure.axes[0].lines
