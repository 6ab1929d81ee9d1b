"""Starting, ramping up and auditing experiments on a real PostgreSQL."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from experiments.design import Experiment, InvalidDesign, Variant, content_hash
from experiments.holdout import HOLDOUT
from experiments.layers import Layer, LayerTaken
from experiments.lock import PlanChanged, check_locked
from experiments.plan import Guardrail
from foundation.decision import Policy, Posterior
from foundation.errors import RegularsError
from foundation.rules import Vocabulary
from regulars.jobs.experiment import set_holdout, start_experiment, waits_for

START = datetime(2026, 11, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("experiment") / "pg") as running:
        yield running


@pytest.fixture
def admin(server: EmbeddedPostgres) -> Iterator[PostgresAdmin]:
    admin = PostgresAdmin(server.url, who="ana")
    yield admin
    for stored in admin.experiments():
        if stored.stopped_at is None and stored.design.key != HOLDOUT:
            admin.stop_experiment(stored.design.key, START)
    admin.close()


def design(key: str, **changed: Any) -> Experiment:
    variants = [Variant("off", 0.5, policy="none"), Variant("on", 0.5)]
    return replace(Experiment(key, key, variants, "off"), **changed)


def test_a_ramp_up_is_stored_beside_the_lock_and_only_grows(admin: PostgresAdmin) -> None:
    locked = start_experiment(admin, design("ramped", exposure=0.05), START).content_hash
    stored = admin.ramp_up("ramped", 0.5, START + HOUR)
    assert stored.design == design("ramped", exposure=0.5)
    assert check_locked(stored.design, stored.content_hash).exposure == 0.5
    assert stored.content_hash == locked
    for share in (0.5, 0.2, 1.5, float("nan")):
        with pytest.raises(RegularsError, match=r"above 0.5"):
            admin.ramp_up("ramped", share, START)
    with pytest.raises(RegularsError, match="'nobody' does not run"):
        admin.ramp_up("nobody", 0.5, START)


def test_a_policy_written_whole_is_locked_with_the_plan(admin: PostgresAdmin) -> None:
    learned = Policy("thompson", 0.1, posteriors={"o-1": Posterior("beta", 2.5, 9.0)})
    variants = [Variant("off", 0.5, policy="none"), Variant("learned", 0.5, policy=learned)]
    start_experiment(admin, design("whole", variants=variants), START)
    [stored] = [one for one in admin.experiments() if one.design.key == "whole"]

    assert stored.design.variants[1].policy == learned
    assert check_locked(stored.design, stored.content_hash) == stored.design
    # Another number is another plan.
    other = Policy("thompson", 0.1, posteriors={"o-1": Posterior("beta", 2.5, 8.0)})
    changed = [variants[0], Variant("learned", 0.5, policy=other)]
    assert content_hash(design("whole", variants=changed)) != stored.content_hash


@pytest.mark.parametrize(
    "policy",
    [
        Policy("uplift", 0.1),
        Policy("none"),
        Policy("mixture", 0.1, parts=(Policy("uplift"), Policy("rule")), weights=(0.5, 0.5)),
    ],
)
def test_what_has_a_word_is_not_written_whole(admin: PostgresAdmin, policy: Policy) -> None:
    variants = [Variant("off", 0.5, policy="none"), Variant("on", 0.5, policy=policy)]
    with pytest.raises(RegularsError, match="is named by its word"):
        start_experiment(admin, design("worded", variants=variants), START)


def test_the_log_says_who_changed_what_and_stays(
    admin: PostgresAdmin, server: EmbeddedPostgres
) -> None:
    start_experiment(admin, design("logged", exposure=0.05), START)
    other = PostgresAdmin(server.url, who="ben")
    other.ramp_up("logged", 0.5, START + HOUR)
    other.stop_experiment("logged", START + 2 * HOUR)
    other.close()
    history = admin.history("logged")
    assert [(entry.at, entry.who, entry.action) for entry in history] == [
        (START, "ana", "start"),
        (START + HOUR, "ben", "ramp-up"),
        (START + 2 * HOUR, "ben", "stop"),
    ]
    assert history[0].after is not None
    assert history[0].after["primary_metric"] == "margin"
    assert (history[1].before, history[1].after) == ({"exposure": 0.05}, {"exposure": 0.5})
    with psycopg.connect(server.url, autocommit=True) as connection:
        for statement in (
            "UPDATE audit_log SET who = 'carl'",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="only added to"):
                connection.execute(statement)
    assert admin.history("logged") == history


def test_what_fails_leaves_no_trace_in_the_log(admin: PostgresAdmin) -> None:
    start_experiment(admin, design("alone"), START)
    with pytest.raises(LayerTaken):
        start_experiment(admin, design("late"), START)
    with pytest.raises(RegularsError, match="does not exist"):
        admin.history("late")
    assert len(admin.history("alone")) == 1


def test_a_locked_plan_is_not_started_otherwise(admin: PostgresAdmin) -> None:
    start_experiment(admin, design("locked"), START)
    changed = design("locked", primary_metric="orders", guardrails=[Guardrail("margin", -1.0)])
    with pytest.raises(RegularsError) as refusal:
        start_experiment(admin, changed, START)
    said = str(refusal.value)
    assert "'locked' runs and its plan is locked" in said
    assert 'primary_metric ("margin" is locked, "orders" is asked for)' in said
    assert "guardrails" in said
    assert "hypothesis" not in said
    assert admin.experiment("locked").design == design("locked")


def test_a_plan_changed_in_the_database_is_found(
    admin: PostgresAdmin, server: EmbeddedPostgres
) -> None:
    start_experiment(admin, design("moved"), START)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE experiments SET document = "
            "jsonb_set(document, '{primary_metric}', '\"orders\"') WHERE key = 'moved'"
        )
    stored = admin.experiment("moved")
    with pytest.raises(PlanChanged, match="changed outside Regulars"):
        check_locked(stored.design, stored.content_hash)


def test_experiments_of_one_layer_run_beside_each_other(admin: PostgresAdmin) -> None:
    start_experiment(admin, design("left", layer=Layer("checkout", 0.0, 0.5)), START)
    start_experiment(admin, design("right", layer=Layer("checkout", 0.5, 1.0)), START)
    with pytest.raises(LayerTaken, match="free is nothing") as refusal:
        start_experiment(admin, design("third", layer=Layer("checkout", 0.4, 0.6)), START)
    assert "'left'" in str(refusal.value)
    assert "'right'" in str(refusal.value)
    # What stopped leaves its range to others.
    admin.stop_experiment("left", START)
    start_experiment(admin, design("third", layer=Layer("checkout", 0.0, 0.5)), START)


def test_an_audience_is_kept_for_the_next_segmentation_while_it_runs(
    admin: PostgresAdmin,
) -> None:
    rule = {"count": {"event": "redeem"}, "is": ">=", "value": 1}
    start_experiment(admin, design("redeemers", audience=rule), START)
    assert admin.audiences() == [rule]
    admin.stop_experiment("redeemers", START)
    assert admin.audiences() == []


KNOWN = Vocabulary(("recency_days",), ("rfm", "lifecycle", "coffee"), counts=())


def test_an_audience_is_judged_before_the_start() -> None:
    fits = design("a", audience={"segment": "rfm", "in": ["Champions"]})
    uncounted = design("a", audience={"count": {"event": "redeem"}, "is": ">=", "value": 1})
    assert waits_for(design("a"), KNOWN) is None
    assert waits_for(fits, KNOWN) is None
    assert "not counted" in str(waits_for(uncounted, KNOWN))
    for rule, words in [
        ({"segment": "rmf", "in": ["Champions"]}, "'rmf' is none of"),
        ({"feature": "recency_days", "is": "<"}, "fit no form"),
        ({"segment": "coffee", "in": ["gold"]}, "'coffee' has no group 'gold'; there are: member"),
    ]:
        with pytest.raises(InvalidDesign, match=words) as refusal:
            waits_for(design("a", audience=rule), KNOWN)
        assert str(refusal.value).startswith("experiment 'a': audience ")
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"guardrails": [Guardrail("smiles", -0.1)]}, "metric 'smiles' is none of margin"),
        ({"secondary_metrics": ["smiles"]}, "metric 'smiles'"),
        ({"salt": "holdout"}, "the global holdout's"),
    ],
)
def test_a_plan_the_house_cannot_keep_is_refused(
    admin: PostgresAdmin, changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(RegularsError, match=words):
        start_experiment(admin, design("refused", **changed), START)


def test_the_holdout_is_set_once_runs_beside_all_and_never_ends(server: EmbeddedPostgres) -> None:
    admin = PostgresAdmin(server.url, who="ana")
    for share in (0.0, 0.51, -0.1, float("nan")):
        with pytest.raises(InvalidDesign, match="holdout of"):
            set_holdout(admin, share, START)
    set_holdout(admin, 0.05, START)
    start_experiment(admin, design("beside"), START)
    with pytest.raises(RegularsError, match="its share is set once"):
        set_holdout(admin, 0.1, START)
    with pytest.raises(RegularsError, match="permanent"):
        admin.stop_experiment(HOLDOUT, START)
    with pytest.raises(RegularsError, match="set once"):
        admin.ramp_up(HOLDOUT, 1.0, START)
    stored = admin.experiment(HOLDOUT)
    assert [variant.weight for variant in stored.design.variants] == [0.05, 0.95]
    assert stored.content_hash == content_hash(stored.design)
    assert [entry.action for entry in admin.history(HOLDOUT)] == ["start"]
    admin.stop_experiment("beside", START)
    admin.close()


def test_without_a_name_the_log_has_the_login(server: EmbeddedPostgres) -> None:
    admin = PostgresAdmin(server.url)
    admin.start_experiment(design("by-login", layer=Layer("own")), START)
    assert admin.history("by-login")[0].who
    admin.stop_experiment("by-login", START)
    admin.close()
