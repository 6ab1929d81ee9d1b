"""A watched uplift model tells what moved and what no longer comes, or why nothing can be told."""

from datetime import UTC, datetime

import numpy as np
import pytest

from foundation.errors import TooLittleData
from foundation.scores import Interval
from recommender.gate import Part
from recommender.offer_uplift import OfferUplift
from recommender.policy_value import Price
from recommender.trial import Trial, trial
from recommender.uplift import fit_uplift
from recommender.uplift_gate import Told
from recommender.uplift_watch import (
    EFFECTS,
    EffectsSeen,
    UpliftWatch,
    drifted,
    effects_seen,
    uplift_reference,
)
from recommender.watch import Moved

AT = datetime(2026, 5, 4, tzinfo=UTC)
FREE = Price()


def decisions(n: int, seed: int, gain: float = 200.0, shift: float = 0.0) -> Trial:
    """Return rows of one offer, drawn by half, that brings `gain` where the first input is above
    0, else -100."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3)) + np.array([shift, 0.0, 0.0])
    arm = draw.integers(0, 2, n)
    outcome = 400 + draw.normal(0, 100, n) + arm * np.where(x[:, 0] > 0, gain, -100.0)
    return trial(x, arm, outcome, np.full(n, 0.5), names=["no offer", "a"])


@pytest.fixture(scope="module")
def model() -> OfferUplift:
    return OfferUplift(fit_uplift(decisions(2_000, 1), 0), ("a",), ("one", "two", "three"), "f", 14)


def named(n: int) -> list[str]:
    return [f"c-{i}" for i in range(n)]


def test_what_moved_is_told_and_no_other_input(model: OfferUplift) -> None:
    reference = uplift_reference(model, decisions(2_000, 1).features, named(2_000), AT)
    assert (reference.shown_until, reference.known_until) == (AT, AT)

    same = drifted(reference, model, decisions(1_500, 2).features, named(1_500))
    assert {one.name: one.level for one in same} == dict.fromkeys(
        ("one", "two", "three", EFFECTS), "steady"
    )
    away = drifted(reference, model, decisions(1_500, 2, shift=1.0).features, named(1_500))
    # Who comes now has more of one, and so more of what the offer moves.
    levels = {one.name: one.level for one in away}
    assert levels == {"one": "retrain", EFFECTS: "retrain", "two": "steady", "three": "steady"}


def test_few_customers_are_no_evidence_of_drift_however_often_they_come(model: OfferUplift) -> None:
    reference = uplift_reference(model, decisions(2_000, 1).features, named(2_000), AT)
    with pytest.raises(TooLittleData, match="of 2000 and 30 customers"):
        drifted(reference, model, decisions(900, 2).features, named(30) * 30)
    with pytest.raises(TooLittleData, match="and 0 customers"):
        drifted(reference, model, np.empty((0, 3)), [])


@pytest.mark.parametrize(("gain", "holds"), [(200.0, True), (20.0, False)])
def test_effects_seen_are_held_to_what_was_told(
    model: OfferUplift, gain: float, holds: bool
) -> None:
    rows = decisions(6_000, 3, gain)
    told = Told(model.values(rows.features), 1)

    seen = effects_seen(rows, model.model.responses(rows.features), told, FREE)

    assert seen.rows == 6_000
    assert len(seen.bins) == 5
    # Source: the planted effect of those who are told the most.
    first = seen.bins[0]
    assert first.observed.low < gain < first.observed.high
    assert first.predicted == pytest.approx(200, abs=20)
    assert [part.holds for part in seen.parts] == [holds, holds]


def test_too_few_later_outcomes_are_refused(model: OfferUplift) -> None:
    few = decisions(130, 3).take(np.arange(40))
    told = Told(model.values(few.features), 1)
    with pytest.raises(TooLittleData, match="effective successes"):
        effects_seen(few, model.model.responses(few.features), told, FREE)


def test_advice_is_what_the_figures_ask_for() -> None:
    def advised(levels: dict[str, str], holds: bool | None) -> str:
        moved = [Moved(name, 0.3, 0.1, level) for name, level in levels.items()]  # pyright: ignore
        part = Part("calibration slope", holds, "", Interval(0.0, 0.0, 0.0))
        seen = None if holds is None else EffectsSeen(100, [], [part])
        return "; ".join(UpliftWatch(AT, 100, 100, 0, moved, seen).advice())

    assert advised({"one": "steady"}, True) == "nothing to do"
    assert advised({}, None) == ""
    assert advised({"one": "look"}, None).startswith("one moved: look whether")
    assert "one moved far" in advised({"one": "retrain", "two": "look"}, True)
    assert advised({"one": "steady"}, False).startswith("offers no longer cause")
