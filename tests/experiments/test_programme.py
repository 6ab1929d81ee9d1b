"""Is the sum of all experiments honest where the sum of the winners is not?"""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest

from experiments.effect import Effect
from experiments.health import SampleRatio
from experiments.programme import Concluded, programme
from experiments.report import Report
from experiments.shrinkage import shrunken_sum
from experiments.verdict import Verdict
from foundation.errors import TooLittleData

START = datetime(2026, 1, 5, tzinfo=UTC)
Z = 1.959963984540054


def report(
    key: str,
    effects: dict[str, tuple[float, float]],
    ship: str | None = None,
    unit: str = "customer",
    reach: float = Z,
) -> Report:
    """Effects are {variant: (difference, standard error)}, 1,000 units each."""
    units = {"control": 1_000, **dict.fromkeys(effects, 1_000)}
    shares = {name: 1 / len(units) for name in units}
    action = "stop" if ship is None else "ship"
    return Report(
        key=key,
        design="d",
        unit=unit,
        control="control",
        confidence=0.95,
        units=units,
        sample_ratio=SampleRatio(1.0, shares, units, 0.0),
        healthy=True,
        reason="",
        metrics={
            "margin": {
                name: Effect(d, 0, d, d - reach * se, d + reach * se, standard_error=se)
                for name, (d, se) in effects.items()
            }
        },
        verdict=Verdict(action, "as planned", ship, ended=True),
    )


def ended(
    key: str, effects: dict[str, tuple[float, float]], ship: str | None = None, **of
) -> Concluded:
    return Concluded(key, START, START + timedelta(days=28), report(key, effects, ship, **of))


def test_experiments_add_up_with_their_errors() -> None:
    found = programme([ended("a", {"on": (5, 3)}), ended("b", {"on": (-2, 4)})])
    assert found.summed == 2
    assert found.incremental.value == pytest.approx(3_000)
    # Independent errors of 3,000 and 4,000 make one of 5,000.
    assert found.incremental.high - 3_000 == pytest.approx(Z * 5_000)
    assert found.shipped is None


def test_variants_of_one_control_are_not_taken_for_independent() -> None:
    (entry,) = programme([ended("a", {"on": (5, 3), "off": (1, 4)})]).entries
    assert entry.incremental.value == pytest.approx(6_000)
    assert entry.incremental.high - 6_000 == pytest.approx(Z * 7_000)


def test_what_runs_or_has_no_figure_is_listed_and_not_summed() -> None:
    running = Concluded("now", START, None, None, "has assigned nobody yet")
    broken = Concluded(
        "broken",
        START,
        START,
        Report(
            **{
                **{f: getattr(report("x", {"on": (5, 3)}), f) for f in Report.__struct_fields__},
                "healthy": False,
                "reason": "sample ratio broken",
                "metrics": {},
            }
        ),
    )
    found = programme([running, broken, ended("a", {"on": (5, 3)})])
    assert [entry.key for entry in found.entries] == ["now", "broken", "a"]
    assert (found.summed, found.left_out) == (1, 1)
    assert found.entries[0].refused == "has assigned nobody yet"
    assert found.entries[1].refused == "sample ratio broken"
    nothing = programme([running])
    assert (nothing.incremental, nothing.summed, nothing.left_out) == (None, 0, 0)


def test_a_shipped_one_among_few_is_not_drawn_back_by_guess() -> None:
    found = programme([ended("a", {"on": (9, 3)}, "on"), ended("b", {"on": (0, 3)})])
    assert found.shipped.value == pytest.approx(9_000)
    assert found.shrunken is None


def test_the_holdout_measures_everything_at_once() -> None:
    holdout = Concluded("holdout", START, None, report("holdout", {"reached": (2, 1)}))
    found = programme([], holdout)
    assert found.holdout.value == pytest.approx(2_000)
    assert "no holdout" in programme([]).holdout_refused


def test_lopsided_intervals_are_added_side_by_side() -> None:
    # Source: Zou and Donner 2008: 3 and 4 below make 5, 5 and 12 above make 13.
    both = [ended("a", {"on": (5, 1)}), ended("b", {"on": (7, 1)})]
    for one, (low, high) in zip(both, ((2, 10), (3, 19)), strict=True):
        effect = one.report.metrics["margin"]["on"]
        one.report.metrics["margin"]["on"] = msgspec.structs.replace(effect, low=low, high=high)
    found = programme(both).incremental
    assert (found.value, found.low, found.high) == pytest.approx((12_000, 7_000, 25_000))


def test_stores_teach_nothing_about_customers() -> None:
    customers = [ended(f"c{n}", {"on": (d, 2)}) for n, d in enumerate((-2, 4, 1))]
    won = ended("won", {"on": (6, 2)}, "on")
    store = ended("store", {"on": (200_000, 60_000)}, unit="store")
    alone = programme([*customers, won])
    assert programme([*customers, won, store]).shrunken == alone.shrunken
    # A single store experiment is not drawn back to customers' effects.
    shipped = ended("store", {"on": (200_000, 60_000)}, "on", unit="store")
    assert programme([*customers, won, shipped]).shrunken is None
    assert programme([*customers, won, shipped]).entries[-1].shrunken is None


def test_a_wide_sequence_is_drawn_back_by_its_error_and_not_by_its_width() -> None:
    effects = [(6, "on"), (-2, None), (4, None), (1, None)]
    fixed, sequence = (
        programme(
            [
                ended(f"e{n}", {"on": (d, 2)}, ship, reach=reach)
                for n, (d, ship) in enumerate(effects)
            ]
        )
        for reach in (Z, 3.0)
    )
    assert sequence.shrunken == fixed.shrunken
    assert sequence.shipped.high > fixed.shipped.high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "middle", "spread"), [(10, 2, 0), (20, 2, 0), (20, 1, 1), (6, 2.5, 0)]
)
def test_the_sum_of_what_was_shipped_holds_the_truth(k, middle, spread) -> None:
    """Simulation with known truth: what won is chosen by its estimate, then drawn back."""
    draw = np.random.default_rng(2)
    held = []
    while len(held) < 250:
        true = draw.normal(middle, spread, k)
        seen = draw.normal(true, 1)
        won = seen > Z
        if won.sum() > 1:
            _, low, high = shrunken_sum(seen, np.ones(k), won.astype(float))
            held.append(low <= true[won].sum() <= high)
    assert np.mean(held) > 0.95 - 3 * np.sqrt(0.05 * 0.95 / len(held))


def test_what_is_not_known_of_the_middle_is_common_to_all() -> None:
    # Closed form: effects alike beyond doubt (nothing differs) share one mean; its error, 1 / 10 in
    # each of 100, moves a sum of k by k times as much.
    seen, error = np.full(100, 3.0), np.ones(100)
    one, all_ = (shrunken_sum(seen, error, np.arange(100) < k) for k in (1, 50))
    assert all_[0] == pytest.approx(50 * one[0])
    assert all_[2] - all_[1] > 50 * 2 * Z * 0.1
    # Sure effects stay where they are.
    sure = shrunken_sum([-50.0, 0.0, 50.0], [0.1, 0.1, 0.1], [0.0, 0.0, 1.0])
    assert sure == pytest.approx((50, 50 - Z * 0.1, 50 + Z * 0.1), abs=0.01)


def test_too_few_comparisons_do_not_show_how_effects_lie() -> None:
    with pytest.raises(TooLittleData, match="2 comparison"):
        shrunken_sum([1.0, 2.0], [1.0, 1.0], [1.0, 0.0])


def test_all_together_are_honest_and_the_winners_alone_are_not() -> None:
    """Simulation with known truth: 12 experiments a programme, those significantly up ship."""
    draw = np.random.default_rng(9)
    covered, naive, shrunken, won = 0, 0.0, 0.0, 0.0
    rounds = 400
    for _ in range(rounds):
        true = draw.normal(1, 3, 12)
        seen = draw.normal(true, 3)
        found = programme(
            [
                ended(f"e{n}", {"on": (float(d), 3.0)}, "on" if d > Z * 3 else None)
                for n, d in enumerate(seen)
            ]
        )
        covered += found.incremental.low <= 1_000 * true.sum() <= found.incremental.high
        if found.shipped is not None:
            naive += found.shipped.value
            shrunken += found.shrunken.value
            won += 1_000 * true[seen > Z * 3].sum()
    assert covered / rounds == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / rounds))
    assert naive / won > 1.4
    # A spread that may be anything is taken for a little larger than it is.
    assert shrunken / won == pytest.approx(1, abs=0.2)
