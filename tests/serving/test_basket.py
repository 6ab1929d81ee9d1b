"""A basket at the till: is it in the scores, in the record and in what is learned, and the same?"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from math import log, sqrt
from typing import Any

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import LmdbProfiles, publish_snapshot
from foundation.contracts import TABLES
from foundation.decision import DecisionRecord, Policy
from foundation.offer import read_offer
from foundation.profile import LiveState, Profile
from foundation.settings import Settings
from recommender.affinity import BASKET
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.evaluation import compare_auc
from recommender.exposures import TrainingFrame
from recommender.next_products import Complement, Known, NextProducts
from recommender.recorded_exposures import recorded_exposures
from recommender.response import split
from recommender.response_model import fit_response_model
from regulars.jobs.publish import catalogue_offers
from regulars.jobs.recorded_scores import RecordedScores
from serving.basket import with_basket
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedContext, AskedLine, AskedPlacement, DecisionRequest
from serving.scoring import Scorer
from tests.jobs.uplift_shop import DAY, FEATURES, HASH, NAMES, START, WIDTH, ZONE, offer_row
from tests.jobs.uplift_shop import decision_row as row_of
from tests.snapshots import opened

# Coffee goes with milk and with sugar, tea with lemons.
GOES_WITH = {"coffee": {"milk": 3.0, "sugar": 2.0}, "tea": {"lemon": 4.0}}
OFFERS = {"dairy": ["milk", "cream"], "sweet": ["sugar"], "fruit": ["lemon"], "all": []}
SERVED = NextProducts(
    {
        name: Known(None, tuple(Complement(o, 0.1, log(lift), lift) for o, lift in others.items()))
        for name, others in GOES_WITH.items()
    }
)
SERVED_HERE = SERVED.with_offers(list(OFFERS.values()))
NEAR = np.arange(len(OFFERS) * len(AFFINITY_NAMES), dtype=np.float32).reshape(len(OFFERS), -1)
NEAR[:, BASKET] = np.nan


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> LmdbProfiles:
    folder = tmp_path_factory.mktemp("snapshot")
    publish_snapshot(
        folder,
        [Profile("ana", None, None, np.zeros(WIDTH), {}, affinity=NEAR)],
        as_of=START - DAY,
        names=NAMES,
        feature_hash=HASH,
        next_products=SERVED_HERE,
        offers=list(OFFERS),
    )
    return opened(folder)


def ana(snapshot: LmdbProfiles) -> Profile:
    found = snapshot.get("ana")
    assert found is not None
    return found


def test_a_profile_learns_how_well_each_offer_goes_with_the_basket(snapshot: LmdbProfiles) -> None:
    before = ana(snapshot)
    now = with_basket(before, ["coffee", "tea", "coffee"], SERVED_HERE, len(OFFERS))

    # Source: lifts by hand, over the root of two products.
    told = np.array([log(3), log(2), log(4), 0]) / sqrt(2)
    assert now.affinity[:, BASKET] == pytest.approx(told)
    assert np.isnan(before.affinity[:, BASKET]).all()
    others = np.arange(len(AFFINITY_NAMES)) != BASKET
    assert (now.affinity[:, others] == NEAR[:, others]).all()
    # Of whom nothing else is known, what is in her basket is.
    unknown = replace(before, affinity=np.empty((0, 0), dtype=np.float32))
    found = with_basket(unknown, ["tea"], SERVED_HERE, len(OFFERS)).affinity
    assert found[:, BASKET] == pytest.approx([0, 0, log(4), 0])
    assert np.isnan(found[:, others]).all()


def test_a_snapshot_of_before_baskets_is_left_as_it_is(snapshot: LmdbProfiles) -> None:
    old = replace(ana(snapshot), affinity=NEAR[:, :-1])
    assert with_basket(old, ["coffee"], SERVED_HERE, len(OFFERS)) is old


# ------------------------------------------------------------------------------- what is learned

# Shown what goes with her basket she redeems with .5, else with .1.
GOES, DOES_NOT = 0.5, 0.1


def baskets(n: int) -> Iterator[list[str] | None]:
    """Coffee, tea, neither, and no basket at all by chance; all are alike in lines and money."""
    draw = np.random.default_rng(4)
    kinds: list[list[str] | None] = [["coffee", "nut"], ["tea", "nut"], ["nut", "oil"], None]
    for kind in draw.integers(0, len(kinds), n):
        yield kinds[kind]


def shopped(
    lake: DuckDbLake, snapshot: LmdbProfiles, known: Knowledge, n: int
) -> list[DecisionRecord]:
    """Decide for n customers, each once, and tell the lake who redeemed."""
    draw = np.random.default_rng(9)
    records: list[DecisionRecord] = []
    redeemed: list[dict[str, Any]] = []
    for i, basket in enumerate(baskets(n)):
        at = START + i * timedelta(minutes=20)
        profile = replace(ana(snapshot), customer_id=f"c-{i}")
        if basket is not None:
            profile = with_basket(profile, basket, SERVED_HERE, len(OFFERS))
        lines = None if basket is None else [AskedLine(one, 1, 2.5) for one in basket]
        asked = DecisionRequest(
            f"c-{i}", "app", [AskedPlacement("checkout", 1)], AskedContext(basket=lines)
        )
        record = decide(asked, profile, LiveState({}), known, decision_id=f"d-{i}", at=at, seed=i)
        records.append(record)
        shown = record.slates[0].offers[0].offer_id
        company = {o for name in basket or () for o in GOES_WITH.get(name, ())}
        if draw.random() < (GOES if company & set(OFFERS[shown]) else DOES_NOT):
            redeemed.append(
                {
                    "event_id": f"d-{i}-redeem", "at": at + timedelta(hours=1), "channel": "app",
                    "customer_id": f"c-{i}", "kind": "redeem", "offer_id": shown,
                    "decision_id": f"d-{i}",
                }
            )  # fmt: skip
    with lake.write() as write:
        write.merge("decisions", TABLES["decisions"].from_rows([row_of(r) for r in records]))
        write.merge("interactions", TABLES["interactions"].from_rows(redeemed))
    return records


def without_baskets(frame: TrainingFrame) -> TrainingFrame:
    matrix = frame.matrix.copy()
    matrix[:, frame.names.index("affinity_basket")] = np.nan
    return replace(frame, matrix=matrix)


def test_what_goes_with_the_basket_is_learned_from_decisions_and_scored_the_same(
    lake: DuckDbLake, snapshot: LmdbProfiles
) -> None:
    with lake.write() as write:
        offers = [offer_row(name, scope=scope) for name, scope in OFFERS.items()]
        write.merge("offers", TABLES["offers"].from_rows(offers))
    known = knowing(lake, snapshot, None, Policy("random", 1.0))
    records = shopped(lake, snapshot, known, 3_000)
    frame = recorded_exposures(lake, FEATURES, START + 60 * DAY, ZONE)
    assert (len(frame.rows), frame.outdated) == (3_000, 0)
    # What was recorded is what was known: missing where there was no basket.
    told = frame.matrix[:, frame.names.index("affinity_basket")]
    asked = np.array([r.context.basket is not None for r in records])
    assert (np.isnan(told) == ~asked).all()

    earlier, later = split(frame, START + 28 * DAY)
    assert min(len(earlier.rows), len(later.rows)) > 500
    model = fit_response_model("lightgbm", earlier, [], HASH, seed=1).model
    plain = fit_response_model("lightgbm", without_baskets(earlier), [], HASH, seed=1).model
    scores = {
        "with": model.predict(later.matrix),
        "without": plain.predict(without_baskets(later).matrix),
    }
    customers = later.rows["customer_id"].to_numpy()
    found = compare_auc(later.outcome, scores, customers, "without", seed=1, rounds=200)
    assert found.gain["with"].low > 0.02
    # Few trees shrink it, but it stands where it was planted.
    goes = later.matrix[:, later.names.index("affinity_basket")] > 0
    assert scores["with"][goes].mean() > 2.5 * scores["with"][~goes].mean()

    # The service scores by it, and a record again to the last bit.
    scorer = Scorer("response@1", model, facts_of(snapshot))
    served = knowing(lake, snapshot, scorer, Policy("response", 0.1))
    coffee = with_basket(ana(snapshot), ["coffee"], SERVED_HERE, len(OFFERS))
    ask = DecisionRequest(
        "ana", "app", [AskedPlacement("checkout", 2)],
        AskedContext(basket=[AskedLine("coffee", 1, 2.5)]),
    )  # fmt: skip
    record = decide(ask, coffee, LiveState({}), served, decision_id="d", at=START, seed=3)
    told = record.scores
    assert min(told["dairy"], told["sweet"]) > 2 * max(told["fruit"], told["all"])
    again = RecordedScores(lake, Settings(time_zone=ZONE)).response("response@1", model)
    assert again(record) == told


def facts_of(snapshot: LmdbProfiles) -> Any:
    facts = snapshot.facts()
    assert facts is not None
    return facts


def knowing(
    lake: DuckDbLake, snapshot: LmdbProfiles, scorer: Scorer | None, policy: Policy
) -> Knowledge:
    facts = facts_of(snapshot)
    return Knowledge(
        Catalogue(1, [read_offer(row, 0.1) for row in catalogue_offers(lake)], ()).compiled(
            facts.vocabulary
        ),
        facts.version,
        facts.names,
        scorer,
        policy,
        ZONE,
        feature_hash=facts.feature_hash,
        places=facts.places,
    )
