"""Is the sum of all experiments honest where the sum of the winners is not?"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from experiments.effect import Effect
from experiments.health import SampleRatio
from experiments.programme import Concluded, programme, shrink
from experiments.report import Report
from experiments.verdict import Verdict

START = datetime(2026, 1, 5, tzinfo=UTC)
Z = 1.959963984540054


def report(key: str, effects: dict[str, tuple[float, float]], ship: str | None = None) -> Report:
    """Effects are {variant: (difference, standard error)}, 1,000 customers each."""
    units = {"control": 1_000, **dict.fromkeys(effects, 1_000)}
    shares = {name: 1 / len(units) for name in units}
    action = "stop" if ship is None else "ship"
    return Report(
        key=key,
        design="d",
        unit="customer",
        control="control",
        confidence=0.95,
        units=units,
        sample_ratio=SampleRatio(1.0, shares, units, 0.0),
        healthy=True,
        reason="",
        metrics={
            "margin": {
                name: Effect(d, 0, d, d - Z * se, d + Z * se) for name, (d, se) in effects.items()
            }
        },
        verdict=Verdict(action, "as planned", ship, ended=True),
    )


def ended(key: str, effects: dict[str, tuple[float, float]], ship: str | None = None) -> Concluded:
    return Concluded(key, START, START + timedelta(days=28), report(key, effects, ship))


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


def test_effects_that_differ_no_more_than_their_errors_are_all_alike() -> None:
    means, spreads = shrink(np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 5.0]))
    assert means == pytest.approx([2, 2, 2])
    # What is left is the error of their mean.
    assert spreads == pytest.approx([5 / np.sqrt(3)] * 3)
    # Sure effects stay where they are.
    means, _ = shrink(np.array([-50.0, 0.0, 50.0]), np.array([0.1, 0.1, 0.1]))
    assert means == pytest.approx([-50, 0, 50], abs=0.01)


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
    assert shrunken / won == pytest.approx(1, abs=0.15)
