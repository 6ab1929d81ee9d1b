"""Another model's scores for decisions of the service, and what its ranking would have earned."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import lightgbm
import msgspec
import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from experiments.design import Experiment, Variant
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.contracts import TABLES
from foundation.decision import DecisionRecord, Policy, decode_record, encode
from foundation.offer import read_offer
from foundation.profile import LiveState, Profile, SnapshotFacts
from foundation.settings import Settings
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import offer_feature_names
from recommender.response_model import ResponseModel
from recommender.value import FREE, Contact
from regulars.jobs.off_policy import policy_contest
from regulars.jobs.publish import catalogue_offers
from regulars.jobs.recorded_scores import RecordedScores, checked
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedContext, AskedLine, AskedPlacement, DecisionRequest
from serving.scoring import Scorer
from serving.uplift_scoring import UpliftScorer
from tests.jobs import uplift_shop
from tests.jobs.uplift_shop import (
    DAY,
    DAYS,
    HASH,
    START,
    USUAL,
    WIDTH,
    ZONE,
    effects,
    offer_row,
    opened,
)
from tests.jobs.uplift_shop import NAMES as CUSTOMER

OFFERS = ("a", "b", "c")
NAMES = (*CUSTOMER, *offer_feature_names(["X"]), *AFFINITY_NAMES, *CONTEXT_NAMES)
SNAPSHOT = SnapshotFacts("s-1", START - DAY, CUSTOMER, HASH, 2, offers=("b", "a"))
EXPLORING = Policy("response", 0.3)
# The chance of a response to each offer, by kind of customer: whether her first feature is above 0.
RATES = np.array([[0.30, 0.10, 0.05], [0.05, 0.10, 0.40]])
SPEND = NAMES.index("offer_min_spend")
UNTIL = START + 60 * DAY
SETTINGS = Settings(time_zone=ZONE)


def rows(table: str, told: list[dict[str, Any]]) -> Any:
    return TABLES[table].from_rows(told)


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    offers = [offer_row(o, min_spend=100 * n, campaign_kind="X") for n, o in enumerate(OFFERS)]
    with lake.write() as write:
        write.merge("offers", rows("offers", offers))
    return lake


def model(matrix: np.ndarray, outcome: np.ndarray) -> ResponseModel:
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 1},
        lightgbm.Dataset(matrix, outcome),
        num_boost_round=30,
    )
    return ResponseModel("lightgbm", booster, NAMES, HASH, {})


@pytest.fixture(scope="module")
def champion() -> ResponseModel:
    """It knows which offer is answered most, alike for all customers, and looks at everything."""
    return _fitted(RATES.mean(axis=0)[None].repeat(2, axis=0), noise=0.02)


@pytest.fixture(scope="module")
def challenger() -> ResponseModel:
    """It knows who answers what."""
    return _fitted(RATES, noise=0.0)


def _fitted(rates: np.ndarray, noise: float) -> ResponseModel:
    draw = np.random.default_rng(5)
    matrix = draw.normal(size=(8_000, len(NAMES)))
    which = draw.integers(0, 3, 8_000)
    matrix[:, SPEND] = 100 * which
    chance = rates[(matrix[:, 0] > 0).astype(int), which]
    for name in (*AFFINITY_NAMES, *CONTEXT_NAMES):
        chance = chance + noise * (matrix[:, NAMES.index(name)] > 0)
    matrix[:, NAMES.index(AFFINITY_NAMES[0])] *= 3
    return model(matrix, (draw.random(8_000) < chance).astype(float))


def knowing(lake: DuckDbLake, scorer: Scorer | None, policy: Policy = EXPLORING) -> Knowledge:
    offers = [read_offer(row, 0.1) for row in catalogue_offers(lake)]
    return Knowledge(
        Catalogue(1, offers, ()).compiled(SNAPSHOT.vocabulary),
        SNAPSHOT.version,
        CUSTOMER,
        scorer,
        policy,
        ZONE,
        feature_hash=HASH,
        places=SNAPSHOT.places,
    )


def decided(known: Knowledge, n: int, limit: int = 1, **her: Any) -> DecisionRecord:
    draw = np.random.default_rng(n)
    vector = draw.normal(size=WIDTH)
    vector[draw.random(WIDTH) < 0.1] = np.nan
    vector[0] = draw.normal()
    affinity = draw.normal(size=(2, len(AFFINITY_NAMES))).astype(np.float32)
    affinity[0, 2] = np.nan
    fields: dict[str, Any] = {"affinity": affinity} | her
    profile = Profile(f"c-{n}", None, None, vector, {}, **fields)
    basket = [AskedLine("p", 2, 4.5)] if n % 2 else None
    request = DecisionRequest(
        f"c-{n}", "app", [AskedPlacement("checkout", limit)], AskedContext(basket=basket)
    )
    at = START + n * timedelta(minutes=7)
    record = decide(request, profile, LiveState({}), known, decision_id=f"d-{n}", at=at, seed=n)
    return decode_record(encode(record))


def test_a_record_gives_the_scores_that_the_service_gave_to_the_last_bit(
    shop: DuckDbLake, champion: ResponseModel
) -> None:
    known = knowing(shop, Scorer("response@1", champion, SNAPSHOT))
    again = RecordedScores(shop, SETTINGS).response("response@1", champion)

    for n in range(40):
        record = decided(known, n, limit=2)
        assert again(record) == record.scores
        assert len(set(record.scores.values())) > 1
    nothing = decided(known, 50, affinity=np.empty((0, 0), dtype=np.float32))
    assert again(nothing) == nothing.scores


def test_the_affinities_are_what_the_scores_rest_on(
    shop: DuckDbLake, champion: ResponseModel
) -> None:
    known = knowing(shop, Scorer("response@1", champion, SNAPSHOT))
    again = RecordedScores(shop, SETTINGS).response("response@1", champion)
    records = [decided(known, n) for n in range(40)]

    blind = [msgspec.structs.replace(record, affinity=b"") for record in records]

    assert any(again(record) != record.scores for record in blind)


def test_a_record_that_cannot_tell_is_not_guessed_at(
    shop: DuckDbLake, champion: ResponseModel
) -> None:
    known = knowing(shop, Scorer("response@1", champion, SNAPSHOT))
    again = RecordedScores(shop, SETTINGS).response("response@1", champion)
    record = decided(known, 1)

    changed = msgspec.structs.replace(record.versions, features="91bc")
    assert again(msgspec.structs.replace(record, versions=changed)) is None
    assert again(msgspec.structs.replace(record, vector=None)) is None
    # Of a release that did not record them.
    assert again(msgspec.structs.replace(record, affinity=None)) is None
    strange = {**record.scores, "gone": 0.5}
    assert again(msgspec.structs.replace(record, scores=strange)) is None


def test_a_decision_whose_own_scores_no_longer_come_out_is_left_out(
    shop: DuckDbLake, champion: ResponseModel
) -> None:
    known = knowing(shop, Scorer("response@1", champion, SNAPSHOT))
    again = RecordedScores(shop, SETTINGS).response("response@1", champion)
    record = decided(known, 1)
    moved = msgspec.structs.replace(record, scores={o: s + 1e-6 for o, s in record.scores.items()})

    assert checked(again, "response@1")(record) == record.scores
    assert checked(again, "response@1")(moved) is None
    # Another model recorded them: nothing is known to have changed.
    assert checked(again, "response@2")(moved) == record.scores


# ------------------------------------------------------------------------------- two rankings


def responses(record: DecisionRecord, n: int) -> Iterator[dict[str, Any]]:
    vector = record.vector
    assert vector is not None
    assert vector[0] is not None
    for shown in record.slates[0].offers:
        chance = RATES[int(vector[0] > 0), OFFERS.index(shown.offer_id)]
        if np.random.default_rng([n, 9]).random() < chance:
            yield {
                "event_id": f"e-{n}", "customer_id": record.customer_id,
                "at": record.at + timedelta(hours=2), "channel": "app", "kind": "redeem",
                "offer_id": shown.offer_id, "decision_id": record.decision_id,
            }  # fmt: skip


def logged(lake: DuckDbLake, records: list[DecisionRecord]) -> None:
    told = [
        {
            "decision_id": r.decision_id, "customer_id": r.customer_id, "at": r.at,
            "channel": r.channel, "known": r.known, "propensity_valid": r.propensity_valid,
            "policy": r.policy.kind, "experiments": "[]",
            "slates": encode(r.slates).decode(), "record": encode(r).decode(),
        }
        for r in records
    ]  # fmt: skip
    redeemed = [row for n, record in enumerate(records) for row in responses(record, n)]
    with lake.write() as write:
        write.merge("decisions", rows("decisions", told))
        write.merge("interactions", rows("interactions", redeemed))


@pytest.mark.slow
def test_the_contest_of_two_models_holds_what_they_truly_would_have_earned(
    shop: DuckDbLake, champion: ResponseModel, challenger: ResponseModel
) -> None:
    known = knowing(shop, Scorer("response@1", champion, SNAPSHOT))
    aside = knowing(shop, None, Policy("rule"))
    records = [decided(known, n) for n in range(1_200)]
    # Drawn by no chance, and of an older release.
    extra = [decided(aside, 3_000), msgspec.structs.replace(decided(known, 3_001), affinity=None)]
    logged(shop, [*records, *extra])
    again = RecordedScores(shop, SETTINGS)
    scores = {
        "champion": again.response("response@1", champion),
        "challenger": again.response("response@2", challenger),
    }

    found = policy_contest(
        shop, EXPLORING, scores["challenger"], scores["champion"], "checkout", UNTIL
    )

    # Source: each customer's own chances under either ranking, by hand.
    truth = {name: np.mean([_truth(told(r), r) for r in records]) for name, told in scores.items()}
    assert (found.decisions, found.not_by_chance, found.unscored) == (1_200, 1, 1)
    assert (found.censored, found.unmatched, found.older) == (0, 0, 0)
    assert found.first is not None
    for part in (found.first, found.slate):
        assert part.challenger.snips is not None
        assert part.champion.snips is not None
        assert part.gain is not None
        assert part.challenger.snips.low < truth["challenger"] < part.challenger.snips.high
        assert part.champion.snips.low < truth["champion"] < part.champion.snips.high
        gain = truth["challenger"] - truth["champion"]
        assert 0 < part.gain.low < gain < part.gain.high
    # By the champion the policy draws as it drew: its value is what was seen.
    earned = sum(1 for n, r in enumerate(records) for _ in responses(r, n)) / len(records)
    assert found.slate.champion.snips is not None
    assert found.slate.champion.snips.value == pytest.approx(earned)
    newest = policy_contest(
        shop, EXPLORING, scores["challenger"], scores["champion"], "checkout", UNTIL, most=500
    )
    assert (newest.decisions + newest.not_by_chance + newest.unscored, newest.older) == (500, 702)


def _truth(scores: Any, record: DecisionRecord) -> float:
    assert record.vector is not None
    rates = RATES[int(float(record.vector[0] or 0) > 0)]
    best = max(scores, key=lambda offer_id: scores[offer_id])
    explore = EXPLORING.exploration
    return float((1 - explore) * rates[OFFERS.index(best)] + explore * rates.mean())


def test_a_policy_that_may_show_nothing_is_asked_on_decisions_of_such_policies_alone(
    shop: DuckDbLake, champion: ResponseModel
) -> None:
    known = knowing(shop, Scorer("response@1", champion, SNAPSHOT))
    logged(shop, [decided(known, n) for n in range(30)])
    again = RecordedScores(shop, SETTINGS).response("response@1", champion)

    found = policy_contest(shop, Policy("uplift", 0.3), again, again, "checkout", UNTIL)

    assert (found.decisions, found.not_by_chance, found.unit) == (0, 30, "money")
    assert found.slate.gain is None
    assert found.slate.challenger.rows == 0


class Flat:
    """Expects the same of every customer, as a model that saw no customers apart."""

    trained = None

    def __init__(self, values: tuple[float, ...]) -> None:
        self.offers, self.names, self.feature_hash = OFFERS, (*CUSTOMER, *CONTEXT_NAMES), HASH
        self._values = values

    def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray:
        return np.tile(self._values, (len(matrix), 1))


class Knowing(Flat):
    """Knows what each offer truly earns with whom."""

    def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray:
        return effects(matrix)


def test_uplift_is_valued_in_money_also_where_nothing_is_shown_on_purpose(
    lake: DuckDbLake,
) -> None:
    flat, knowing_all = Flat((10.0, 5.0, -1.0)), Knowing(())
    drawing = Policy("uplift", 0.6)
    everyone = Experiment(
        key="all", salt="all", control="on",
        variants=[Variant("on", 0.999, policy="uplift"), Variant("off", 0.001, policy="none")],
    )  # fmt: skip
    scorer = UpliftScorer("uplift@1", flat, uplift_shop.SNAPSHOT)
    shop = opened(2_500, lake, everyone, exploration=0.6, uplift=scorer)
    again = RecordedScores(lake, SETTINGS)

    found = policy_contest(
        lake,
        drawing,
        again.uplift("uplift@2", knowing_all),
        checked(again.uplift("uplift@1", flat), "uplift@1"),
        "checkout",
        START + 40 * DAY,
        DAYS,
    )

    # Source: the shop's own effects, over the chances of either ranking's first position.
    vectors = np.array([r.vector for r in shop.records if r.propensity_valid], dtype=np.float64)
    true = np.hstack([effects(vectors), np.zeros((len(vectors), 1))])
    at_random = true.mean(axis=1)
    best = {"flat": true[:, 0], "knowing": np.maximum(true.max(axis=1), 0.0)}
    value = {n: USUAL + float((0.4 * b + 0.6 * at_random).mean()) for n, b in best.items()}
    assert (found.unit, found.first) == ("money", None)
    slate = found.slate
    assert slate.challenger.snips is not None
    assert slate.champion.snips is not None
    assert slate.gain is not None
    assert slate.challenger.snips.low < value["knowing"] < slate.challenger.snips.high
    assert slate.champion.snips.low < value["flat"] < slate.champion.snips.high
    assert slate.gain.low < value["knowing"] - value["flat"] < slate.gain.high
