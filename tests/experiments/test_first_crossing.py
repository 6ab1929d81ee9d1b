"""Does a look that crossed decide, whatever later looks say?"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from experiments.design import Experiment, Variant
from experiments.effect import Effect
from experiments.first_crossing import Judged, first_crossing
from experiments.group_sequential import boundaries, stopped
from experiments.looks import Look
from experiments.non_inferiority import Guarded
from experiments.plan import StopRule

START = datetime(2026, 5, 4, tzinfo=UTC)
PLAN = Experiment(
    "latte",
    "latte",
    [Variant("off", 0.5), Variant("on", 0.5)],
    "off",
    method="pocock",
    stop=StopRule(days=28, looks=4),
)


def judged(number, z, error=2.0, p=None, guardrail=None):
    p = (0.01 if abs(z) > 2.4 else 0.2) if p is None else p
    effect = Effect(
        0, 0, z * error, (z - 2.4) * error, (z + 2.4) * error, p, p_adjusted=p, standard_error=error
    )
    guardrails = (
        [] if guardrail is None else [Guarded("orders", "on", -1, "higher", guardrail, 0.95)]
    )
    look = Look(number, 4, START + number * timedelta(days=7), tuple(range(1, number + 1)))
    return Judged(look, {"on": effect}, guardrails)


def decide(*walked, halted=False):
    return first_crossing(PLAN, walked, None, halted)


def test_a_gain_that_crossed_early_ships_though_it_is_lost_later():
    found = decide(judged(1, 1.0), judged(2, 2.9), judged(3, 1.5), judged(4, 1.2))
    assert (found.verdict.action, found.verdict.variant, found.place) == ("ship", "on", 1)
    # Source: stagewise ordering, Tsiatis, Rosner and Mehta 1984, tested in test_group_sequential.
    bounds = boundaries([0.25, 0.5], 0.05, "pocock")
    own = stopped([0.5, 1.0], bounds, 2.9)
    crossed = found.crossed["on"]
    assert (crossed.look, crossed.p) == (2, pytest.approx(own.p))
    assert crossed.difference == pytest.approx(2 * own.drift)
    assert crossed.low < crossed.difference < crossed.high
    # It stopped because it was high, so it is believed to be less.
    assert crossed.difference < 2 * 2.9


def test_what_crossed_waits_for_its_guardrail_and_is_not_taken_back():
    found = decide(
        judged(1, 2.9, guardrail="open"),
        judged(2, 1.0, guardrail="open"),
        judged(3, 1.0, guardrail="holds"),
    )
    assert (found.verdict.action, found.place) == ("ship", 2)
    assert found.crossed["on"].look == 1
    assert decide(judged(1, -2.9), judged(2, 2.9)).verdict.action == "stop"


def test_nothing_crossed_goes_on_until_the_last_look():
    assert decide(judged(1, 1.0), judged(2, 1.0)).verdict.action == "continue"
    assert decide(judged(1, 1.0), halted=True).verdict.action == "stop"
    ended = decide(*(judged(number, 1.0) for number in (1, 2, 3, 4)))
    assert (ended.verdict.action, ended.place, ended.crossed) == ("stop", 3, {})


def test_a_look_that_has_nothing_to_spend_leaves_later_ones_an_estimate():
    # Source: O'Brien and Fleming's first look of 20 spends less than 1e-18.
    fractions = [number / 20 for number in range(1, 16)]
    bounds = boundaries(fractions, 0.05, "obrien_fleming")
    assert np.isinf(bounds[0])
    found = stopped(fractions, bounds.tolist(), 2.6)
    assert found.low < found.drift < found.high
