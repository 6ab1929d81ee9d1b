"""A challenger targets in the champion's place only if it surely loses nothing by it."""

from typing import Any

import numpy as np
import pytest

from foundation.errors import TooLittleData
from foundation.model_life import Judgement
from recommender.policy_value import Price
from recommender.trial import trial
from recommender.uplift_gate import Told, judge_uplift

N, FREE = 6000, Price()


def judged(
    seed: int, challenger: Any, champion: Any, gain: float = 200.0, price: Price = FREE
) -> Judgement:
    """Judge on rows where offer 1 brings `gain` to the first half of customers, else -100.

    The models are functions of (loves, town): what each tells that the offer causes.
    """
    draw = np.random.default_rng(seed)
    loves, town = draw.random(N) < 0.5, draw.random(N) < 0.2
    arm = draw.integers(0, 2, N)
    outcome = 400 + draw.normal(0, 150, N) + arm * np.where(loves, gain, -100.0)
    rows = trial(np.zeros((N, 1)), arm, outcome, np.full(N, 0.5), learn=False)
    expected = np.column_stack([np.full(N, 400.0), 400 + np.where(loves, gain, -100.0) / 2])
    segments = {"town": town, "nobody": np.zeros(N, dtype=bool)}
    told = [Told(one(loves, town)[:, None] * 1.0, 1) for one in (challenger, champion)]
    return judge_uplift(rows, expected, told[0], told[1], segments, price)


def right(loves: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.where(loves, 200.0, -100.0)


def all_alike(loves: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.full(len(loves), 50.0)


def wrong(loves: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.where(loves, -100.0, 200.0)


def nobody_in_town(loves: np.ndarray, town: np.ndarray) -> np.ndarray:
    return np.where(town, -100.0, right(loves, town))


def boasting(loves: np.ndarray, _: np.ndarray) -> np.ndarray:
    return 3 * np.where(loves, 200.0, -100.0)


def failing(found: Judgement) -> list[str]:
    return [fault.split(":")[0] for fault in found.faults]


def test_a_better_challenger_and_an_equal_one_pass() -> None:
    better = judged(1, right, all_alike)
    assert better.faults == ()
    # Truth: it saves 100 of the half that would lose them.
    figure = better.record["parts"][0]["figure"]
    assert figure["low"] < 50 < figure["high"]
    equal = judged(1, right, right)
    assert equal.faults == ()
    assert equal.record["parts"][0]["figure"] == {"value": 0, "low": 0, "high": 0}
    assert "not judged: nobody: 0 units, 50 are needed" in equal.told


@pytest.mark.parametrize(
    ("challenger", "faults"),
    [
        (
            wrong,
            [
                "value",
                "over the best single offer",
                "calibration slope",
                "observed/expected gain",
                "town",
            ],
        ),
        (all_alike, ["value", "over the best single offer", "town"]),
        (nobody_in_town, ["value", "town"]),
        (boasting, ["calibration slope", "observed/expected gain"]),
    ],
)
def test_a_challenger_that_is_worse_boasts_or_harms_a_segment_is_named(
    challenger: Any, faults: list[str]
) -> None:
    found = judged(2, challenger, right)
    assert failing(found) == faults
    assert all("\n" not in fault for fault in found.faults)


def test_a_segment_s_harm_may_hide_in_a_value_that_is_as_good() -> None:
    def half(loves: np.ndarray, town: np.ndarray) -> np.ndarray:
        return np.where(town | loves, 60.0, -60.0) * np.where(town & loves, -1, 1)

    def other(loves: np.ndarray, town: np.ndarray) -> np.ndarray:
        return np.where(town, right(loves, town), np.where(loves, -1.0, 1.0))

    # In town it treats the wrong ones, elsewhere it repairs what the champion did wrong.
    found = judged(3, half, other)
    assert "value" not in failing(found)
    assert "town" in failing(found)


def test_who_beats_the_champion_but_not_one_offer_for_all_does_not_pass() -> None:
    # Both give it to all who are not in town, the challenger to some in town beside.
    def nearly_all(loves: np.ndarray, town: np.ndarray) -> np.ndarray:
        return np.where(town & ~loves, -50.0, 50.0)

    found = judged(4, all_alike, wrong)
    assert failing(found) == ["over the best single offer"]
    assert "+0 [0, 0] over code 1 for everyone" in found.faults[0]
    # Truth: a fifth of the half that loses 100 is spared, 10 a row.
    better = judged(4, nearly_all, all_alike)
    part = next(p for p in better.record["parts"] if p["name"] == "over the best single offer")
    assert 0 < part["figure"]["low"] < 10 < part["figure"]["high"]
    assert part["holds"]


def test_what_a_treatment_costs_beside_is_taken_off_every_rule_that_gives_it() -> None:
    # By hand: right gives it to the half that gains 200, alike to all, who gain 50 in the mean.
    for price, gain, worth in ((FREE, 50.0, 50.0), (Price(cost=np.full(N, 40.0)), 70.0, 10.0)):
        found = judged(1, right, all_alike, price=price)
        figure = found.record["parts"][0]["figure"]
        assert figure["low"] < gain < figure["high"]
        assert figure["value"] == pytest.approx(gain, abs=8)
        assert found.record["champion_over_none"]["value"] == pytest.approx(worth, abs=8)
    # Nobody gains so much: nobody is to get it, and of a champion that would there is no gain.
    dear = judged(1, right, all_alike, price=Price(cost=250.0))
    assert dear.record["challenger_over_none"] == {"value": 0, "low": 0, "high": 0}


def test_too_few_outcomes_to_tell_are_refused() -> None:
    rows = trial(np.zeros((80, 1)), np.repeat([0, 1], [60, 20]), np.arange(80.0), learn=False)
    told = Told(np.ones((80, 1)), 1)
    with pytest.raises(TooLittleData, match="effective successes"):
        judge_uplift(rows, np.zeros((80, 2)), told, told, {}, Price())
