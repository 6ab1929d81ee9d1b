"""Read back from the pictures what they say: the figures must be those of the report."""

import io

import msgspec
import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.effect import Effect
from experiments.health import SampleRatio
from experiments.pictures import intervals_picture, sample_ratio_picture
from experiments.report import Report
from foundation.errors import RegularsError
from foundation.money import Currency

SHOW = Currency("USD").show
SPLIT = SampleRatio(
    p=0.4,
    planned={"control": 0.5, "bold": 0.25, "shy": 0.25},
    observed={"control": 210, "bold": 90, "shy": 100},
    deviation=0.1,
)
REPORT = Report(
    key="winter-latte",
    design="d0",
    unit="customer",
    control="control",
    confidence=0.95,
    units=SPLIT.observed,
    sample_ratio=SPLIT,
    healthy=True,
    reason="sample ratio as planned",
    metrics={
        "margin": {
            "bold": Effect(mean=1241, control_mean=1000, difference=241, low=153, high=329, p=0.01),
            "shy": Effect(mean=0, control_mean=0, refused="every unit has the same value"),
        }
    },
)


def words(figure: Figure) -> str:
    figure.savefig(io.BytesIO())
    axes = figure.axes[0]
    texts = [*axes.texts, *axes.get_yticklabels(), axes.xaxis.label, axes.title]
    return " ".join(" ".join(text.get_text() for text in texts).split())


def test_an_interval_is_drawn_from_its_low_to_its_high_end():
    figure = intervals_picture(REPORT, "margin", SHOW)
    drawn = [np.asarray(line.get_xdata()).tolist() for line in figure.axes[0].lines]
    assert drawn == [[153, 329], [241], [0, 0]]
    assert "2.41 USD [1.53 USD, 3.29 USD]" in words(figure)
    assert "difference from control, 95% interval" in words(figure)


def test_a_refused_comparison_says_why_and_has_no_interval():
    assert "no comparison: every unit has the same value" in words(
        intervals_picture(REPORT, "margin", SHOW)
    )
    alone = msgspec.structs.replace(
        REPORT, metrics={"margin": {"shy": REPORT.metrics["margin"]["shy"]}}
    )
    axes = intervals_picture(alone, "margin", SHOW).axes[0]
    assert not axes.lines
    assert not axes.xaxis.get_visible()


def test_a_broken_split_shows_its_reason_and_no_effect():
    broken = msgspec.structs.replace(
        REPORT, healthy=False, reason="sample ratio broken", metrics={}
    )
    figure = intervals_picture(broken, "margin", SHOW)
    assert "sample ratio broken" in words(figure)
    assert "USD" not in words(figure)
    assert not figure.axes[0].lines


def test_assumptions_stand_below_the_money():
    figure = intervals_picture(REPORT, "margin", SHOW, ["margins are unknown: 25 % is assumed"])
    assert figure.get_supxlabel() == "assumed: margins are unknown: 25 % is assumed"


def test_a_metric_that_was_not_analysed_is_named():
    with pytest.raises(RegularsError, match=r"'winter-latte': metric 'visits' was not .* margin"):
        intervals_picture(REPORT, "visits", SHOW)


def test_the_plan_is_marked_beside_what_was_observed():
    figure = sample_ratio_picture(SPLIT)
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.containers[0]] == [210, 90, 100]
    marks = axes.collections[0].get_segments()
    assert [mark[0][0] for mark in marks] == [200, 100, 100]
    assert "210, planned 200" in words(figure)
    assert "p 0.4" in words(figure)
