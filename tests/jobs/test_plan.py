"""A campaign whose best plan is counted by hand: does the job find it, and keep every limit?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import LmdbProfiles, publish_snapshot
from adapters.mlflow_life import MlflowLife
from adapters.mlflow_registry import MlflowRegistry
from adapters.mlflow_uplift import MlflowUplift
from experiments.design import Experiment, Variant
from experiments.holdout import holdout_design, is_held_out
from foundation.contact_policy import Contact
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.contracts import TABLES
from foundation.errors import NothingToDo, RegularsError
from foundation.money import Currency
from foundation.offer import Offer
from foundation.profile import LiveState, Profile
from foundation.scores import Interval
from foundation.settings import ContactTerms, Settings
from foundation.uses import Held
from foundation.uses import Limits as OfferLimits
from recommender.campaign import Campaign, Limits, PlannedOffer
from recommender.exact_plan import exact_plan
from recommender.offer_uplift import OfferUplift
from recommender.policy_value import Choice, Values
from recommender.reference import Distribution, Reference
from recommender.uplift import UpliftModel
from recommender.uplift_evaluation import Evaluation
from recommender.uplift_registry import UpliftReport
from regulars.jobs.candidates import Running
from regulars.jobs.plan import Asked, CampaignPlan, Sources, plan_campaign
from regulars.progress import Progress
from serving.catalogue import Catalogue
from tests.serving.test_scoring import NOW, offer
from tests.snapshots import opened

# What offers cause, in cents: the same for everybody, so that customers differ by what they would
# take with them if they opted out.
AVERAGE, ERROR = {"a": 500.0, "b": 300.0}, {"a": 30.0, "b": 40.0}
TERMS = ContactTerms(cost=0.20, opt_out=0.01)
REMAINING = {"c-1": 0.0, "c-2": 10_000.0, "c-3": 40_000.0, "c-4": 60_000.0}
# So a contact costs 20 and 0, 100, 400, 600: a earns 480, 380, 80 and -120, b 200 less.
A = offer("a", cost=100, popularity=0.5)
B = offer("b", cost=50, popularity=0.2)
HELD_OUT = Interval(34.0, 12.0, 56.0)
USD = Currency("USD")
SILENT = Progress(Console(quiet=True))


@dataclass(frozen=True)
class Registries:
    """The MLflow of a deployment."""

    uplift: MlflowUplift
    response: MlflowRegistry
    life: MlflowLife


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Registries:
    """With a champion whose effects are AVERAGE."""
    folder = tmp_path_factory.mktemp("mlflow")
    at = f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts"
    found = Registries(MlflowUplift(*at), MlflowRegistry(*at), MlflowLife(*at))
    found.uplift.crown(found.uplift.register(report(), "d"))
    return found


def report(
    average: dict[str, float] = AVERAGE,
    error: dict[str, float] = ERROR,
    features: Sequence[str] = ("visits",),
    feature_hash: str = "91bc",
) -> UpliftReport:
    """Return a model that expects the same of everybody, and a judgement that lets it serve."""
    model = UpliftModel.of(
        {
            "average": list(average.values()), "average_error": list(error.values()),
            "scale": {}, "best": "same", "sharpest": "t",
            "n_features": len(features) + len(CONTEXT_NAMES),
            "outcomes": [], "scores": [], "centre": {},
        }
    )  # fmt: skip
    nothing = Interval(0.0, 0.0, 0.0)
    values = Values(nothing, nothing, nothing, nothing, HELD_OUT, nothing)
    choice = Choice("policy", "targeting pays")
    return UpliftReport(
        OfferUplift(model, tuple(average), (*features, *CONTEXT_NAMES), feature_hash, 14),
        Evaluation({}, [], None, values, choice, [], [], [], []),
        nothing, ("random",), 1, {}, {}, 0, {}, NOW,
        Reference({}, Distribution(None, {}), NOW, NOW),
    )  # fmt: skip


@dataclass
class Town:
    """Customers, offers and what the service knows, ready to be planned for."""

    folder: Path
    registries: Registries
    lake: DuckDbLake
    remaining: dict[str, float | None] = field(default_factory=lambda: {**REMAINING})
    visits: dict[str, float] = field(default_factory=dict[str, float])
    members: Sequence[str] = ()
    offers: Sequence[Offer] = (A, B)
    experiments: Sequence[Experiment] = ()
    held: dict[str, Held] = field(default_factory=dict[str, Held])
    states: dict[str, LiveState] = field(default_factory=dict[str, LiveState])
    unknown: Sequence[str] = ()
    # Who answered about e-mail; everybody granted it where nothing is said.
    answered: dict[str, bool] | None = None
    contacts: dict[str, ContactTerms] = field(default_factory=lambda: {"email": TERMS})

    def settings(self) -> Settings:
        return Settings(home=self.folder, database_url=None, contacts=self.contacts)

    def put(self, table: str, rows: list[dict[str, Any]]) -> None:
        with self.lake.write() as write:
            write.merge(table, TABLES[table].from_rows(rows))

    def publish(self) -> LmdbProfiles:
        self.put("customers", [{"customer_id": c} for c in (*self.remaining, *self.unknown)])
        profiles = [
            Profile(
                one, None, None, np.array([self.visits.get(one, 1.0)]),
                {"gold": "member"} if one in self.members else {}, remaining_value=left,
            )
            for one, left in self.remaining.items()
        ]  # fmt: skip
        publish_snapshot(
            self.folder / "snapshots", profiles, as_of=NOW - timedelta(hours=8),
            names=("visits",), feature_hash="91bc", living=("gold",),
        )  # fmt: skip
        return opened(self.folder / "snapshots")

    def sources(self, profiles: LmdbProfiles) -> Sources:
        consents = dict.fromkeys(self.remaining, True) if self.answered is None else self.answered
        states = {
            one: replace(self.states.get(one, LiveState({})), consents={"email": granted})
            for one, granted in consents.items()
        }
        running = Running(Catalogue(1, self.offers, self.experiments), self.held, states)
        known = self.registries
        return Sources(
            self.lake, profiles, known.uplift, known.response, known.life, lambda _: running
        )

    def plan(self, limits: Limits | None = None, **asked: Any) -> CampaignPlan:
        wanted = Asked("email", NOW, limits or Limits(), **asked)
        return plan_campaign(self.sources(self.publish()), wanted, self.settings(), SILENT)


@pytest.fixture
def town(tmp_path: Path, lake: DuckDbLake, registries: Registries) -> Town:
    return Town(tmp_path, registries, lake)


def pairs(made: CampaignPlan) -> set[str]:
    return {f"{offer_id} to {customer_id}" for customer_id, offer_id, _ in made.sent}


def test_everybody_gets_what_earns_most_and_nobody_who_costs_more(town: Town) -> None:
    made = town.plan()

    assert pairs(made) == {"a to c-1", "a to c-2", "a to c-3"}
    assert [margin for _, _, margin in made.sent] == [480, 380, 80]
    assert (made.reached, made.considered) == (3, 4)
    # Source: three sends of offer a, whose average effect has a standard error of 30.
    assert made.earned is not None
    assert made.earned.value == 940
    assert made.earned.high - 940 == pytest.approx(1.959964 * 3 * 30)
    # Below, it allows for a choice among two offers and none: the normal quantile of .025 / 3.
    assert 940 - made.earned.low == pytest.approx(2.393980 * 3 * 30)
    assert made.held_out == HELD_OUT
    assert made.table().to_pydict() == {
        "customer_id": ["c-1", "c-2", "c-3"],
        "offer_id": ["a", "a", "a"],
        "channel": ["email"] * 3,
        "expected_margin": [4.8, 3.8, pytest.approx(0.8)],
    }


@pytest.mark.parametrize(
    ("limits", "best"),
    [
        (Limits(contacts=1), 480),
        (Limits(contacts=2), 860),
        (Limits(contacts=0), 0),
        # Sending a takes .5 x 100 + 20 = 70, b .2 x 50 + 20 = 30: one of each, to c-1 and c-2.
        (Limits(budget=100), 660),
        (Limits(budget=60), 460),
        (Limits(budget=29), 0),
        # Of both offers: 480 + 380 + 80 and 280 + 180.
        (Limits(per_customer=2), 1400),
        (Limits(per_customer=2, contacts=3), 480 + 380 + 280),
    ],
)
def test_under_a_limit_the_plan_is_the_one_counted_by_hand(
    town: Town, limits: Limits, best: float
) -> None:
    made = town.plan(limits)

    assert sum(margin for _, _, margin in made.sent) == pytest.approx(best)


def test_stock_is_what_is_left_and_is_taken_by_the_chance_of_a_redemption(town: Town) -> None:
    # Three uses in all, two are gone; each sending takes .5 of one, so two can be sent.
    town.offers = (replace(A, limits=OfferLimits(cost=100, total_cap=3)),)
    town.held = {"a": Held(uses=2, cost=200)}
    assert pairs(town.plan()) == {"a to c-1", "a to c-2"}

    town.held = {"a": Held(uses=3, cost=300)}
    with pytest.raises(NothingToDo, match=r"no offer can be sent by email .*1 used_up"):
        town.plan()


def test_every_limit_says_in_a_sentence_what_more_of_it_would_earn(town: Town) -> None:
    town.offers = (replace(A, limits=OfferLimits(cost=100, total_cap=1)),)
    lines = town.plan(Limits(budget=100, contacts=2)).told(USD)

    said = "\n".join(lines)
    assert "1 customers are reached" in said
    # Source: with 30 cents of the budget left over, 40 more would send a to c-2 for 380.
    assert "the budget binds: another 1.00 USD would earn about" in said
    assert "the limit of contacts does not bind: 1 of 2 are used" in said
    assert "at most 1 offer a customer" in said
    assert "what it advises earned 0.34 USD [0.12 USD, 0.56 USD] a decision more than none" in said
    assert "assumed: a contact by email costs 0.2 USD and, with a chance of 0.01" in said
    assert "no response model serves" in said


def test_who_may_not_be_reached_is_left_out_and_counted(town: Town) -> None:
    holdout = holdout_design(0.5)
    town.remaining = {f"c-{n}": 0.0 for n in range(60)}
    town.unknown = ["new-1", "new-2"]
    town.experiments = [holdout]
    # Who never answered did not consent.
    town.answered = {"c-1": True, "c-2": False, "c-3": True}

    made = town.plan()

    free = {c for c in ("c-1", "c-3") if not is_held_out(holdout, c)}
    assert pairs(made) == {f"a to {c}" for c in free}
    assert made.left_out == {
        "whom the snapshot does not know": 2,
        "without consent to email": 58,
        **({"to whom an experiment shows none": 2 - len(free)} if len(free) < 2 else {}),
    }


@pytest.mark.parametrize(
    ("at", "contacts", "reason"),
    [
        # Source: by hand. NOW is 17:30 in New York, where quiet hours begin at 21.
        (NOW + timedelta(hours=3, minutes=30), (), "in their quiet hours"),
        (NOW + timedelta(hours=3, minutes=29), (), None),
        (NOW, [1], "contacted as often as a day allows"),
        (NOW, [24, 48, 72], "contacted as often as a week allows"),
        (NOW, [24, 48, 7 * 24], None),
    ],
)
def test_nobody_is_planned_for_whom_the_service_would_not_contact_then(
    town: Town, at: datetime, contacts: Sequence[int], reason: str | None
) -> None:
    told = tuple(Contact("push", at - timedelta(hours=hours)) for hours in contacts)
    town.states = {one: LiveState({}, contacts=told) for one in town.remaining}
    asked = Asked("email", at, Limits())
    made = plan_campaign(town.sources(town.publish()), asked, town.settings(), SILENT)
    assert made.left_out == ({} if reason is None else {reason: 4})


def test_of_an_experiment_nobody_without_offers_gets_one_and_others_only_theirs(town: Town) -> None:
    town.remaining = {f"c-{n}": 0.0 for n in range(40)}
    town.experiments = [
        Experiment(
            "x", "x",
            [Variant("none", 0.5, policy="none"), Variant("only b", 0.5, offers=["b"])],
            control="none",
        )
    ]  # fmt: skip

    made = town.plan()

    assert {offer_id for _, offer_id, _ in made.sent} == {"b"}
    assert made.left_out == {"to whom an experiment shows none": 40 - made.reached}
    assert 10 < made.reached < 30


def test_rules_caps_and_segments_hold_as_online(town: Town) -> None:
    rule = {"feature": "visits", "is": ">=", "value": 2}
    town.offers = (replace(A, eligibility=rule), replace(B, customer_cap=1))
    town.visits = {"c-2": 3.0}
    town.states = {"c-1": LiveState({"b": 1})}

    made = town.plan()

    # c-1 has used b up and may not get a; b would lose on c-3 and c-4, who may not get a either.
    assert pairs(made) == {"a to c-2"}
    assert made.left_out == {"who may get none of the offers": 1}
    town.members = ["c-1"]
    assert pairs(town.plan(segment="gold")) == set()
    with pytest.raises(RegularsError, match=r"segment 'silver' is not in snapshot .*: gold; save"):
        town.plan(segment="silver")


def test_offers_that_cannot_be_sent_are_named_with_the_reason(town: Town) -> None:
    town.offers = (
        A,
        replace(B, valid_from=NOW + timedelta(days=1)),
        offer("c"),
        offer("d", channels=frozenset({"app"})),
        offer("e", eligibility={"feature": "unheard_of", "is": ">=", "value": 2}),
    )

    assert town.plan().refused == {
        "b": "not_started", "c": "not_learned", "d": "wrong_channel", "e": "rule_pending",
    }  # fmt: skip


def test_that_nobody_earns_more_than_she_costs_is_an_answer(town: Town) -> None:
    town.remaining = dict.fromkeys(REMAINING, 60_000.0)

    made = town.plan(Limits(budget=100))

    assert (made.plan, made.sent, made.reached) == (None, [], 0)
    assert "nobody is expected to earn more than she costs" in "\n".join(made.told(USD))
    assert made.table().num_rows == 0


def test_a_value_that_no_model_tells_is_assumed_and_says_so(town: Town) -> None:
    town.remaining = {"c-1": 0.0, "c-2": None}
    settings = town.settings().model_copy(update={"remaining_value": 100.0})

    made = plan_campaign(
        town.sources(town.publish()), Asked("email", NOW, Limits()), settings, SILENT
    )

    # A hundred dollars are ten thousand cents: c-2 of before.
    assert [margin for _, _, margin in made.sent] == [480, 380]
    assert any("100.00 USD for 1 customers whose value no" in one for one in made.assumptions)


def test_without_a_champion_or_a_snapshot_it_says_what_to_run(town: Town, tmp_path: Path) -> None:
    profiles = town.publish()
    at = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts"
    sources = replace(town.sources(profiles), uplift=MlflowUplift(*at))
    asked = Asked("email", NOW, Limits())
    with pytest.raises(NothingToDo, match=r"no uplift model serves.*'regulars train uplift'"):
        plan_campaign(sources, asked, town.settings(), SILENT)

    empty = town.sources(opened(tmp_path / "none"))
    with pytest.raises(RegularsError, match="no customer snapshot is published"):
        plan_campaign(empty, asked, town.settings(), SILENT)


@pytest.mark.parametrize("seed", range(12))
def test_no_limit_is_broken_and_the_plan_is_near_the_best_there_is(town: Town, seed: int) -> None:
    draw = np.random.default_rng(seed)
    n = 60
    left = draw.gamma(1.0, 20_000.0, n)
    town.remaining = {f"c-{i:02}": float(left[i]) for i in range(n)}
    caps = draw.integers(1, 12, 2)
    town.offers = tuple(
        replace(one, limits=OfferLimits(cost=one.cost, total_cap=int(cap)))
        for one, cap in zip((A, B), caps, strict=True)
    )
    limits = Limits(
        budget=int(draw.integers(50, 3_000)),
        contacts=int(draw.integers(1, 50)),
        per_customer=int(draw.integers(1, 3)),
    )

    made = town.plan(limits)

    # The same campaign put together anew, from what stands at the top of this file.
    uses = np.tile([0.5, 0.2], (n, 1))
    costs = uses * [100, 50] + 20
    values = np.array([500.0, 300.0]) - 20 - 0.01 * left[:, None]
    planned = [PlannedOffer(one, int(cap)) for one, cap in zip("ab", caps, strict=True)]
    campaign = Campaign(values, costs, planned, limits, uses)
    best = float(values[exact_plan(campaign)].sum())
    rows = [int(customer_id[2:]) for customer_id, _, _ in made.sent]
    columns = ["ab".index(offer_id) for _, offer_id, _ in made.sent]
    assert limits.budget is not None
    assert limits.contacts is not None
    assert costs[rows, columns].sum() <= limits.budget * (1 + 1e-6)
    assert len(rows) <= limits.contacts
    assert max(np.bincount(rows)) <= limits.per_customer
    assert len(set(zip(rows, columns, strict=True))) == len(rows)
    used = np.bincount(columns, uses[rows, columns], 2)
    assert (used <= caps * (1 + 1e-6)).all()
    assert values[rows, columns].sum() >= 0.995 * best
