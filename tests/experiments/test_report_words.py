"""Does a report say in words and pictures what its figures are, no more and no less?"""

import msgspec
import numpy as np
import pytest

from experiments.aggregates import Aggregates
from experiments.compare import compare_always
from experiments.confidence_sequence import critical_value
from experiments.drawings import boundaries_drawing, curve_drawing, forest
from experiments.effect import Effect
from experiments.group_sequential import boundaries
from experiments.over_time import Day, OverTime
from experiments.report_words import (
    cumulative_boundaries,
    curves,
    decision,
    guardrail_lines,
    health_lines,
    metric_lines,
    offer_lines,
    segment_lines,
)
from foundation.money import Currency
from tests.experiments.reported import BROKEN, EVIL, PLAN, REPORT, effect

USD = Currency("USD")


def test_the_decision_comes_in_money_and_names_what_each_variant_has_brought() -> None:
    told = decision(REPORT, PLAN, USD)
    assert (told.headline, told.tone) == (f"Ship {EVIL}", "good")
    (worth,) = told.worth
    # 990 customers at 1.25 [0.65, 1.85].
    assert worth.words == "+1,237.50 USD margin so far"
    assert worth.between == "+643.50 USD to +1,831.50 USD"
    assert worth.note.startswith(
        "+1.25 USD (+12.5%) a customer (+0.65 USD to +1.85 USD, p = 0.004)"
    )


def test_a_broken_experiment_is_worth_nothing_and_says_why() -> None:
    told = decision(BROKEN, PLAN, USD)
    assert (told.headline, told.worth) == ("Do not read this yet", ())
    assert "sample ratio broken" in told.why
    assert health_lines(BROKEN) == ["Sample ratio broken."]
    assert metric_lines(BROKEN, USD) == []


def test_a_report_that_nobody_judged_claims_no_decision() -> None:
    unjudged = msgspec.structs.replace(REPORT, verdict=None)
    assert decision(unjudged, PLAN, USD).headline == "No decision"


def test_refusals_and_stamps_are_told() -> None:
    margin, orders = metric_lines(REPORT, USD)
    assert margin.drawn == (65, 125, 185)
    assert orders.drawn is None
    assert orders.words.startswith("No comparison: too few")
    assert "exploratory, not in the plan" in orders.note
    (guardrail,) = guardrail_lines(REPORT, USD)
    assert guardrail.note == "not proven yet; may change by -0.2 at worst"
    active, other, dormant = segment_lines(REPORT, USD)
    assert (active.label, active.tone) == ("lifecycle: active", "good")
    assert other.note == "990 customers; exploratory"
    assert dormant.words == "No comparison: too few: 3 units."


def test_offers_are_told_by_what_they_added_in_all() -> None:
    told, few = offer_lines(REPORT, USD)
    assert (told.words, told.between) == (
        "+150.00 USD",
        "-30.00 USD to +330.00 USD, adjusted p = 0.004",
    )
    assert told.label == f"{EVIL} ({EVIL}): app, active"
    assert few.words == "No comparison: too few: 2 units."
    assert offer_lines(BROKEN, USD) == []


def test_z_is_found_again_in_the_interval_of_a_day() -> None:
    """Source: estimate over Welch's error, of the same units."""
    draw = np.random.default_rng(4)
    on, off = draw.normal(12, 5, 900), draw.normal(11, 5, 800)
    sums = (Aggregates.from_rows(on[:, None]), Aggregates.from_rows(off[:, None]))
    stop = msgspec.structs.replace(PLAN.stop, units=2_000)
    plan = msgspec.structs.replace(PLAN, stop=stop)
    shown = Day("2026-03-02", "on", 1_700, compare_always("mean", *sums, 2_000))
    report = msgspec.structs.replace(REPORT, over_time=OverTime("margin", [shown]))
    found = cumulative_boundaries(report, plan)
    error = np.sqrt(on.var(ddof=1) / 900 + off.var(ddof=1) / 800)
    ((share, z),) = found.paths["on"]
    assert z == pytest.approx((on.mean() - off.mean()) / error)
    # 1,700 of 2,000 units are further than one of 28 days.
    assert share == pytest.approx(0.85)
    assert found.bounds == pytest.approx(boundaries([0.25, 0.5, 0.75, 1.0]))
    assert critical_value(1_700, 2_000) > 2


def test_only_group_sequential_plans_have_boundaries() -> None:
    assert cumulative_boundaries(REPORT, msgspec.structs.replace(PLAN, method="welch")) is None
    assert cumulative_boundaries(msgspec.structs.replace(REPORT, over_time=None), PLAN) is None


def test_the_boundaries_of_one_metric_are_not_drawn_around_another() -> None:
    # The curve is of margin.
    orders = msgspec.structs.replace(PLAN, primary_metric="orders", guardrails=[])
    assert cumulative_boundaries(REPORT, orders) is None


def test_a_curve_is_drawn_in_the_order_of_its_values() -> None:
    (curve,) = curves(REPORT)
    drawing = curve_drawing(curve, str)
    (line,) = drawing.lines
    points = [tuple(map(float, point.split(","))) for point in line.points.split()]
    assert len(points) == 28
    # Above zero is above the line of no effect; a picture's y grows downwards.
    assert all(y < drawing.zero for _, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert len(line.band.split()) == 2 * 28


def test_days_without_a_figure_leave_a_curve_out() -> None:
    refused = Day("2026-03-02", "on", 4, Effect(0, 0, refused="too few"))
    known = [Day(f"2026-03-0{n}", "on", 400, effect(n)) for n in (3, 4)]

    def drawn(*days: Day) -> list[tuple[str, ...]]:
        over = OverTime("margin", list(days))
        return [one.days for one in curves(msgspec.structs.replace(REPORT, over_time=over))]

    assert drawn(refused) == []
    # One point is no curve.
    assert drawn(refused, known[0]) == []
    assert drawn(refused, *known) == [("2026-03-03", "2026-03-04")]


def test_boundaries_are_drawn_on_both_sides_of_zero() -> None:
    found = cumulative_boundaries(REPORT, PLAN)
    drawing = boundaries_drawing(found)
    upper, lower, path = drawing.lines
    top, bottom = (float(line.points.split()[-1].split(",")[1]) for line in (upper, lower))
    assert top < drawing.zero < bottom
    assert top - drawing.zero == pytest.approx(drawing.zero - bottom, abs=0.02)
    assert path.name == EVIL


def test_a_forest_has_a_row_each_and_an_axis_only_where_there_is_a_figure() -> None:
    drawn = forest(segment_lines(REPORT, USD), str)
    first, second, refused = drawn.rows
    assert first.low > drawn.zero
    assert second.low < drawn.zero < second.high
    assert refused.value is None
    assert forest([refused.row], str).across == ()
