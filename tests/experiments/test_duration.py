"""Is the power that is promised from a history the power that experiments then have?"""

import numpy as np
import pytest
from scipy import stats

from experiments.aggregates import Aggregates
from experiments.compare import compare_always
from experiments.contrast import contrast
from experiments.duration import Arms, foresee, foresight_sentence
from experiments.group_sequential import boundaries
from experiments.metrics import Column, Mean, Proportion
from experiments.pictures import foresight_picture
from experiments.power import InvalidPower
from foundation.money import Currency

MARGIN = Mean(Column("margin"), Column("margin_before"))
HALVES = Arms({"control": 0.5, "treatment": 0.5})
SHOW = Currency("USD").show


def shoppers(draw: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Margin now and before, of the same customers: many buy nothing, few buy much."""
    habit = draw.gamma(1.5, 400, shape)
    now = habit * draw.gamma(2, 0.5, shape) * (draw.random(shape) < 0.7)
    before = 2 * habit * draw.gamma(4, 0.25, shape)
    return np.stack([now, before], axis=-1)


def z_of(treated: np.ndarray, controls: np.ndarray) -> np.ndarray:
    found = contrast("mean", Aggregates.from_rows(treated), Aggregates.from_rows(controls))
    return found.difference / np.sqrt(found.variance)


def history(n: int = 4_000) -> dict[int, np.ndarray]:
    draw = np.random.default_rng(1)
    return {1: shoppers(draw, (n // 2,)), 2: shoppers(draw, (n,))}


@pytest.mark.slow
@pytest.mark.parametrize("effect", [None, 40.0])
def test_experiments_have_the_power_that_their_history_promised(effect: float | None) -> None:
    """Simulation with known truth: 4,000 experiments like the history, with the effect planted."""
    found = foresee("margin", MARGIN, history(), HALVES, effect=effect)
    last = found.durations[-1]
    planted = effect or last.minimum_effect
    promised = 0.8 if effect is None else last.power
    draw = np.random.default_rng(2)
    seen = 0
    for _ in range(80):
        units = shoppers(draw, (50, 2, 2_000))
        units[:, 1, :, 0] += planted
        z = z_of(units[:, 1], units[:, 0])
        seen += int((np.abs(z) > stats.norm.isf(0.025)).sum())
    # Four binomial errors, and the error of a variance from 4,000 such customers.
    assert seen / 4_000 == pytest.approx(promised, abs=4 * np.sqrt(0.16 / 4_000) + 0.015)


@pytest.mark.slow
def test_looked_at_in_between_they_still_have_it() -> None:
    """Simulation with known truth: four looks as O'Brien and Fleming, by 2,000 experiments."""
    found = foresee("margin", MARGIN, history(), HALVES, method="obrien-fleming", looks=4)
    planted = found.durations[-1].minimum_effect
    bounds = boundaries([0.25, 0.5, 0.75, 1.0])
    draw = np.random.default_rng(3)
    seen = 0
    for _ in range(40):
        units = shoppers(draw, (50, 2, 2_000))
        units[:, 1, :, 0] += planted
        z = np.stack([z_of(units[:, 1, :n], units[:, 0, :n]) for n in (500, 1_000, 1_500, 2_000)])
        seen += int((bounds < np.abs(z).T).any(axis=1).sum())
    assert seen / 2_000 == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 2_000) + 0.015)


def test_an_effect_as_large_as_the_smallest_seen_has_the_wanted_power() -> None:
    least = foresee("margin", MARGIN, history(), HALVES).durations[-1]
    assert least.minimum_effect == pytest.approx(least.minimum_relative * least.mean)
    asked = foresee("margin", MARGIN, history(), HALVES, effect=least.minimum_effect)
    assert asked.durations[-1].power == pytest.approx(0.8)
    assert asked.durations[-1].units_needed == pytest.approx(least.units, abs=1)
    share = foresee("margin", MARGIN, history(), HALVES, relative=least.minimum_relative)
    assert share.durations[-1].power == pytest.approx(0.8)


def test_several_variants_cost_what_holm_asks_of_the_first() -> None:
    # The same two shares compared at .05 and at .05 / 2.
    three = Arms({"control": 0.4, "a": 0.3, "b": 0.3})
    wide = foresee("margin", MARGIN, history(), three).durations[-1]
    narrow = foresee("margin", MARGIN, history(), Arms({"control": 0.5, "a": 0.5})).durations[-1]
    z, stricter = stats.norm.isf([0.025, 0.0125]) + stats.norm.isf(0.2)
    grown = np.sqrt((1 / 0.3 + 1 / 0.4) / 4)
    assert wide.minimum_effect / narrow.minimum_effect == pytest.approx(
        stricter / z * grown, rel=1e-5
    )


def test_the_answer_is_a_sentence_and_a_picture() -> None:
    none = foresee("margin", MARGIN, history(), HALVES)
    assert "2 week(s) with about 4,000 customers see a change in margin of" in foresight_sentence(
        none, SHOW
    )
    # Too small for the first week, large enough for both.
    between = float(np.mean([d.minimum_effect for d in none.durations]))
    found = foresee("margin", MARGIN, history(), HALVES, effect=between)
    assert found.weeks_needed == 2
    assert foresight_sentence(found, SHOW).startswith(
        f"to see a change in margin of {SHOW(between)} with 80% power, run 2 week(s)"
    )
    tiny = foresee("margin", MARGIN, history(), HALVES, relative=0.001)
    assert tiny.weeks_needed is None
    assert "is not seen reliably" in foresight_sentence(tiny, SHOW)
    axes = foresight_picture(found, SHOW).axes[0]
    drawn = [d.minimum_relative for d in found.durations]
    assert np.asarray(axes.lines[0].get_ydata()).tolist() == drawn
    asked = [between / d.mean for d in found.durations]
    assert np.asarray(axes.lines[1].get_ydata()).tolist() == asked


def test_few_clusters_and_histories_without_a_figure_promise_nothing() -> None:
    few = foresee("margin", MARGIN, {1: history()[1][:60]}, HALVES, unit="store")
    assert few.durations[0].minimum_effect is None
    assert "fewer than 40" in foresight_sentence(few, SHOW)
    nothing = foresee("margin", MARGIN, {1: np.zeros((50, 2))}, HALVES)
    assert "mean is 0" in foresight_sentence(nothing, SHOW)


@pytest.mark.parametrize("method", ["sequential", "pocock"])
def test_nothing_is_promised_where_looks_would_be_refused(method: str) -> None:
    draw = np.random.default_rng(3)
    few = np.where(draw.random((4_000, 1)) < 0.05, draw.lognormal(3, 1.2, (4_000, 1)), 0)
    found = foresee("margin", Mean(Column("margin")), {4: few}, HALVES, relative=0.9, method=method)
    assert found.durations[0].power is None
    assert "too skewed" in foresight_sentence(found, SHOW)
    # The report says the same of the very units, and judges by chance what it judges once.
    halves = Aggregates.from_rows(few[:2_000]), Aggregates.from_rows(few[2_000:])
    assert "too skewed" in str(compare_always("mean", *halves, planned_n=4_000).refused)
    once = foresee("margin", Mean(Column("margin")), {4: few}, HALVES, relative=0.9)
    assert once.durations[0].power is not None


def test_no_power_is_promised_for_a_handful_of_responders() -> None:
    share = Proportion(Column("redeemed"))
    few, many = (np.repeat([[1.0], [0.0]], [n, 400 - n], axis=0) for n in (15, 25))
    found = foresee("redeemed", share, {1: few, 2: many}, HALVES)
    assert "too few responders" in str(found.durations[0].refused)
    assert found.durations[1].minimum_effect is not None


@pytest.mark.parametrize("relative", [1e-12, 400.0])
def test_effects_out_of_all_proportion_have_their_power_and_no_error(relative: float) -> None:
    found = foresee("margin", MARGIN, history(), HALVES, relative=relative)
    last = found.durations[-1]
    assert last.power == pytest.approx(0.05 if relative < 1 else 1, abs=1e-6)
    assert last.units_needed is None if relative < 1 else last.units_needed >= 2


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"effect": 1.0, "relative": 0.1}, "leave one out"),
        ({"relative": 0.0}, "effect of 0"),
        ({"wanted": 1.0}, "power 1.0"),
    ],
)
def test_questions_without_an_answer_are_refused(asked: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidPower, match=words):
        foresee("margin", MARGIN, history(), HALVES, **asked)


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}])
def test_arms_that_are_no_comparison_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InvalidPower, match="weights"):
        Arms(weights)
