import msgspec
import pytest

from experiments.design import Experiment, Variant
from experiments.effect import Effect
from experiments.non_inferiority import Guarded
from experiments.plan import StopRule
from experiments.verdict import verdict

PLAN = Experiment(
    "latte",
    "latte",
    [Variant("off", 0.4), Variant("on", 0.3), Variant("bold", 0.3)],
    "off",
    stop=StopRule(days=28),
)


def plan(**changed):
    return msgspec.structs.replace(PLAN, **changed)


def effect(low, high, p=None):
    inside = low <= 0 <= high
    p = (0.5 if inside else 0.001) if p is None else p
    return Effect(0.0, 0.0, (low + high) / 2, low, high, p, p_adjusted=p)


GAIN, NOTHING, LOSS = effect(10, 90), effect(-40, 60), effect(-90, -10)


def guard(standing, variant="on"):
    return Guarded("orders", variant, -0.1, "higher", standing, 0.95)


def judged(on, bold=NOTHING, of=PLAN, guardrails=(), minimum=None, ended=True, stopped=False):
    found = verdict(of, {"on": on, "bold": bold}, guardrails, None, minimum, ended, stopped)
    return found.action, found.variant, found.why


def test_a_proven_gain_ships_at_the_planned_end_and_not_before():
    assert judged(GAIN)[:2] == ("ship", "on")
    action, variant, why = judged(GAIN, ended=False)
    assert (action, variant) == ("continue", None)
    assert "judges once, at its end" in why


def test_a_sequential_plan_ships_at_any_look():
    assert judged(GAIN, of=plan(method="sequential"), ended=False)[:2] == ("ship", "on")
    assert judged(NOTHING, of=plan(method="sequential"), ended=False)[0] == "continue"
    assert judged(NOTHING, of=plan(method="sequential"), ended=True)[0] == "stop"


def test_of_two_that_gain_the_larger_ships():
    assert judged(GAIN, effect(30, 120))[:2] == ("ship", "bold")


def test_the_adjusted_p_value_decides():
    hidden = msgspec.structs.replace(GAIN, p=0.04, p_adjusted=0.08)
    assert judged(hidden)[0] == "stop"


@pytest.mark.parametrize(
    ("standing", "ended", "action", "words"),
    [
        ("holds", True, "ship", "every guardrail holds"),
        ("open", False, "continue", "guardrail orders is not proven to hold"),
        ("open", True, "stop", "guardrail orders is not proven to hold"),
        ("broken", False, "stop", "breaks guardrail orders"),
    ],
)
def test_guardrails_must_be_proven_to_hold(standing, ended, action, words):
    found = judged(GAIN, LOSS, plan(method="sequential"), [guard(standing)], ended=ended)
    assert found[0] == action
    assert words in found[2]


def test_one_variants_broken_guardrail_does_not_stop_the_other():
    sequential = plan(method="sequential")
    assert judged(GAIN, GAIN, sequential, [guard("broken")], ended=False)[:2] == ("ship", "bold")


@pytest.mark.parametrize(
    ("low", "high", "action", "words"),
    [
        (60, 200, "ship", "worth acting on"),
        (10, 150, "continue", "no proven gain"),  # proven, its likeliest size 80 too small
        (10, 90, "stop", "less than is worth"),  # surely too small
        (-90, 90, "stop", "less than is worth"),
        (-90, 110, "continue", "no proven gain"),
        (-90, -10, "stop", "loses"),
    ],
)
def test_the_smallest_effect_worth_acting_on_decides_too(low, high, action, words):
    of = plan(method="sequential")
    found = judged(effect(low, high), LOSS, of, minimum=100, ended=False)
    assert found[0] == action
    assert words in found[2]


def test_a_fault_stops_whatever_the_figures_say():
    found = verdict(PLAN, {"on": GAIN}, [], "sample ratio broken", None, True, False)
    assert (found.action, found.variant) == ("stop", None)
    assert "sample ratio broken" in found.why


def test_what_was_stopped_early_or_planned_without_an_end_ships_nothing():
    action, _, why = judged(GAIN, ended=False, stopped=True)
    assert action == "stop"
    assert "stopped before" in why
    action, _, why = judged(GAIN, of=plan(stop=None), ended=False)
    assert action == "continue"
    assert "names no end" in why
    assert judged(GAIN, of=plan(stop=None), ended=False, stopped=True)[0] == "stop"


def test_nothing_proven_by_the_end_stops_with_the_reason():
    refused = Effect(0.0, 0.0, refused="too skewed")
    action, _, why = judged(NOTHING, refused)
    assert action == "stop"
    assert "the planned end has come" in why
    assert "bold cannot be compared on margin yet: too skewed" in why
