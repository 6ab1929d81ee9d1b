"""A model that was just loaded is asked about the live snapshot's customers before it serves."""

import json
from dataclasses import replace
from datetime import timedelta

import lightgbm
import numpy as np
import pytest

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.errors import RegularsError
from foundation.profile import Profile
from recommender.offer_uplift import Effects, OfferUplift
from recommender.response import ResponseModel
from recommender.uplift import UpliftModel
from recommender.value import FREE, Contact
from serving.canary import FailedSelfCheck, check_response, check_uplift
from serving.scoring import Scorer
from serving.uplift_scoring import UpliftScorer
from tests.serving.test_scoring import CUSTOMER, NAMES, NOW, OFFERS, SNAPSHOT

DRAW = np.random.default_rng(3)
PEOPLE = [
    Profile(f"c-{n}", None, None, DRAW.normal(size=3) * [10, 3, 1_000] + [30, 5, 3_000], {})
    for n in range(60)
]
ZONE = "America/New_York"


def model(rate: float) -> ResponseModel:
    """Trees that look at what she spent, answered at about this rate."""
    draw = np.random.default_rng(1)
    matrix = draw.normal(size=(4_000, len(NAMES)))
    matrix[:, 2] = draw.normal(size=4_000) * 1_000 + 3_000
    outcome = draw.random(4_000) < rate * (0.5 + (matrix[:, 2] > 3_000))
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 4, "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(matrix, outcome.astype(float)),
        num_boost_round=20,
    )
    return ResponseModel("lightgbm", booster, NAMES, "91bc", {})


def check(one: ResponseModel, trained_mean: float | None, people: list[Profile] = PEOPLE) -> None:
    scorer = Scorer("response@8", one, SNAPSHOT)
    check_response(scorer, people, OFFERS, trained_mean, at=NOW, time_zone=ZONE)


def test_a_model_that_answers_as_it_did_at_training_passes() -> None:
    check(model(0.1), 0.1)
    # Of older models the size is not known.
    check(model(0.1), None)


@pytest.mark.parametrize("trained", [0.99, 0.001])
def test_a_model_far_from_its_card_is_refused_with_both_figures(trained: float) -> None:
    told = rf"'response@8' answers 0\.\d+ on average for 60 customers .*, {trained} when it was"
    with pytest.raises(FailedSelfCheck, match=told):
        check(model(0.1), trained)


def test_the_bound_is_of_odds_and_holds_on_both_sides() -> None:
    one = model(0.1)
    scorer = Scorer("response@8", one, SNAPSHOT)
    found = scorer.scores_of_many(PEOPLE, OFFERS, channel="app", at=NOW, time_zone=ZONE).mean()
    told = found / (1 - found)

    for times, passes in ((9.9, True), (10.1, False)):
        for odds in (told * times, told / times):
            if passes:
                check(one, odds / (1 + odds))
            else:
                with pytest.raises(FailedSelfCheck):
                    check(one, odds / (1 + odds))


def test_an_answer_that_is_no_probability_is_refused() -> None:
    class Broken:
        names, feature_hash = NAMES, "91bc"

        def predict(self, matrix: np.ndarray) -> np.ndarray:
            found = np.full(len(matrix), 0.1)
            found[-1] = np.nan
            return found

    scorer = Scorer("response@8", Broken(), SNAPSHOT)
    with pytest.raises(RegularsError, match="answered nan"):
        check_response(scorer, PEOPLE, OFFERS, 0.1, at=NOW, time_zone=ZONE)


def test_a_shop_without_live_offers_or_customers_judges_nothing() -> None:
    check(model(0.1), 0.999, [])
    over = [replace(offer, valid_to=NOW - timedelta(days=1)) for offer in OFFERS]
    scorer = Scorer("response@8", model(0.1), SNAPSHOT)
    check_response(scorer, PEOPLE, over, 0.999, at=NOW, time_zone=ZONE)


@pytest.mark.parametrize("average", [70.0, float("nan")])
def test_an_uplift_model_passes_by_numbers(average: float) -> None:
    names = (*CUSTOMER, *CONTEXT_NAMES)
    document = {
        "average": [average], "average_error": [1.0], "scale": {}, "best": "same",
        "sharpest": "t", "n_features": len(names), "outcomes": [], "scores": [], "centre": {},
    }  # fmt: skip
    one = OfferUplift(UpliftModel.of(document), ("coffee",), names, "91bc", 14)
    scorer = UpliftScorer("uplift@2", one, SNAPSHOT)

    if np.isnan(average):
        with pytest.raises(RegularsError, match="'uplift@2' answered"):
            check_uplift(scorer, PEOPLE, at=NOW, time_zone=ZONE)
    else:
        check_uplift(scorer, PEOPLE, at=NOW, time_zone=ZONE)


class Telling:
    """Effects of an own size: `mean`, and half of the customers above it by `spread`."""

    offers, names, feature_hash = ("coffee", "tea"), (*CUSTOMER, *CONTEXT_NAMES), "91bc"

    def __init__(self, mean: float, spread: float, trained: Effects | None) -> None:
        self.mean, self.spread, self.trained = mean, spread, trained

    def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray:
        side = np.where(np.arange(len(matrix)) % 2, 1.0, -1.0)
        return (self.mean + self.spread * side)[:, None] + np.array([5.0, -5.0])


@pytest.mark.parametrize(
    ("mean", "spread", "told"),
    [
        (40.0, 10.0, None),
        (69.0, 10.0, None),
        (71.0, 10.0, "tells effects of 71 on average"),
        (9.0, 10.0, "tells effects of 9 on average"),
        # Inputs that all are the same, or a file of another unit.
        (40.0, 0.9, "apart by 0.9, by 10 when it was trained"),
        (40.0, 101.0, "apart by 101, by 10 when it was trained"),
    ],
)
def test_an_uplift_model_keeps_to_the_size_of_its_training(
    mean: float, spread: float, told: str | None
) -> None:
    def check(people: list[Profile], trained: Effects | None) -> None:
        scorer = UpliftScorer("uplift@2", Telling(mean, spread, trained), SNAPSHOT)
        check_uplift(scorer, people, at=NOW, time_zone=ZONE)

    many = [PEOPLE[0]] * 40
    if told is None:
        check(many, Effects(40.0, 10.0))
    else:
        with pytest.raises(FailedSelfCheck, match=told):
            check(many, Effects(40.0, 10.0))
    # Models of before, and snapshots of nobody, cannot be judged.
    check(many, None)
    check([], Effects(40.0, 10.0))


def test_what_a_model_tells_of_its_training_survives_its_text() -> None:
    effects = np.array([[1.0, 10.0], [3.0, 10.0]])
    # By hand: a mean of 6; the offers' variances are 1 and 0.
    assert Effects.of(effects) == Effects(6.0, np.sqrt(0.5))
    document = {
        "average": [7.0], "average_error": [1.0], "scale": {}, "best": "same",
        "sharpest": "t", "n_features": 1, "outcomes": [], "scores": [], "centre": {},
    }  # fmt: skip
    one = OfferUplift(UpliftModel.of(document), ("a",), ("f",), "91bc", 14, Effects(6.0, 0.5))
    assert OfferUplift.from_text(one.to_text()).trained == Effects(6.0, 0.5)
    old = {k: v for k, v in json.loads(one.to_text()).items() if k != "trained"}
    assert OfferUplift.from_text(json.dumps(old)).trained is None
