from datetime import UTC, datetime, timedelta
from typing import Any

import lightgbm
import numpy as np
import pytest

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.errors import RegularsError
from foundation.offer import Offer
from foundation.profile import Profile, SnapshotFacts
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import offer_feature_names, offer_features
from recommender.response import ResponseModel
from serving.scoring import ModelMismatch, Scorer

NIGHT = datetime(2026, 11, 20, 8, tzinfo=UTC)
NOW = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
CUSTOMER = ("recency_days", "orders_30d", "spend_30d")
OFFER = offer_feature_names(["TypeA", "TypeB"])
NAMES = (*CUSTOMER, *OFFER, *AFFINITY_NAMES, *CONTEXT_NAMES)
SNAPSHOT = SnapshotFacts(
    "2026-11-20.0001", NIGHT, CUSTOMER, "91bc", 2, offers=("bread", "coffee", "cake")
)
# By offer of the snapshot; "tea" is younger than it.
NEAR = np.array(
    [
        [0.25, 3, 9.5, 2, 0.5, 0.75, 1.5],
        [0.5, 7, 1.25, 1, np.nan, -0.125, 0],
        [np.nan, 0, np.nan, 0, np.nan, np.nan, np.nan],
    ],
    dtype=np.float32,
)


def offer(offer_id: str, **fields: Any) -> Offer:
    known: dict[str, Any] = {
        "title": offer_id,
        "valid_from": NOW - timedelta(days=10),
        "valid_to": NOW + timedelta(days=4),
        "channels": frozenset(),
        "placements": frozenset(),
        "stores": frozenset(),
        "eligibility": None,
        "customer_cap": None,
        "priority": 0,
        "exclusive_group": None,
        "products": 12,
        "reward": 100.0,
        "min_spend": 500,
        "cost": 80,
        "campaign_kind": "TypeA",
        "popularity": 0.1,
    }
    return Offer(offer_id, **(known | fields))


OFFERS = [
    offer("coffee"),
    offer("bread", campaign_kind="TypeB", products=0, reward=50.0, cost=0),
    offer("cake", campaign_kind="TypeC", valid_to=NOW + timedelta(hours=12)),
    offer("tea", campaign_kind=None, min_spend=0),
]


@pytest.fixture(scope="module")
def model() -> ResponseModel:
    """Trees that look at customers, offers and context alike."""
    draw = np.random.default_rng(1)
    matrix = draw.normal(size=(2_000, len(NAMES))) * 50
    matrix[draw.random(matrix.shape) < 0.1] = np.nan
    filled = np.nan_to_num(matrix)
    signal = filled[:, 0] + filled[:, 3] - filled[:, NAMES.index("context_hour")]
    signal = signal + 3 * filled[:, NAMES.index("affinity_lines_365d")]
    outcome = (signal + draw.normal(size=2_000) * 30 > 0).astype(float)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 1},
        lightgbm.Dataset(matrix, outcome),
        num_boost_round=30,
    )
    return ResponseModel("lightgbm", booster, NAMES, "91bc", {})


def her(vector: np.ndarray, near: np.ndarray = NEAR) -> Profile:
    return Profile("ana", None, None, vector, {}, affinity=near)


def scored(model: Any, vector: np.ndarray, **said: Any) -> dict[str, float]:
    moment: dict[str, Any] = {
        "channel": "app",
        "at": NOW,
        "time_zone": "America/New_York",
        "basket_amounts": [450, 1_000],
    }
    return Scorer("response@7", model, SNAPSHOT).scores(her(vector), OFFERS, **(moment | said))


@pytest.mark.parametrize("vector", [[3.0, 2.0, 4_500.0], [np.nan, 0.0, np.nan], [np.nan] * 3])
def test_scores_are_the_models_own_on_a_matrix_put_together_by_hand(
    model: ResponseModel, vector: list[float]
) -> None:
    by_hand = []
    for days, products, reward, min_spend, cost, type_a, type_b, near in (
        (14, 12, 100, 500, 80, 1, 0, [0.5, 7, 1.25, 1, np.nan, -0.125, 0]),
        (14, 0, 50, 500, 0, 0, 1, [0.25, 3, 9.5, 2, 0.5, 0.75, 1.5]),
        # Half a day is part of a day; a kind that training never saw is neither.
        (10.5, 12, 100, 500, 80, 0, 0, [np.nan, 0, np.nan, 0, np.nan, np.nan, np.nan]),
        (14, 12, 100, 0, 80, 0, 0, [np.nan] * 7),
    ):
        said = dict.fromkeys(CONTEXT_NAMES, 0.0) | {
            "context_channel=app": 1,
            # 22:30 UTC is 17:30 of a Friday in New York.
            "context_hour": 17,
            "context_weekend": 0,
            "context_basket_amount": 1_450,
            "context_basket_lines": 2,
        }
        told = [days, products, reward, min_spend, cost, type_a, type_b]
        by_hand.append([*vector, *told, *near, *said.values()])
    # Source: LightGBM's own predict.
    expected = model.estimator.predict(np.array(by_hand, dtype=float))

    found = scored(model, np.array(vector))

    assert list(found) == ["coffee", "bread", "cake", "tea"]
    assert list(found.values()) == expected.tolist()
    assert len(set(found.values())) > 1


def test_the_moment_moves_the_scores(model: ResponseModel) -> None:
    vector = np.array([3.0, 2.0, 4_500.0])

    evening = scored(model, vector)
    morning = scored(model, vector, at=NOW - timedelta(hours=10))
    same_hour_elsewhere = scored(
        model, vector, at=NOW - timedelta(hours=6), time_zone="Europe/Vienna"
    )

    assert morning != evening
    assert same_hour_elsewhere == evening


def test_training_and_serving_put_the_same_row_together(model: ResponseModel) -> None:
    """The same functions, asked as the training frame asks them."""
    vector = np.array([3.0, 2.0, 4_500.0])
    coffee = OFFERS[0]
    row = np.hstack(
        [
            vector,
            offer_features(
                OFFER,
                valid_from=coffee.valid_from,
                valid_to=coffee.valid_to,
                products=coffee.products,
                reward=coffee.reward,
                min_spend=coffee.min_spend,
                cost=coffee.cost,
                campaign_kind=coffee.campaign_kind,
            ),
            NEAR[1],
            context_features("till", NOW, "America/New_York", None),
        ]
    )

    found = scored(model, vector, channel="till", basket_amounts=None)

    assert found["coffee"] == model.predict(row[None, :])[0]


def test_no_offers_need_no_model(model: ResponseModel) -> None:
    scorer = Scorer("response@7", model, SNAPSHOT)

    assert scorer.scores(her(np.zeros(3)), [], channel="app", at=NOW, time_zone="UTC",
                         basket_amounts=None) == {}  # fmt: skip


def test_a_changed_offer_of_the_same_id_is_scored_anew(model: ResponseModel) -> None:
    scorer = Scorer("response@7", model, SNAPSHOT)

    def score(asked: Offer) -> float:
        return scorer.scores(
            her(np.array([3.0, 2.0, 4_500.0])),
            [asked],
            channel="app",
            at=NOW,
            time_zone="UTC",
            basket_amounts=None,
        )["coffee"]

    before = score(offer("coffee"))
    longer = offer("coffee", valid_to=NOW + timedelta(days=300))

    assert score(longer) == Scorer("response@7", model, SNAPSHOT).scores(
        her(np.array([3.0, 2.0, 4_500.0])), [longer], channel="app", at=NOW, time_zone="UTC",
        basket_amounts=None,
    )["coffee"]  # fmt: skip
    assert score(longer) != before


# -------------------------------------------------------------------------------------- refusals


class Answers:
    """A model that answers what it is told to; no sound one can be made to do so."""

    names, feature_hash = NAMES, "91bc"

    def __init__(self, *answers: float) -> None:
        self._answers = np.array(answers)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return self._answers[: len(matrix)]


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ((0.1, np.nan, 0.2, 0.3), "answered nan for offer 'bread', which is no probability"),
        ((np.nan,) * 4, "answered nan for offer 'coffee'"),
        ((0.1, 0.2, 0.3, 1.0001), "answered 1.0001 for offer 'tea'"),
        ((-0.2, 0.2, 0.3, 0.5), "answered -0.2 for offer 'coffee'"),
        ((0.1, 0.2, np.inf, 0.5), "answered inf for offer 'cake'"),
    ],
)
def test_what_is_no_probability_is_refused(answers: tuple[float, ...], line: str) -> None:
    with pytest.raises(RegularsError, match=line) as refused:
        scored(Answers(*answers), np.zeros(3))

    assert str(refused.value).startswith("model 'response@7' ")


def test_probabilities_of_0_and_1_are_probabilities() -> None:
    assert list(scored(Answers(0, 1, 0.0, 1.0), np.zeros(3)).values()) == [0, 1, 0, 1]


def renamed(model: ResponseModel, *names: str, feature_hash: str = "91bc") -> ResponseModel:
    return ResponseModel("lightgbm", model.estimator, names, feature_hash, {})


def test_a_model_of_other_definitions_is_refused_with_both_hashes_and_the_way_out(
    model: ResponseModel,
) -> None:
    with pytest.raises(ModelMismatch) as refused:
        Scorer("response@7", renamed(model, *NAMES, feature_hash="3f2a"), SNAPSHOT)

    # Source: the example of an error in the house's own style.
    assert str(refused.value) == (
        "model 'response@7' was trained on features 3f2a, this snapshot has 91bc; run 'regulars "
        "train response' or publish the matching snapshot"
    )


@pytest.mark.parametrize(
    "names",
    [
        (CUSTOMER[1], CUSTOMER[0], *NAMES[2:]),
        (*CUSTOMER[:2], *NAMES[3:]),
        (*CUSTOMER, *OFFER, *AFFINITY_NAMES, *CONTEXT_NAMES[::-1]),
        (*CUSTOMER, *OFFER, *AFFINITY_NAMES, *CONTEXT_NAMES[1:]),
        (*CUSTOMER, *AFFINITY_NAMES, *CONTEXT_NAMES, *OFFER),
        (*OFFER, *CUSTOMER, *AFFINITY_NAMES, *CONTEXT_NAMES),
        (*CUSTOMER, *OFFER, *CONTEXT_NAMES),
        (*CUSTOMER, *OFFER, *AFFINITY_NAMES[::-1], *CONTEXT_NAMES),
        CUSTOMER,
        (),
    ],
    ids=["swapped", "fewer", "context order", "old context", "late offer", "early offer",
         "no affinity", "affinity order", "short",
         "none"],
)  # fmt: skip
def test_a_model_of_another_order_of_inputs_is_refused(
    model: ResponseModel, names: tuple[str, ...]
) -> None:
    with pytest.raises(ModelMismatch, match=r"in another order than snapshot 2026-11-20\.0001"):
        Scorer("response@7", renamed(model, *names), SNAPSHOT)


def test_a_model_that_asks_for_an_unknown_feature_of_offers_is_refused_before_it_serves(
    model: ResponseModel,
) -> None:
    with pytest.raises(ModelMismatch, match="asks for offer_colour of an offer, which this serv"):
        Scorer(
            "response@7",
            renamed(model, *CUSTOMER, *OFFER, "offer_colour", *AFFINITY_NAMES, *CONTEXT_NAMES),
            SNAPSHOT,
        )


def test_a_batch_scores_as_each_request_does(model: ResponseModel) -> None:
    scorer = Scorer("response@7", model, SNAPSHOT)
    draw = np.random.default_rng(5)
    near = np.empty((0, 0), dtype=np.float32)
    people = [
        Profile("ana", None, "Asia/Tokyo", draw.normal(size=3) * 40, {}, affinity=NEAR),
        Profile("ben", None, None, np.array([np.nan, 1.0, 3.0]), {}, affinity=near),
        Profile("cy", None, "no zone", draw.normal(size=3) * 40, {}, affinity=2 * NEAR),
    ]
    moment: dict[str, Any] = {"channel": "email", "at": NOW}
    found = scorer.scores_of_many(people, OFFERS, **moment, time_zone="America/New_York")
    for row, profile in zip(found, people, strict=True):
        zone = profile.time_zone or "America/New_York"
        alone = scorer.scores(profile, OFFERS, **moment, time_zone=zone, basket_amounts=None)
        assert row.tolist() == [alone[offer.offer_id] for offer in OFFERS]
    assert scorer.scores_of_many([], OFFERS, **moment, time_zone="UTC").shape == (0, 4)


def test_a_batch_longer_than_a_block_is_scored_whole(model: ResponseModel) -> None:
    scorer = Scorer("response@7", model, SNAPSHOT)
    vectors = np.random.default_rng(6).normal(size=(9_000, 3)) * 40
    people = [her(vector) for vector in vectors]
    moment: dict[str, Any] = {"channel": "email", "at": NOW, "time_zone": "UTC"}
    found = scorer.scores_of_many(people, OFFERS, **moment)
    for row in (0, 8_191, 8_192, 8_999):
        alone = scorer.scores(people[row], OFFERS, **moment, basket_amounts=None)
        assert found[row].tolist() == list(alone.values())
