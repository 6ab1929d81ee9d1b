"""Are a money ranking's factors its own score, and does the basket stand where it belongs?"""

from math import prod

import msgspec
import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.decision import BasketLine, Context, DecisionRecord, Policy, Versions
from foundation.errors import RegularsError
from foundation.settings import Settings
from recommender.affinity import BASKET
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import offer_feature_names
from recommender.value import FREE, Contact
from regulars.jobs.arbitration import arbitration, recorded_decision
from regulars.jobs.recorded_scores import RecordedScores, Scores
from serving.uplift_scoring import UpliftScorer
from tests.jobs.uplift_shop import HASH, NAMES, OFFERS, SNAPSHOT, ZONE, design, opened

NEVER, USUAL, WITH_BASKET = 0.0, 0.02, 0.08
EARNED = {"a": 10.0, "b": 5.0, "c": -1.0}


class Responses:
    """Redemptions come of what goes with the basket, and never of the offer that costs most."""

    names = (*NAMES, *offer_feature_names([]), *AFFINITY_NAMES, *CONTEXT_NAMES)
    feature_hash = HASH

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        goes = matrix[:, self.names.index("affinity_basket")]
        return np.where(goes > 0, WITH_BASKET, np.where(goes < 0, NEVER, USUAL))


class Earning:
    """Expects EARNED of every customer."""

    offers, names, feature_hash, trained = OFFERS, (*NAMES, *CONTEXT_NAMES), HASH, None

    def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray:
        return np.tile(list(EARNED.values()), (len(matrix), 1)) - contact.total


@pytest.fixture
def response(lake: DuckDbLake) -> Scores:
    opened(5, lake, design("uplift"), uplift=UpliftScorer("uplift@1", Earning(), SNAPSHOT))
    return RecordedScores(lake, Settings(time_zone=ZONE)).response("response@1", Responses())


def ranked(lake: DuckDbLake) -> DecisionRecord:
    """A decision by uplift, at the till with a basket that offer b goes with; b is levered."""
    table = lake.fetch(lake.table("decisions").filter(lambda t: t.policy == "uplift"))
    record = recorded_decision(lake, table["decision_id"][0].as_py())
    near = np.full((3, len(AFFINITY_NAMES)), np.nan, dtype="<f4")
    near[:, BASKET] = [{"a": 0.0, "b": 1.5, "c": -1.0}[one] for one in record.scores]
    return msgspec.structs.replace(
        record,
        context=Context(None, [BasketLine("coffee", 1, 250)]),
        affinity=near.tobytes(),
        scores={one: value * (2.0 if one == "b" else 1.0) for one, value in record.scores.items()},
        levers={"b": 2.0},
    )


def test_the_factors_multiply_to_the_score_that_ranked(lake: DuckDbLake, response: Scores) -> None:
    record = ranked(lake)
    found = arbitration(record, response)

    assert list(found) == sorted(EARNED, key=lambda one: -record.scores[one])
    for offer_id, one in found.items():
        assert one.score == pytest.approx(record.scores[offer_id])
    # By hand: the basket makes four times the usual 2 % of b, whose 5 are 62.50 a response.
    b = found["b"]
    assert (b.response, b.context, b.lever) == pytest.approx((USUAL, 4.0, 2.0))
    assert b.value == pytest.approx(5 / WITH_BASKET)
    assert prod((b.response, b.context, b.value, b.lever)) == pytest.approx(10.0)
    assert (found["a"].context, found["a"].lever) == (1.0, 1.0)
    # Nobody redeems c there: what it costs is all that is left of it.
    assert (found["c"].response, found["c"].without_response) == (0.0, -1.0)


def test_what_did_not_rank_in_money_or_is_not_known_any_more_is_refused(
    lake: DuckDbLake, response: Scores
) -> None:
    record = ranked(lake)
    popular = msgspec.structs.replace(record, policy=Policy("popular"))
    with pytest.raises(RegularsError, match="drawn by policy popular, which does not rank in"):
        arbitration(popular, response)
    old = msgspec.structs.replace(record, versions=Versions(1, "uplift@1", "s-0", "older"))
    with pytest.raises(RegularsError, match="cannot be scored again"):
        arbitration(old, response)
    with pytest.raises(RegularsError, match="decision 'nothing' is not in the lake"):
        recorded_decision(lake, "nothing")
