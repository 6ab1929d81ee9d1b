"""A model watched over made-up exposures whose drift is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from recommender.exposures import TrainingFrame
from recommender.reference import Reference
from recommender.response import train_response
from recommender.response_model import ResponseModel
from recommender.watch import NEWEST_DAYS, SCORES, Watch, watch

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("one", "two", "noise")
LAST = 120


def made_up(seed: int, first: int, days: int, n: int, shift: float = 0.0) -> TrainingFrame:
    """Return exposures of `days` from a day on; input "one" is shifted, and answers follow it."""
    draw = np.random.default_rng(seed)
    matrix = draw.normal(size=(n, len(NAMES)))
    matrix[:, 0] += shift
    at = pd.Series(START + pd.to_timedelta(first + np.sort(draw.integers(0, days, n)), unit="D"))
    rows = pd.DataFrame(
        {
            "customer_id": [f"c-{i}" for i in draw.integers(0, n // 2, n)],
            "offer_id": "o",
            "at": at,
            "ends": at + 5 * DAY,
            "outcome": (draw.random(n) < expit(-0.5 + matrix[:, 0])).astype(int),
            "propensity": np.nan,
            "source": "history",
            "bought_before": True,
        }
    )
    return TrainingFrame(rows, matrix, NAMES, 0, START + 200 * DAY)


@pytest.fixture(scope="module")
def champion() -> tuple[ResponseModel, Reference]:
    report = train_response(made_up(1, 0, LAST, 2_000), "91bc", seed=7)
    return report.models["logistic"], report.references["logistic"]


def watched(
    champion: tuple[ResponseModel, Reference], frame: TrainingFrame, *, over: bool = True
) -> Watch:
    model, reference = champion
    return watch(reference, model, frame, np.full(len(frame.rows), over), seed=7)


def test_exposures_of_the_same_kind_ask_for_nothing(
    champion: tuple[ResponseModel, Reference],
) -> None:
    found = watched(champion, made_up(2, LAST + 6, 20, 1_500))

    assert found.advice() == ["nothing to do"]
    assert found.refused == {}
    assert found.calibration is not None
    expected = found.calibration.observed_expected
    assert expected.low < 1 < expected.high


def test_an_input_that_moved_comes_first_and_is_named(
    champion: tuple[ResponseModel, Reference],
) -> None:
    found = watched(champion, made_up(2, LAST + 6, 20, 1_500, shift=1.5))

    assert found.moved[0].name in ("one", SCORES)
    assert {m.name for m in found.moved if m.level == "retrain"} == {"one", SCORES}
    assert [m.index for m in found.moved] == sorted((m.index for m in found.moved), reverse=True)
    assert "one" in found.advice()[0]


def test_promises_that_no_longer_hold_are_told_with_the_way_out(
    champion: tuple[ResponseModel, Reference],
) -> None:
    frame = made_up(2, LAST + 6, 20, 1_500)
    half = frame.rows["outcome"] * (np.random.default_rng(5).random(len(frame.rows)) < 0.5)

    found = watched(champion, replace(frame, rows=frame.rows.assign(outcome=half)))

    assert found.calibration is not None
    assert found.calibration.observed_expected.value == pytest.approx(0.5, abs=0.08)
    assert "regulars train response" in found.advice()[0]
    assert all(m.level == "steady" for m in found.moved)


def test_open_windows_tell_drift_and_no_calibration(
    champion: tuple[ResponseModel, Reference],
) -> None:
    found = watched(champion, made_up(2, LAST + 6, 20, 1_500), over=False)

    assert found.moved
    assert found.calibration is None
    assert "needs 10 customers" in found.refused["calibration"]


def test_without_an_outcome_since_it_does_not_ask_for_a_training_that_learns_nothing(
    champion: tuple[ResponseModel, Reference],
) -> None:
    moved = made_up(2, LAST + 6, 20, 1_500, shift=1.5)

    (waits,) = watched(champion, moved, over=False).advice()

    first = moved.rows["ends"].min()
    assert "wait: no outcome since its training is known yet" in waits
    assert f"the first from {first:%Y-%m-%d}" in waits
    assert "run 'regulars train response'" not in waits
    found = watched(champion, moved)
    assert found.outcomes == 1_500
    assert "run 'regulars train response'" in found.advice()[-1]


def with_offers(frame: TrainingFrame, offers: int, cost: float) -> TrainingFrame:
    """Let exposures be of so many offers; what one costs is its own and lies around `cost`."""
    which = np.arange(len(frame.rows)) % offers
    own = np.random.default_rng(offers).normal(cost, 1, offers)
    rows = frame.rows.assign(offer_id=[f"o-{n}-{cost}" for n in which])
    matrix = np.column_stack([frame.matrix, own[which]])
    return replace(frame, rows=rows, matrix=matrix, names=(*NAMES, "offer_cost"))


def test_what_offers_are_is_compared_by_offer_and_not_by_whom_they_were_shown() -> None:
    trained = with_offers(made_up(1, 0, LAST, 2_000), 80, 3.0)
    report = train_response(trained, "91bc", seed=7)
    champion = report.models["logistic"], report.references["logistic"]
    later = made_up(2, LAST + 6, 20, 1_500)

    # Four new offers are four draws, however many customers saw them.
    few = watched(champion, with_offers(later, 4, 9.0))
    assert "4 offers since, 80 in training" in few.refused["offers"]
    assert "offer_cost" not in {m.name for m in few.moved}
    many = watched(champion, with_offers(later, 80, 9.0))
    assert "offers" not in many.refused
    assert {m.level for m in many.moved if m.name == "offer_cost"} == {"retrain"}
    same = watched(champion, with_offers(later, 80, 3.0))
    assert {m.level for m in same.moved if m.name == "offer_cost"} == {"steady"}


def test_what_the_training_knew_is_no_news(champion: tuple[ResponseModel, Reference]) -> None:
    found = watched(champion, made_up(1, 0, LAST, 2_000))

    assert found.exposures == 0
    assert set(found.refused) == {"drift", "calibration"}
    assert found.advice() == []


def test_only_the_newest_exposures_are_looked_at(
    champion: tuple[ResponseModel, Reference],
) -> None:
    old, new = made_up(2, LAST + 6, 20, 1_000), made_up(3, LAST + 100, 20, 1_000, shift=1.5)

    found = watched(champion, old.beside(new))

    assert found.exposures == 1_000
    assert found.since == new.rows["at"].max() - NEWEST_DAYS * DAY
    assert found.moved[0].level == "retrain"


def test_chance_alone_is_exceeded_anywhere_at_most_once_in_twenty(
    champion: tuple[ResponseModel, Reference],
) -> None:
    # The reference is one draw too, of 1,000 customers; the bound counts on both.
    alarms = sum(
        any(m.index > m.chance for m in watched(champion, frame, over=False).moved)
        for frame in (made_up(seed, LAST + 6, 20, 600) for seed in range(100, 200))
    )
    # Binomial(100, .05) exceeds 12 in 1 of 1,000.
    assert alarms <= 12
