import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, get_args

import lightgbm
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.assignment import variant_of
from experiments.design import Experiment, Variant
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.counted_events import Count
from foundation.decision import DecisionRecord, Policy, Posterior, decode_record, encode
from foundation.money import InvalidAmount
from foundation.offer import Offer
from foundation.profile import NOTHING_KNOWN, UNCOUNTED, LiveState, Profile, SnapshotFacts
from foundation.uses import Held, Limits
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import offer_feature_names
from recommender.policies import Eligible, draw_slate
from recommender.response import ResponseModel
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide, named_policy
from serving.eligibility import Reason
from serving.messages import DecisionRequest
from serving.scoring import Scorer

NOW = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
CUSTOMER = ("recency_days", "orders_30d", "spend_30d")
NAMES = (*CUSTOMER, *offer_feature_names(["TypeA"]), *AFFINITY_NAMES, *CONTEXT_NAMES)
SNAPSHOT = SnapshotFacts("2026-11-20.0001", NOW - timedelta(hours=14), CUSTOMER, "91bc", 2)
NOTHING = LiveState({})
EXPLORING = Policy("response", 0.2)
ANA = Profile(
    "ana",
    "h-1",
    "America/New_York",
    np.array([3.0, np.nan, 4_500.0]),
    {"rfm": "champions", "lifecycle": "active"},
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


# Better offers have higher rewards for the model, and are less popular.
OFFERS = [offer(f"o-{n}", reward=100.0 * n, popularity=0.9 - 0.1 * n) for n in range(1, 6)]


def trees(names: tuple[str, ...] = NAMES) -> ResponseModel:
    draw = np.random.default_rng(1)
    matrix = draw.normal(size=(2_000, len(names))) * 300
    matrix[draw.random(matrix.shape) < 0.1] = np.nan
    signal = np.nan_to_num(matrix)[:, names.index("offer_reward")]
    outcome = (signal + draw.normal(size=2_000) * 100 > 0).astype(float)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1, "seed": 1},
        lightgbm.Dataset(matrix, outcome),
        num_boost_round=30,
    )
    return ResponseModel("lightgbm", booster, names, "91bc", {})


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer("response@7", trees(), SNAPSHOT)


def knowing(
    scorer: Scorer | None,
    offers: list[Offer] = OFFERS,
    experiments: tuple[Experiment, ...] = (),
    policy: Policy = EXPLORING,
    **fields: Any,
) -> Knowledge:
    catalogue = Catalogue(14, offers, experiments).compiled(SNAPSHOT.vocabulary)
    known = Knowledge(catalogue, SNAPSHOT.version, CUSTOMER, scorer, policy, "America/New_York")
    return replace(known, **fields)


def request(**fields: Any) -> DecisionRequest:
    """A request as it arrives: through JSON."""
    asked = {
        "customer_id": "ana",
        "channel": "app",
        "placements": [{"name": "checkout", "limit": 3}],
    }
    return msgspec.json.decode(json.dumps(asked | fields), type=DecisionRequest)


def decided(
    known: Knowledge,
    profile: Profile | None = ANA,
    state: LiveState = NOTHING,
    seed: int = 1,
    at: datetime = NOW,
    **fields: Any,
) -> DecisionRecord:
    return decide(request(**fields), profile, state, known, decision_id="d-1", at=at, seed=seed)


def shown(record: DecisionRecord) -> list[list[str]]:
    return [[o.offer_id for o in slate.offers] for slate in record.slates]


# ------------------------------------------------------------------------------ which are eligible

SECOND = timedelta(seconds=1)
REFUSED: dict[Reason, Any] = {
    "not_started": {"valid_from": NOW + SECOND},
    "expired": {"valid_to": NOW},
    "wrong_channel": {"channels": frozenset({"email", "till"})},
    "wrong_store": {"stores": frozenset({"s-1", "s-2"})},
    "wrong_placement": {"placements": frozenset({"home"})},
    "rule_pending": {"eligibility": {"feature": "coffees_30d", "is": ">=", "value": 3}},
    "rule_invalid": {"eligibility": {"feature": "recency_days", "is": "about", "value": 3}},
    "not_eligible": {"eligibility": {"feature": "recency_days", "is": ">", "value": 30}},
    "customer_cap_reached": {"customer_cap": 2},
    "cap_reached": {"limits": Limits(100, total_cap=3)},
    "budget_spent": {"limits": Limits(100, budget=399)},
    "out_of_stock": {"limits": Limits(100, store_stock={"s-12": 2, "s-9": 5})},
    # Refused by the experiment below.
    "not_in_variant": {},
}
ALLOWED = {
    "not_started": {"valid_from": NOW},
    "expired": {"valid_to": NOW + SECOND},
    "wrong_channel": {"channels": frozenset({"app", "till"})},
    "wrong_store": {"stores": frozenset({"s-12"})},
    "wrong_placement": {"placements": frozenset({"checkout", "home"})},
    "rule_pending": {"eligibility": {"feature": "spend_30d", "is": ">=", "value": 3}},
    "rule_invalid": {"eligibility": {"segment": "rfm", "in": ["champions"]}},
    "not_eligible": {"eligibility": {"not": REFUSED["not_eligible"]["eligibility"]}},
    "customer_cap_reached": {"customer_cap": 3},
    "cap_reached": {"limits": Limits(100, total_cap=4)},
    "budget_spent": {"limits": Limits(100, budget=400)},
    "out_of_stock": {"limits": Limits(100, store_stock={"s-12": 3})},
}
# Three uses of each are taken already, for 1.00 each, two of them in store s-12.
TAKEN = {reason: Held(3, 300, {"s-12": 2, "s-9": 1}) for reason in REFUSED}
ONLY_ALLOWED = Experiment(
    "sets", "sets",
    [Variant(v, 0.5, offers=["allowed", *(r for r in REFUSED if r != "not_in_variant")])
     for v in ("a", "b")],
    "a",
)  # fmt: skip


def test_every_refusal_reason_is_reached_and_is_the_only_thing_in_the_way(scorer: Scorer) -> None:
    refused = [offer(reason, **fields) for reason, fields in REFUSED.items()]
    known = knowing(scorer, [offer("allowed"), *refused], (ONLY_ALLOWED,), held=TAKEN)
    state = LiveState(dict.fromkeys(REFUSED, 2))

    record = decided(known, state=state, context={"store_id": "s-12"})

    # Where nothing is counted there is another test.
    assert {*REFUSED, "uncountable"} == set(get_args(Reason))
    assert record.refusals == {reason: reason for reason in REFUSED}
    assert list(record.scores) == ["allowed"]
    assert shown(record) == [["allowed"]]
    # Change only what the reason names, and the same offer is eligible.
    mended = [offer(reason, **fields) for reason, fields in ALLOWED.items()]
    record = decided(knowing(scorer, mended, held=TAKEN), state=state, context={"store_id": "s-12"})
    assert record.refusals == {}
    assert set(record.scores) == set(ALLOWED)


def test_while_uses_are_not_counted_no_offer_with_a_limit_is_shown(scorer: Scorer) -> None:
    limited = [
        offer("hers", customer_cap=1),
        offer("few", limits=Limits(100, total_cap=9)),
        offer("paid", limits=Limits(100, budget=900)),
        offer("piled", limits=Limits(100, store_stock={"s-1": 1})),
    ]
    known = knowing(scorer, [offer("free"), *limited])

    assert decided(known).refusals == {}
    found = decided(known, state=UNCOUNTED)
    assert found.refusals == {o.offer_id: "uncountable" for o in limited}
    assert list(found.scores) == ["free"]
    # What was put together while nothing was counted is not kept for when all is again.
    assert decided(known).refusals == {}


def test_an_offer_that_she_holds_a_use_of_is_shown_to_her_whatever_others_took(
    scorer: Scorer,
) -> None:
    last = offer("o", limits=Limits(100, total_cap=1))
    known = knowing(scorer, [last], held={"o": Held(1, 100)})

    assert decided(known).refusals == {"o": "cap_reached"}
    assert decided(known, state=LiveState({}, frozenset({"o"}))).refusals == {}


def test_asked_from_home_an_offer_is_shown_while_any_store_has_a_piece(scorer: Scorer) -> None:
    pieces = offer("o", limits=Limits(100, store_stock={"s-1": 1, "s-2": 1}))

    for taken, refused in (({"s-1": 1}, {}), ({"s-1": 1, "s-2": 1}, {"o": "out_of_stock"})):
        known = knowing(scorer, [pieces], held={"o": Held(2, 200, taken)})
        assert decided(known).refusals == refused


def test_every_offer_is_scored_or_refused_never_both_never_neither(scorer: Scorer) -> None:
    known = knowing(scorer, [*OFFERS, offer("late", valid_from=NOW + SECOND)])

    record = decided(known)

    assert sorted([*record.scores, *record.refusals]) == sorted([*(o.offer_id for o in OFFERS),
                                                                 "late"])  # fmt: skip


def test_an_app_that_does_not_say_its_store_may_show_a_stores_offer(scorer: Scorer) -> None:
    known = knowing(scorer, [offer("o", stores=frozenset({"s-1"}))])

    assert decided(known).refusals == {}
    assert decided(known, context={"store_id": "s-9"}).refusals == {"o": "wrong_store"}


@pytest.mark.parametrize(("used", "refused"), [(0, {}), (1, {"o": "customer_cap_reached"})])
def test_her_own_redemptions_use_up_her_cap(
    scorer: Scorer, used: int, refused: dict[str, str]
) -> None:
    known = knowing(scorer, [offer("o", customer_cap=1)])

    record = decided(known, state=LiveState({"o": used, "another": 9}))

    assert record.refusals == refused


@pytest.mark.parametrize(("told", "refused"), [(0, {}), (1, {"o": "customer_cap_reached"})])
def test_what_she_redeemed_before_the_service_knew_of_it_counts_too(
    scorer: Scorer, told: int, refused: dict[str, str]
) -> None:
    known = knowing(scorer, [offer("o", customer_cap=3)])
    profile = replace(ANA, redemptions={"o": 2, "another": 9})

    record = decided(known, profile=profile, state=LiveState({"o": told}))

    assert record.refusals == refused


def test_a_cap_of_zero_is_never_shown_and_no_cap_always(scorer: Scorer) -> None:
    known = knowing(scorer, [offer("never", customer_cap=0), offer("always")])

    record = decided(known, state=LiveState({"always": 1_000}))

    assert record.refusals == {"never": "customer_cap_reached"}


def test_a_rule_newer_than_the_snapshot_is_pending_also_without_any_snapshot() -> None:
    ruled = offer("o", eligibility={"feature": "recency_days", "is": "<", "value": 30})
    catalogue = Catalogue(1, [ruled], ()).compiled(NOTHING_KNOWN)

    record = decided(knowing(None, catalogue=catalogue, feature_names=()), profile=None)

    assert record.refusals == {"o": "rule_pending"}


def test_a_counted_event_or_segment_newer_than_the_snapshot_is_pending_and_then_decides(
    scorer: Scorer,
) -> None:
    count = Count.of("purchase", {"category": ["COFFEE"]}, 30)
    coffee = {
        "count": {"event": "purchase", "where": {"category": ["COFFEE"]}, "days": 30},
        "is": ">=",
        "value": 3,
    }
    offers = [offer("c", eligibility=coffee), offer("s", eligibility={"segment": "coffee-lovers"})]
    newer = replace(SNAPSHOT, living=("coffee-lovers",), counts=(count.name,))
    lover = replace(ANA, counts={count.name: 3}, segments={"coffee-lovers": "member"})

    def refusals(snapshot: SnapshotFacts, profile: Profile) -> dict[str, str]:
        catalogue = Catalogue(1, offers, ()).compiled(snapshot.vocabulary)
        return decided(knowing(scorer, catalogue=catalogue), profile=profile).refusals

    assert refusals(SNAPSHOT, lover) == {"c": "rule_pending", "s": "rule_pending"}
    assert refusals(newer, ANA) == {"c": "not_eligible", "s": "not_eligible"}
    assert refusals(newer, lover) == {}


# ------------------------------------------------------------------------------------ the ranking


def test_the_model_ranks_for_a_known_customer(scorer: Scorer) -> None:
    record = decided(knowing(scorer, policy=Policy("response")))

    best = sorted(record.scores, key=lambda offer_id: -record.scores[offer_id])
    assert shown(record) == [best[:3]]
    # The model's order, which is not the popular one.
    assert best[-1] == "o-1"
    (slate,) = record.slates
    assert [o.rank for o in slate.offers] == [1, 2, 3]
    assert [o.score for o in slate.offers] == [record.scores[o] for o in best[:3]]
    assert (slate.fallback, slate.slate_propensity) == (False, 1.0)
    assert (record.known, record.propensity_valid, record.causes) == (True, True, [])
    assert record.versions.model == "response@7"


def test_the_score_is_of_this_request(scorer: Scorer) -> None:
    basket = [{"product_id": "p", "quantity": 2, "amount": 4.5}]

    record = decided(knowing(scorer), context={"store_id": "s-12", "basket": basket})

    expected = scorer.scores(
        ANA,
        OFFERS,
        channel="app",
        at=NOW,
        time_zone="America/New_York",
        basket_amounts=[450],
    )
    assert record.scores == expected
    assert record.context.basket is not None
    # Money is minor units from here on.
    assert [(b.product_id, b.quantity, b.amount) for b in record.context.basket] == [("p", 2, 450)]


def test_the_record_keeps_what_was_known_of_her_and_each_offer_whoever_ranks() -> None:
    near = np.array([[0.5, np.nan], [1.5, 2.5]], dtype=np.float32)
    her = replace(ANA, affinity=near)
    places = {"o-5": 0, "o-4": 1}

    for policy in (Policy("popular"), Policy("random", 1.0)):
        known = knowing(None, policy=policy, feature_hash="91bc", places=places)
        record = decided(known, her, placements=PLACES)
        told = {s.offer_id: s.affinity for slate in record.slates for s in slate.offers}
        expected = {"o-5": [0.5, None], "o-4": [1.5, 2.5]}
        assert told == {offer_id: expected.get(offer_id) for offer_id in told}
        assert record.versions.features == "91bc"
    unknown = decided(knowing(None, places=places), None)
    assert all(s.affinity is None for slate in unknown.slates for s in slate.offers)


def test_a_basket_with_parts_of_a_cent_is_refused(scorer: Scorer) -> None:
    with pytest.raises(InvalidAmount, match="more than two decimals"):
        decided(
            knowing(scorer),
            context={"basket": [{"product_id": "p", "quantity": 1, "amount": 4.505}]},
        )


def test_her_own_zone_goes_before_the_chains_and_a_misspelt_one_costs_only_the_hour(
    scorer: Scorer,
) -> None:
    zones = {zone: decided(knowing(scorer), replace(ANA, time_zone=zone)).scores
             for zone in (None, "America/New_York", "Asia/Tokyo", "Mars/Olympus")}  # fmt: skip

    assert zones[None] == zones["America/New_York"]
    assert set(zones["Mars/Olympus"]) == set(zones["Asia/Tokyo"]) == {o.offer_id for o in OFFERS}


# ---------------------------------------------------------------------------------- the fallback


def fallen_back(record: DecisionRecord) -> None:
    """The popular offers, and every part of the record says that they are not chosen for her."""
    assert shown(record) == [["o-1", "o-2", "o-3"]]
    assert [slate.fallback for slate in record.slates] == [True]
    assert record.propensity_valid is False
    assert record.policy == Policy("popular")
    assert record.scores == {o.offer_id: o.popularity for o in OFFERS}


def test_an_unknown_customer_gets_the_popular_offers_and_the_record_says_so(
    scorer: Scorer,
) -> None:
    record = decided(knowing(scorer, policy=Policy("response", 1.0)), profile=None)

    fallen_back(record)
    assert (record.known, record.vector) == (False, None)


def test_without_a_model_everyone_gets_the_popular_offers_and_the_cause_is_told() -> None:
    cause = "no champion model; run 'regulars train response'"

    record = decided(knowing(None, causes=(cause,)))

    fallen_back(record)
    assert record.known
    assert record.causes == [cause]
    assert record.versions.model is None


def test_a_model_that_answers_no_probability_falls_back_and_does_not_fail() -> None:
    class Broken:
        names, feature_hash = NAMES, "91bc"

        def predict(self, matrix: np.ndarray) -> np.ndarray:
            return np.full(len(matrix), np.nan)

    known = knowing(Scorer("response@8", Broken(), SNAPSHOT), causes=("first",))

    record = decided(known)

    fallen_back(record)
    assert record.causes[0] == "first"
    assert record.causes[1].startswith("model 'response@8' answered nan for offer 'o-1'")
    # What is known in memory is nobody's to change.
    assert known.causes == ("first",)


@pytest.mark.parametrize("policy", ["popular", "random", "none"])
def test_a_policy_that_needs_no_model_draws_as_itself_for_unknown_customers(policy: str) -> None:
    record = decided(knowing(None, policy=named_policy(policy, 0.2)), profile=None)

    assert record.propensity_valid is True
    assert record.policy.kind == policy
    assert not any(slate.fallback for slate in record.slates)


def test_a_holdout_sees_nothing_and_that_was_certain(scorer: Scorer) -> None:
    for profile in (ANA, None):
        record = decided(knowing(scorer, policy=Policy("none")), profile)

        assert shown(record) == [[]]
        assert record.slates[0].slate_propensity == 1.0
        assert record.propensity_valid is True
        # What she could have seen is known all the same.
        assert set(record.scores) == {o.offer_id for o in OFFERS}


# ---------------------------------------------------------------------------------- experiments


def design(key: str = "test", **fields: Any) -> Experiment:
    variants = fields.pop("variants", [Variant("a", 0.5, policy="none"), Variant("b", 0.5)])
    return Experiment(key, key, variants, variants[0].name, **fields)


def test_each_variant_gets_its_policy_and_the_assignment_is_recorded(scorer: Scorer) -> None:
    experiment = design(
        variants=[Variant(kind, 0.25, policy=kind) for kind in ("response", "popular", "random",
                                                                "none")]
    )  # fmt: skip
    known = knowing(scorer, experiments=(experiment,))
    seen = Counter[str]()

    for number in range(400):
        customer_id = f"c-{number}"
        record = decided(known, replace(ANA, customer_id=customer_id), customer_id=customer_id)
        (assigned,) = record.assignments
        # Source: the published assignment.
        assert assigned.variant == variant_of(experiment, customer_id).name == record.policy.kind
        assert (assigned.key, assigned.unit) == ("test", customer_id)
        seen[assigned.variant] += 1

    assert min(seen.values()) > 60
    # A variant's policy explores as the default does, where there is anything to explore.
    assert {k: named_policy(k, 0.2).exploration for k in seen} == {
        "response": 0.2,
        "popular": 0.2,
        "random": 1.0,
        "none": 0.0,
    }


def test_a_variant_with_an_empty_list_of_offers_shows_none(scorer: Scorer) -> None:
    experiment = design(variants=[Variant("a", 1 - 1e-9, offers=[]), Variant("b", 1e-9)])

    record = decided(knowing(scorer, experiments=(experiment,)))

    assert shown(record) == [[]]
    assert set(record.refusals.values()) == {"not_in_variant"}
    assert record.slates[0].slate_propensity == 1.0


def test_a_variant_without_a_list_shows_every_offer(scorer: Scorer) -> None:
    experiment = design(variants=[Variant("a", 1 - 1e-9), Variant("b", 1e-9, offers=["o-1"])])

    record = decided(knowing(scorer, experiments=(experiment,)))

    assert record.refusals == {}


def test_experiments_on_other_channels_do_not_assign(scorer: Scorer) -> None:
    experiment = design(
        channels=["email", "till"],
        variants=[Variant("a", 0.5, policy="none"), Variant("b", 0.5, offers=[])],
    )
    known = knowing(scorer, experiments=(experiment,))

    record = decided(known)

    assert record.assignments == []
    assert (record.policy.kind, record.refusals) == ("response", {})
    assert [a.key for a in decided(known, channel="till").assignments] == ["test"]


def test_a_household_stays_together_and_who_has_none_stays_outside(scorer: Scorer) -> None:
    experiment = design(unit="household")
    known = knowing(scorer, experiments=(experiment,))
    variants = set[str]()

    for home in range(40):
        told = {
            assigned.variant
            for member in ("x", "y", "z")
            for assigned in decided(
                known,
                replace(ANA, customer_id=f"{member}-{home}", household_id=f"h-{home}"),
                customer_id=f"{member}-{home}",
            ).assignments
        }
        assert told == {variant_of(experiment, f"h-{home}").name}
        variants |= told

    assert variants == {"a", "b"}
    for outside in (None, replace(ANA, household_id=None)):
        record = decided(known, outside)
        assert record.assignments == []
    assert decided(known).assignments[0].unit == "h-1"


# ---------------------------------------------------------------------------- several placements

GROUPED = [
    offer("a", exclusive_group="coffee"),
    offer("b", exclusive_group="coffee", popularity=0.3),
    offer("c", exclusive_group="bakery", popularity=0.5),
    offer("d", popularity=0.4),
    offer("e", placements=frozenset({"home"}), popularity=0.9),
]
PLACES = [{"name": "checkout", "limit": 2}, {"name": "home", "limit": 2}, {"name": "third"}]


@given(st.integers(0, 2**53 - 1), st.sampled_from([0.0, 0.3, 1.0]))
def test_placements_of_one_answer_never_repeat_an_offer_or_an_exclusive_group(
    seed: int, exploration: float
) -> None:
    known = knowing(None, GROUPED, policy=Policy("popular", exploration))

    record = decided(known, seed=seed, placements=PLACES)

    every = [offer_id for slate in shown(record) for offer_id in slate]
    assert len(set(every)) == len(every)
    assert len({"a", "b"} & set(every)) <= 1
    assert [slate.placement for slate in record.slates] == ["checkout", "home", "third"]
    assert all(len(slate) <= limit for slate, limit in zip(shown(record), (2, 2, 1), strict=True))
    # An offer for one spot appears in no other.
    assert all("e" not in slate for slate in (shown(record)[0], shown(record)[2]))


def test_each_placements_propensity_is_given_the_ones_before_it() -> None:
    known = knowing(None, GROUPED, policy=Policy("popular", 0.6))
    asked = request(placements=PLACES)
    n = 12_000
    answers = Counter[tuple[tuple[str, ...], ...]]()
    recorded: dict[tuple[tuple[str, ...], ...], float] = {}
    for seed in range(n):
        record = decide(asked, ANA, NOTHING, known, decision_id="d", at=NOW, seed=seed)
        answer = tuple(tuple(slate) for slate in shown(record))
        product = 1.0
        for slate in record.slates:
            product *= slate.slate_propensity
        assert recorded.setdefault(answer, product) == pytest.approx(product)
        answers[answer] += 1

    # The chance of a whole answer is the product over its placements.
    assert sum(recorded.values()) == pytest.approx(1)
    found = stats.chisquare(list(answers.values()), [recorded[answer] * n for answer in answers])
    assert found.pvalue > 0.001


def test_a_placement_asked_for_twice_is_refused() -> None:
    twice = [{"name": "checkout"}, {"name": "home"}, {"name": "checkout", "limit": 2}]

    with pytest.raises(msgspec.ValidationError, match="placement 'checkout' is asked for twice"):
        request(placements=twice)


# ----------------------------------------------------------------------------------- the record


def test_a_record_survives_json_to_the_last_bit(scorer: Scorer) -> None:
    known = knowing(scorer, experiments=(design(),), causes=("a cause",))
    for profile in (ANA, None):
        record = decided(
            known,
            profile,
            placements=PLACES,
            at=NOW + timedelta(microseconds=123_456),
            context={"store_id": "s-1", "basket": [{"product_id": "p", "quantity": 0.3,
                                                    "amount": 1.1}]},
        )  # fmt: skip
        text = encode(record)

        assert decode_record(text) == record
        # As PostgreSQL's json column gives it back.
        assert decode_record(text.decode()) == record
        assert encode(decode_record(text)) == text
        # Strict JSON: what is unknown is null, never NaN.
        json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_vector_is_recorded_once_with_null_for_unknown(scorer: Scorer) -> None:
    assert decided(knowing(scorer)).vector == [3.0, None, 4_500.0]


def replayed(record: DecisionRecord, catalogue: Catalogue) -> list[list[str]]:
    """Draw again from what the record holds, with the offers of the catalogue it names."""
    offers = {o.offer_id: o for o in catalogue.offers}
    random, slates, taken = Random(record.seed), [], set[str]()
    for placement in record.placements:
        groups = {offers[i].exclusive_group for i in taken} - {None}
        left = [
            Eligible(o.offer_id, o.priority, o.exclusive_group)
            for o in (offers[offer_id] for offer_id in record.scores)
            if o.offer_id not in taken
            and o.exclusive_group not in groups
            and (not o.placements or placement.name in o.placements)
        ]
        drawn = draw_slate(record.policy, left, record.scores, placement.limit, random)
        slates.append([o.offer_id for o in drawn.offers])
        taken |= {o.offer_id for o in drawn.offers}
    return slates


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**53 - 1), st.sampled_from(["response", "popular", "random", "none"]),
       st.booleans())  # fmt: skip
def test_a_record_replays_to_the_same_slates_from_its_own_seed(
    seed: int, kind: str, is_known: bool
) -> None:
    model = Scorer("response@7", MODEL, SNAPSHOT)
    known = knowing(model, [*GROUPED, *OFFERS], policy=named_policy(kind, 0.5))
    profile = ANA if is_known else None
    record = decided(known, profile, seed=seed, placements=PLACES)

    stored = decode_record(encode(record))

    assert replayed(stored, known.catalogue) == shown(record)
    # And from the start: the same question, knowledge and seed decide the same.
    assert decided(known, profile, seed=stored.seed, placements=PLACES) == record


MODEL = trees()


def test_other_seeds_explore_other_slates(scorer: Scorer) -> None:
    known = knowing(scorer, policy=Policy("response", 1.0))

    slates = {tuple(shown(decided(known, seed=seed))[0]) for seed in range(300)}

    # 5 x 4 x 3 of them.
    assert len(slates) > 50


def test_the_order_of_the_catalogue_decides_nothing(scorer: Scorer) -> None:
    known = knowing(scorer, policy=Policy("response", 0.7))
    turned = knowing(scorer, OFFERS[::-1], policy=Policy("response", 0.7))

    for seed in range(50):
        assert shown(decided(known, seed=seed)) == shown(decided(turned, seed=seed))


def test_a_decision_changes_nothing_of_what_it_was_given(scorer: Scorer) -> None:
    known, state = knowing(scorer, experiments=(design(),)), LiveState({"o-1": 1})
    vector, used = ANA.vector.copy(), dict(state.redemptions)

    first = decided(known, state=state)
    first.causes.append("changed")
    first.scores.clear()

    np.testing.assert_array_equal(ANA.vector, vector)
    assert state.redemptions == used
    again = decided(known, state=state)
    assert again.causes == []
    assert len(again.scores) == 5


def test_an_empty_catalogue_is_answered_with_empty_slates(scorer: Scorer) -> None:
    record = decided(knowing(scorer, []), placements=PLACES)

    assert shown(record) == [[], [], []]
    assert [slate.slate_propensity for slate in record.slates] == [1.0] * 3


def test_a_rule_draws_as_itself_and_replays(scorer: Scorer) -> None:
    known = knowing(scorer, policy=Policy("rule", 0.3, order=("o-4", "o-2")))

    records = [decided(known, profile=None, seed=seed) for seed in range(40)]

    assert ["o-4", "o-2", "o-1"] in [shown(record)[0] for record in records]
    for record in records:
        assert record.propensity_valid
        assert replayed(decode_record(encode(record)), known.catalogue) == shown(record)


@pytest.mark.parametrize(
    ("policy", "cause"),
    [
        (Policy("uplift", 0.1), "no uplift model; run 'regulars train uplift'"),
        (
            Policy("thompson", posteriors={"o-1": Posterior("beta", 1, 1)}),
            "no posterior for offer 'o-2'",
        ),
    ],
)
def test_a_policy_that_cannot_choose_falls_back_and_says_why(
    scorer: Scorer, policy: Policy, cause: str
) -> None:
    record = decided(knowing(scorer, policy=policy))

    assert (record.propensity_valid, record.policy) == (False, Policy("popular"))
    assert cause in record.causes[0]
    assert record.slates[0].fallback


def test_a_variant_may_carry_its_policy_whole(scorer: Scorer) -> None:
    beliefs = {f"o-{n}": Posterior("beta", n, 10.0) for n in range(1, 6)}
    learned = Policy("thompson", 0.2, posteriors=beliefs)
    variants = [Variant("learned", 1 - 1e-9, policy=learned), Variant("rest", 1e-9)]
    known = knowing(scorer, experiments=(design(variants=variants),))
    records = [decided(known, seed=seed) for seed in range(2_000)]

    assert {record.policy.kind for record in records} == {"thompson"}
    assert records[0].policy == learned
    first = Counter(record.slates[0].offers[0].offer_id for record in records)
    said = {r.slates[0].offers[0].offer_id: r.slates[0].offers[0].propensity for r in records}
    for offer_id, chance in said.items():
        error = 4 * np.sqrt(chance * (1 - chance) / len(records))
        assert first[offer_id] / len(records) == pytest.approx(chance, abs=error)
    assert replayed(decode_record(encode(records[0])), known.catalogue) == shown(records[0])


def test_a_mixture_of_the_model_and_beliefs_is_recorded_whole(scorer: Scorer) -> None:
    beliefs = {f"o-{n}": Posterior("beta", n, 10.0) for n in range(1, 6)}
    mixed = Policy(
        "mixture",
        0.1,
        parts=(Policy("response"), Policy("thompson", posteriors=beliefs)),
        weights=(0.5, 0.5),
    )
    known = knowing(scorer, policy=mixed)
    record = decode_record(encode(decided(known)))

    assert record.policy == mixed
    assert record.propensity_valid
    assert replayed(record, known.catalogue) == shown(record)
