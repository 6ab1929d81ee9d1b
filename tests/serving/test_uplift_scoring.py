"""Policy uplift: scores in money from the uplift model, on the hot path as in batch."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest

from experiments.design import Experiment, Variant
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.decision import DecisionRecord, Policy, decode_record, encode
from foundation.errors import RegularsError
from foundation.offer import Offer
from foundation.profile import LiveState, Profile, SnapshotFacts
from foundation.scores import Interval
from recommender.offer_uplift import OfferUplift
from recommender.uplift import UpliftModel, fit_uplift
from recommender.value import FREE, Contact, Contacts, OfferValue
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedPlacement, DecisionRequest
from serving.scoring import ModelMismatch
from serving.uplift_scoring import UpliftScorer
from tests.recommender.uplift_worlds import world
from tests.serving.test_scoring import CUSTOMER, NIGHT, NOW, offer

WIDTH = len(CUSTOMER) + len(CONTEXT_NAMES)
NAMES = (*CUSTOMER, *CONTEXT_NAMES)
SNAPSHOT = SnapshotFacts("2026-11-20.0001", NIGHT, CUSTOMER, "91bc", 2)
OFFERS = [offer("coffee"), offer("bread"), offer("tea", popularity=0.9)]
ZONE = "America/New_York"


@pytest.fixture(scope="module")
def uplift() -> OfferUplift:
    """Two offers whose effects differ by what is known of customers; "tea" was never tried."""
    rows = world(1_500, 2, "split", seed=3).rows
    padded = np.hstack([rows.features[:, 1:4], np.zeros((1_500, WIDTH - 3))])
    fitted = fit_uplift(replace(rows, features=padded), seed=1)
    assert fitted.best != "same"
    return OfferUplift(fitted, ("bread", "coffee"), NAMES, "91bc", 14)


@pytest.fixture(scope="module")
def scorer(uplift: OfferUplift) -> UpliftScorer:
    return UpliftScorer("uplift@3", uplift, SNAPSHOT)


def her(*vector: float) -> Profile:
    return Profile("ana", None, None, np.array(vector), {})


def decided(
    scorer: UpliftScorer | None,
    profile: Profile | None,
    offers: Sequence[Offer] = OFFERS,
    **fields: Any,
) -> DecisionRecord:
    design = Experiment(
        "x", "x", [Variant("some", 0.5, policy="uplift"), Variant("all", 0.5, policy="uplift")],
        control="some",
    )  # fmt: skip
    known = Knowledge(
        Catalogue(3, offers, (design,)).compiled(SNAPSHOT.vocabulary), SNAPSHOT.version, CUSTOMER,
        None, Policy("response", fields.pop("exploration", 0.0)), ZONE, uplift=scorer, **fields,
    )  # fmt: skip
    asked = DecisionRequest("ana", "app", [AskedPlacement("checkout", 3)])
    return decide(asked, profile, LiveState({}), known, decision_id="d", at=NOW, seed=4)


@pytest.mark.parametrize("vector", [(0.0, 1.0, 1.0), (1.0, -2.0, 2.0), (np.nan, 2.0, np.nan)])
def test_the_decision_ranks_by_the_batch_s_own_values_and_says_whose_they_are(
    scorer: UpliftScorer, uplift: OfferUplift, vector: tuple[float, ...]
) -> None:
    moment = context_features("app", NOW, ZONE, None)
    batch = uplift.values(np.array([[*vector, *moment]]))[0].tolist()

    record = decode_record(encode(decided(scorer, her(*vector))))

    assert record.scores == {"coffee": batch[1], "bread": batch[0], "tea": 0.0}
    assert (record.versions.model, record.policy) == ("uplift@3", Policy("uplift"))
    assert record.propensity_valid
    assert record.causes == []
    # "No offer" outranks what earns nothing, and what is not known to earn.
    earning = sorted((s, o) for o, s in record.scores.items() if s > 0)
    assert [o.offer_id for o in record.slates[0].offers] == [o for _, o in reversed(earning)]


def test_a_saved_model_answers_to_the_last_digit_as_before(uplift: OfferUplift) -> None:
    again = OfferUplift.from_text(uplift.to_text())
    matrix = np.random.default_rng(1).normal(size=(200, WIDTH))
    matrix[::7, 1] = np.nan

    np.testing.assert_array_equal(again.values(matrix), uplift.values(matrix))
    for learner in ("same", "t", "dr"):
        np.testing.assert_array_equal(
            again.model.effects(matrix, learner), uplift.model.effects(matrix, learner)
        )
    assert again.model.sharpest == uplift.model.sharpest
    assert (again.offers, again.names) == (uplift.offers, uplift.names)


def test_values_are_the_expected_incremental_margin_of_an_effect_in_money(
    uplift: OfferUplift,
) -> None:
    contact = Contact(3.0, 0.001, 40_000.0)
    matrix = np.random.default_rng(1).normal(size=(5, WIDTH))

    found = uplift.values(matrix, contact)

    effects = uplift.model.effects(matrix)
    for place in np.ndindex(found.shape):
        one = float(effects[place])
        expected = OfferValue(0.0, Interval(one, one, one), 1.0, 0.0, contact).incremental_margin
        assert found[place] == pytest.approx(expected.value)


def test_online_and_in_batch_a_score_is_net_of_what_the_contact_costs_with_her(
    uplift: OfferUplift,
) -> None:
    contacts = Contacts({"app": Contact(cost=0.01, opt_out=0.5)}, remaining_value=0.2)
    netted = UpliftScorer("uplift@3", uplift, SNAPSHOT, contacts)
    free = UpliftScorer("uplift@3", uplift, SNAPSHOT)
    people = [
        replace(her(0.0, n / 10, 1.0), remaining_value=None if n % 3 else n / 20, time_zone=zone)
        for n, zone in enumerate([None, "Europe/Vienna", "nowhere"] * 10)
    ]

    batch = netted.effects_of_many(people, channel="app", at=NOW, time_zone=ZONE)

    for profile, effects in zip(people, batch, strict=True):
        left = 0.2 if profile.remaining_value is None else profile.remaining_value
        zone = profile.time_zone or ZONE
        asked: dict[str, Any] = {"at": NOW, "time_zone": zone, "basket_amounts": None}
        online = netted.scores(profile, OFFERS, channel="app", **asked)
        total = netted.contact("app", profile).total
        assert total == 0.01 + 0.5 * left
        assert [online["bread"], online["coffee"]] == (effects - total).tolist()
        assert online["tea"] == -total
        # Channels without terms cost nothing.
        elsewhere = netted.scores(profile, OFFERS, channel="email", **asked)
        assert elsewhere == free.scores(profile, OFFERS, channel="email", **asked)


def test_a_marketer_s_lever_weighs_the_money_of_its_offer_and_is_recorded(
    scorer: UpliftScorer,
) -> None:
    plain = decided(scorer, her(0.0, 1.0, 1.0))
    first, second, *_ = sorted(plain.scores.items(), key=lambda one: -one[1])
    assert second[1] > 0
    assert first[1] < 4 * second[1]
    weighed = [
        replace(one, lever={first[0]: 0.5, second[0]: 2.0}.get(one.offer_id, 1.0)) for one in OFFERS
    ]

    record = decode_record(encode(decided(scorer, her(0.0, 1.0, 1.0), weighed)))

    assert record.levers == {first[0]: 0.5, second[0]: 2.0}
    assert record.scores == plain.scores | {first[0]: first[1] * 0.5, second[0]: second[1] * 2}
    assert record.slates[0].offers[0].offer_id == second[0]
    assert record.propensity_valid
    assert plain.levers == {}
    # Where the model does not decide, nothing was weighed.
    assert decided(scorer, None, weighed).levers == {}


def test_a_lever_that_overrules_what_was_measured_decides_nothing(scorer: UpliftScorer) -> None:
    record = decided(scorer, her(0.0, 1.0, 1.0), [replace(OFFERS[0], lever=9.0)])

    assert record.slates[0].fallback
    assert record.causes == ["lever 9.0 is out of range; give 0.5 to 2"]


def test_records_of_before_there_were_levers_are_still_read(scorer: UpliftScorer) -> None:
    record = decided(scorer, her(0.0, 1.0, 1.0))
    document = msgspec.json.decode(encode(record))
    del document["levers"]

    assert decode_record(encode(document)) == record


def test_an_offer_that_a_contact_makes_a_loss_loses_to_no_offer(uplift: OfferUplift) -> None:
    free = decided(UpliftScorer("uplift@3", uplift, SNAPSHOT), her(0.0, 1.0, 1.0))
    best = max(free.scores.values())
    assert best > 0

    dear = Contacts({"app": Contact(cost=best)})
    record = decided(UpliftScorer("uplift@3", uplift, SNAPSHOT, dear), her(0.0, 1.0, 1.0))

    assert record.slates[0].offers == []
    assert record.propensity_valid
    assert max(record.scores.values()) == 0.0


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"feature_hash": "3f2a"}, "was trained on features 3f2a, this snapshot has 91bc"),
        ({"names": NAMES[::-1]}, "lists its inputs in another order"),
    ],
)
def test_a_model_of_other_features_is_refused(
    uplift: OfferUplift, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelMismatch, match=said):
        UpliftScorer("uplift@3", replace(uplift, **changed), SNAPSHOT)


def test_without_a_model_or_a_profile_the_popular_are_shown_and_it_says_so(
    scorer: UpliftScorer,
) -> None:
    missing = decided(None, her(1.0, 1.0, 1.0), uplift_fault="no uplift model; train one")
    stranger = decided(scorer, None)

    for record in (missing, stranger):
        assert (record.policy, record.propensity_valid) == (Policy("popular"), False)
        assert record.slates[0].offers[0].offer_id == "tea"
    assert missing.causes == ["no uplift model; train one"]
    assert missing.versions.model is None


def test_a_model_that_answers_no_number_never_decides(uplift: OfferUplift) -> None:
    broken = msgspec.json.decode(msgspec.json.encode(uplift.model.document()))
    broken["average"] = [float("nan"), 1.0]
    model = UpliftModel.of(broken)
    scorer = UpliftScorer("uplift@3", replace(uplift, model=model), SNAPSHOT)

    with pytest.raises(RegularsError, match="which are not all numbers"):
        scorer.scores(
            her(1.0, 1.0, 1.0), OFFERS, channel="app", at=NOW, time_zone=ZONE, basket_amounts=None
        )
    assert decided(scorer, her(1.0, 1.0, 1.0)).slates[0].fallback


def test_no_offer_is_a_candidate_of_exploration_too(scorer: UpliftScorer) -> None:
    record = decided(scorer, her(0.0, 1.0, 1.0), exploration=1.0)

    # Source: three offers and "no offer", each alike, at every position.
    length = len(record.slates[0].offers)
    by_hand = 1.0
    for position in range(length):
        by_hand /= 4 - position
    if length < 3:
        by_hand /= 4 - length
    assert record.slates[0].slate_propensity == pytest.approx(by_hand)


def test_the_moment_reaches_the_model(uplift: OfferUplift) -> None:
    asked: list[np.ndarray] = []

    class Listening(OfferUplift):
        def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray:
            asked.append(matrix)
            return super().values(matrix, contact)

    scorer = UpliftScorer("uplift@3", Listening(**vars(uplift)), SNAPSHOT)
    scorer.scores(
        her(1.0, 2.0, 3.0), OFFERS, channel="till", at=NOW + timedelta(hours=3), time_zone="UTC",
        basket_amounts=[250, 100],
    )  # fmt: skip

    moment = context_features("till", datetime(2026, 11, 21, 1, 30, tzinfo=UTC), "UTC", [350])
    told = dict(zip(NAMES, asked[0][0], strict=True))
    assert told["context_basket_amount"] == 350
    assert told["context_hour"] == dict(zip(CONTEXT_NAMES, moment, strict=True))["context_hour"]
