"""Made-up exposures with a known truth: what wins must be what is true."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from foundation.errors import TooLittleData
from foundation.scores import Interval
from recommender.evaluation import Comparison, compare_auc
from recommender.exposures import TrainingFrame
from recommender.response import (
    FEWEST_RESPONSES,
    ResponseReport,
    chosen_kind,
    held_out_start,
    train_response,
)
from recommender.response_model import Fitted
from recommender.tuning import forward_folds

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("one", "two", "three", "noise", "always_missing")


def made_up(
    truth: str, n: int = 2_400, seed: int = 1, window: int = 10
) -> tuple[TrainingFrame, np.ndarray]:
    """Return exposures over 120 days, and each one's true chance of a response."""
    draw = np.random.default_rng(seed)
    matrix = draw.normal(size=(n, len(NAMES)))
    matrix[:, -1] = np.nan
    if truth == "linear":
        chance = expit(-0.7 + 1.2 * np.arcsinh(matrix[:, 0]) - 0.9 * np.arcsinh(matrix[:, 1]))
    elif truth == "interaction":
        # Who has much of one and a middling two.
        chance = expit(-2 + 4.5 * (matrix[:, 0] > 0) * (np.abs(matrix[:, 1]) < 1))
    else:
        chance = np.full(n, 0.3)
    # An unknown value now and then, independent of all.
    matrix[draw.random(n) < 0.05, 2] = np.nan
    at = START + pd.to_timedelta(np.sort(draw.integers(0, 120, n)), unit="D")
    rows = pd.DataFrame(
        {
            "customer_id": [f"c-{i}" for i in draw.integers(0, n // 4, n)],
            "offer_id": "o",
            "at": at,
            "ends": at + window * DAY,
            "outcome": (draw.random(n) < chance).astype(int),
            "propensity": np.nan,
            "source": "history",
            "bought_before": True,
        }
    )
    return TrainingFrame(rows, matrix, NAMES, 7, START + 200 * DAY, 3), chance


def with_outcomes(frame: TrainingFrame, where: np.ndarray, outcomes: np.ndarray) -> TrainingFrame:
    rows = frame.rows.copy()
    rows.loc[where, "outcome"] = outcomes
    return replace(frame, rows=rows)


@pytest.fixture(scope="module")
def linear() -> tuple[TrainingFrame, np.ndarray, ResponseReport]:
    frame, chance = made_up("linear")
    return frame, chance, train_response(frame, "91bc", seed=7)


@pytest.fixture(scope="module")
def interaction() -> tuple[TrainingFrame, np.ndarray, ResponseReport]:
    frame, chance = made_up("interaction")
    return frame, chance, train_response(frame, "91bc", seed=7)


# ------------------------------------------------------------------------------------- who wins


def test_the_baseline_wins_where_the_truth_is_linear(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    frame, chance, report = linear

    assert report.champion == "logistic"
    # Source: no model can order better than the true chances themselves.
    later = (frame.rows["at"] >= report.test_from).to_numpy()
    best = roc_auc_score(frame.outcome[later], chance[later])
    assert report.comparison.auc["logistic"].value == pytest.approx(best, abs=0.01)
    assert best > 0.75


def test_what_looks_better_by_what_may_be_chance_does_not_win() -> None:
    frame, chance = made_up("linear", n=1_200)
    folds = forward_folds(frame)
    later = np.concatenate(
        [frame.rows.index[frame.rows["at"].isin(f.later.rows["at"])] for f in folds]
    )
    outcome, draw = frame.outcome[later], np.random.default_rng(0)
    plain = chance[later] + draw.normal(0, 0.3, len(later))
    customers = frame.rows["customer_id"].to_numpy()[later]
    for more, surely in ((0.02, False), (0.5, True)):
        other = chance[later] + draw.normal(0, 0.3, len(later)) + more * outcome
        told = {"logistic": plain, "lightgbm": other}
        gain = compare_auc(outcome, told, customers, "logistic", 7).gain["lightgbm"]
        assert gain.value > 0
        assert (gain.low > 0) is surely
        fitted: Any = {kind: Fitted(cast("Any", None), told[kind]) for kind in told}
        assert chosen_kind(fitted, folds, 7) == ("lightgbm" if surely else "logistic")


def test_lightgbm_wins_where_the_truth_is_an_interaction(
    interaction: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    frame, chance, report = interaction

    assert report.champion == "lightgbm"
    later = (frame.rows["at"] >= report.test_from).to_numpy()
    best = roc_auc_score(frame.outcome[later], chance[later])
    assert report.comparison.auc["lightgbm"].value == pytest.approx(best, abs=0.04)
    assert report.comparison.gain["lightgbm"].low > 0.03


def test_where_nothing_can_be_learned_nothing_is_found() -> None:
    report = train_response(made_up("nothing")[0], "91bc", seed=7)

    # Source: Mann-Whitney's variance where scores say nothing, (n + 1) / (12 n1 n0).
    n, responded = report.rows_held_out, report.responses_held_out
    sigma = np.sqrt((n + 1) / (12 * responded * (n - responded)))
    for area in report.comparison.auc.values():
        assert abs(area.value - 0.5) < 4 * sigma
    assert report.comparison.gain["lightgbm"].low < 0.02


def test_the_planted_signal_weighs_most(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
    interaction: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    for kind in ("logistic", "lightgbm"):
        weights = linear[2].models[kind].importance()
        assert [name for name, _ in weights[:2]] == ["one", "two"]
        assert sorted(name for name, _ in weights) == sorted(NAMES)
        assert weights == sorted(weights, key=lambda pair: -pair[1])
        assert dict(weights)["always_missing"] == 0
    assert {name for name, _ in interaction[2].models["lightgbm"].importance()[:2]} == {
        "one",
        "two",
    }


def test_the_winner_is_calibrated_on_later_rows(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    frame, chance, report = linear
    later = (frame.rows["at"] >= report.test_from).to_numpy()
    held_out = report.held_out["logistic"]

    assert held_out.calibration_error < 0.06
    # Source: the log loss of the true chances is the least that can be expected.
    outcome, p = frame.outcome[later], chance[later]
    least = -np.mean(outcome * np.log(p) + (1 - outcome) * np.log(1 - p))
    assert held_out.log_loss == pytest.approx(least, abs=0.02)
    assert sum(b.n for b in held_out.bins) == report.rows_held_out


def test_a_value_never_seen_in_training_does_not_move_a_score(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    # Serving knows hour and basket; loaded history never does.
    frame, _, report = linear
    served = frame.matrix[:50].copy()
    served[:, -1] = 14.0

    for model in report.models.values():
        np.testing.assert_allclose(
            model.predict(served), model.predict(frame.matrix[:50]), atol=1e-12
        )


def test_probabilities_are_probabilities_also_of_unknown_customers(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    rows = np.array([np.full(5, np.nan), np.zeros(5), np.full(5, 1e12), np.full(5, -1e12)])

    for model in linear[2].models.values():
        found = model.predict(rows)
        assert found.shape == (4,)
        assert np.all((found >= 0) & (found <= 1))


# -------------------------------------------------------------------------------- split by time


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=80),
    st.sampled_from([0.1, 0.25, 0.5]),
)
def test_the_held_out_period_is_the_latest_that_leaves_its_share_of_rows(
    days: list[int], share: float
) -> None:
    rows = pd.DataFrame({"at": [START + d * DAY for d in days]})
    # Source: tried for every time there is.
    enough = [d for d in set(days) if sum(x >= d for x in days) >= share * len(days)]
    if max(enough) == min(days):
        with pytest.raises(TooLittleData, match="too few times for a split"):
            held_out_start(rows, share)
    else:
        assert held_out_start(rows, share) == START + max(enough) * DAY


@pytest.mark.parametrize("n", [0, 1, 500])
def test_exposures_at_one_time_cannot_be_split(n: int) -> None:
    rows = pd.DataFrame({"at": pd.to_datetime([START] * n, utc=True)})

    with pytest.raises(TooLittleData, match=f"^{n} exposures lie at too few times"):
        held_out_start(rows)


def test_every_row_is_before_the_split_after_it_or_astride(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    frame, _, report = linear
    at, ends = frame.rows["at"], frame.rows["ends"]

    assert report.rows_trained == (ends <= report.test_from).sum()
    assert report.rows_held_out == (at >= report.test_from).sum()
    astride = (at < report.test_from) & (ends > report.test_from)
    assert report.rows_straddling == astride.sum() > 0
    assert report.rows_trained + report.rows_held_out + report.rows_straddling == len(frame.rows)
    assert report.rows_held_out >= 0.25 * len(frame.rows)
    assert (report.rows_censored, report.rows_unanswerable) == (7, 3)
    assert report.responses_trained == frame.outcome[(ends <= report.test_from).to_numpy()].sum()
    assert report.responses_held_out == frame.outcome[(at >= report.test_from).to_numpy()].sum()


def test_nothing_of_the_test_period_reaches_models_or_their_settings(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    frame, _, report = linear
    # Every window that ends after the split, also those that began before it.
    touching = (frame.rows["ends"] > report.test_from).to_numpy()
    turned = with_outcomes(frame, touching, 1 - frame.outcome[touching])
    poisoned = replace(turned, matrix=np.where(touching[:, None], 99.0, frame.matrix))

    again = train_response(poisoned, "91bc", seed=7)

    assert again.test_from == report.test_from
    assert again.comparison != report.comparison
    for kind, model in again.models.items():
        assert model.settings == report.models[kind].settings
        np.testing.assert_array_equal(
            model.predict(frame.matrix), report.models[kind].predict(frame.matrix)
        )


def test_a_chosen_split_is_kept(linear: tuple[TrainingFrame, np.ndarray, ResponseReport]) -> None:
    frame = linear[0]

    report = train_response(frame, "91bc", seed=7, test_from=START + 60 * DAY)

    assert report.test_from == START + 60 * DAY
    assert report.rows_held_out == (frame.rows["at"] >= START + 60 * DAY).sum()


def test_a_training_period_of_one_campaign_takes_the_plainest_settings() -> None:
    frame, _ = made_up("linear", n=800)
    rows = frame.rows.copy()
    # All of the past was sent at once, so that there is nothing later to choose on.
    early = rows["at"] < START + 60 * DAY
    rows.loc[early, "at"] = START
    rows.loc[early, "ends"] = START + DAY

    report = train_response(replace(frame, rows=rows), "91bc", 7, test_from=START + 60 * DAY)

    assert report.models["logistic"].settings == {"C": 0.01}
    assert report.models["lightgbm"].settings == {
        "num_leaves": 4,
        "min_data_in_leaf": 60,
        "feature_fraction": 0.3,
        "lambda_l2": 1.0,
        "rounds": 80.0,
    }


# ----------------------------------------------------------------------- the same, and not the same


def test_the_same_seed_gives_the_same_report(
    interaction: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    frame, _, report = interaction

    again = train_response(frame, "91bc", seed=7)

    assert again.comparison == report.comparison
    assert again.held_out == report.held_out
    for kind, model in again.models.items():
        assert model.settings == report.models[kind].settings
        np.testing.assert_array_equal(
            model.predict(frame.matrix), report.models[kind].predict(frame.matrix)
        )


def test_a_model_carries_its_inputs_and_the_hash_of_their_definitions(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    for kind, model in linear[2].models.items():
        assert (model.kind, model.names, model.feature_hash) == (kind, NAMES, "91bc")


def test_inputs_may_have_any_name() -> None:
    frame, _ = made_up("linear", n=800)
    # JSON's special characters, and names that differ in nothing else.
    names = ("kind=Type A", "kind=Type:A", 'share "x" [%]', "größe", "{}")

    report = train_response(replace(frame, names=names), "91bc", seed=7)

    for model in report.models.values():
        assert {name for name, _ in model.importance()} == set(names)


# --------------------------------------------------------------------------------------- refusals


def sparse(frame: TrainingFrame, early: int, late: int, wanted: int) -> TrainingFrame:
    """Leave so many of one outcome before and from day 80."""
    rows = frame.rows.copy()
    before = rows["ends"] <= START + 80 * DAY
    for part, count in ((before, early), (~before, late)):
        places = rows.index[part & ((rows["at"] >= START + 80 * DAY) | before)]
        rows.loc[places, "outcome"] = 1 - wanted
        rows.loc[places[:: max(1, len(places) // count)][:count], "outcome"] = wanted
    return replace(frame, rows=rows)


@pytest.mark.parametrize(
    ("early", "late", "wanted", "line"),
    [
        (49, 60, 1, "49 responses before 2026-03-22"),
        (60, 49, 1, "49 responses from 2026-03-22"),
        (49, 60, 0, "49 exposures without a response before 2026-03-22"),
        (60, 49, 0, "49 exposures without a response from 2026-03-22"),
    ],
)
def test_too_few_of_either_outcome_on_either_side_is_refused(
    early: int, late: int, wanted: int, line: str
) -> None:
    frame = sparse(made_up("nothing", n=1_200)[0], early, late, wanted)

    with pytest.raises(TooLittleData) as refused:
        train_response(frame, "91bc", seed=7, test_from=START + 80 * DAY)

    assert str(refused.value) == (
        f"{line}; an offer model needs {FEWEST_RESPONSES} on either side of the split"
    )


def test_enough_of_each_is_no_refusal() -> None:
    frame = sparse(made_up("nothing", n=1_200)[0], 50, 50, 1)

    report = train_response(frame, "91bc", seed=7, test_from=START + 80 * DAY)

    assert (report.responses_trained, report.responses_held_out) == (50, 50)


def test_a_split_before_or_after_all_exposures_is_refused() -> None:
    frame, _ = made_up("nothing", n=400)

    with pytest.raises(TooLittleData, match=r"^0 responses before"):
        train_response(frame, "91bc", seed=7, test_from=START - DAY)
    with pytest.raises(TooLittleData, match=r"^0 responses from"):
        train_response(frame, "91bc", seed=7, test_from=START + 500 * DAY)


def test_no_exposures_at_all_are_refused() -> None:
    frame, _ = made_up("nothing", n=400)

    with pytest.raises(TooLittleData, match=r"^0 exposures lie at too few times"):
        train_response(frame.take(np.zeros(400, dtype=bool)), "91bc", seed=7)


# ---------------------------------------------------------------------------------------- verdict


@pytest.mark.parametrize(
    ("champion", "gain", "verdict"),
    [
        (
            "logistic",
            Interval(-0.0123, -0.03, 0.004),
            "the logistic baseline is kept: LightGBM against it -0.012 AUC [-0.030, +0.004]",
        ),
        (
            "lightgbm",
            Interval(0.05, 0.02, 0.08),
            "LightGBM wins, surely: against the logistic baseline +0.050 AUC [+0.020, +0.080]",
        ),
        (
            "lightgbm",
            Interval(0.01, -0.02, 0.04),
            "LightGBM wins, not surely: against the logistic baseline +0.010 AUC [-0.020, +0.040]",
        ),
    ],
)
def test_the_verdict_says_plainly_who_won_and_how_sure_that_is(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
    champion: str,
    gain: Interval,
    verdict: str,
) -> None:
    comparison = Comparison(linear[2].comparison.auc, {"lightgbm": gain})

    report = replace(linear[2], champion=champion, comparison=comparison)

    assert report.verdict() == verdict


def test_the_verdict_of_a_real_report_names_its_champion(
    linear: tuple[TrainingFrame, np.ndarray, ResponseReport],
    interaction: tuple[TrainingFrame, np.ndarray, ResponseReport],
) -> None:
    assert linear[2].verdict().startswith("the logistic baseline is kept: LightGBM against it -0.")
    assert interaction[2].verdict().startswith("LightGBM wins, surely: against the logistic")
