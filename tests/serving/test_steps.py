"""Do the figures of steps say what happened, and does what is documented exist?"""

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest
from structlog.testing import capture_logs

from foundation.decision import Context, DecisionRecord, Placement, Policy, Shown, Slate, Versions
from serving import decision_log, metrics
from serving.decision_log import DegradedLog, deciding, with_decision
from serving.steps import EVERY, STEPS, Steps, Stopwatch

DOCS = Path(__file__).parents[2] / "docs"


def record(causes: list[str] | None = None) -> DecisionRecord:
    slate = Slate("checkout", [Shown("o-1", 1, 0.4, 1.0, None)], 1.0, bool(causes))
    return DecisionRecord(
        decision_id="d-1",
        customer_id="ana",
        at=datetime(2026, 11, 20, tzinfo=UTC),
        channel="app",
        placements=[Placement("checkout", 1)],
        context=Context(store_id=None, basket=None),
        known=True,
        vector=[],
        assignments=[],
        policy=Policy("popular"),
        scores={"o-1": 0.4, "o-2": 0.3},
        refusals={"o-3": "expired"},
        slates=[slate],
        seed=1,
        propensity_valid=True,
        causes=causes or [],
        versions=Versions(1, None, None),
    )


def decision_log_at():
    from datetime import UTC, datetime

    return datetime(2026, 11, 20, tzinfo=UTC)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_one_decision_in_so_many_is_measured_and_its_figures_are_of_it() -> None:
    steps = Steps(None)
    before = counted("regulars_step_seconds_count", step="score")
    judged = counted("regulars_candidate_offers_sum", kind="judged")
    eligible = counted("regulars_candidate_offers_sum", kind="eligible")
    measured = 0
    for _ in range(4 * EVERY):
        watch = steps.watch()
        if watch is not None:
            for step in STEPS:
                watch.lap(step)
            steps.told(watch, record())
            measured += 1
    assert measured == 4
    assert counted("regulars_step_seconds_count", step="score") - before == 4
    assert counted("regulars_candidate_offers_sum", kind="eligible") - eligible == 4 * 2
    assert counted("regulars_candidate_offers_sum", kind="judged") - judged == 4 * 3


def test_steps_follow_each_other_without_a_gap() -> None:
    watch = Stopwatch(in_turn=True, traced=False)
    started = time.perf_counter_ns()
    time.sleep(0.02)
    watch.lap("profile")
    watch.lap("state")
    time.sleep(0.01)
    watch.lap("record")
    (_, began, first), (_, second, third), (_, fourth, ended) = watch.steps()
    assert (first, third) == (second, fourth)
    assert first - began >= 0.02e9
    assert ended - fourth >= 0.01e9
    assert 0 <= third - second < 0.01e9
    assert began <= started
    assert ended <= time.perf_counter_ns()


def test_a_log_line_of_a_request_names_its_decision() -> None:
    deciding("d-7")
    assert with_decision(None, "info", {"event": "x"}) == {"event": "x", "decision_id": "d-7"}
    told = {"event": "x", "decision_id": "d-1"}
    assert with_decision(None, "info", dict(told)) == told


def test_degraded_decisions_are_one_line_a_second_that_counts_them_and_names_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decision_log, "SECONDS_BETWEEN", 0.2)
    with capture_logs() as lines:
        log = DegradedLog()
        log.told(record())
        for _ in range(50):
            log.told(record(["no champion model"]))
        time.sleep(0.25)
        log.told(record(["no champion model"]))
    assert [line["decisions"] for line in lines] == [1, 50]
    assert lines[0]["causes"] == ["no champion model"]
    assert (lines[0]["decision_id"], lines[0]["fallback"]) == ("d-1", True)
    assert "ana" not in str(lines)


def exposed() -> set[str]:
    """Name every metric of ours that this process exposes."""

    assert metrics.DECISIONS is not None
    return {
        sample
        for family in REGISTRY.collect()
        if family.name.startswith("regulars_")
        for sample in ({family.name + "_total"} if family.type == "counter" else {family.name})
    }


def test_every_metric_is_documented_and_none_that_does_not_exist() -> None:
    documented = set(
        re.findall(r"^\| `(regulars_\w+)`", (DOCS / "observability.md").read_text(), re.M)
    )
    assert documented == exposed()


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((DOCS / "grafana.json").read_text())
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"regulars_\w+", target["expr"])
    }
    known = exposed() | {
        f"{name}{end}" for name in exposed() for end in ("_bucket", "_sum", "_count")
    }
    assert asked <= known
    assert len(board["panels"]) == len({panel["title"] for panel in board["panels"]}) == 13
    assert "regulars_spool_waits_seconds" in asked


def test_what_an_outage_counts_is_there_before_the_first_outage() -> None:
    told = set(generate_latest().decode().splitlines())
    for kind in ("decision", "outcome"):
        assert any(line.startswith(f'regulars_spooled_total{{kind="{kind}"}}') for line in told)
        assert any(
            line.startswith(f'regulars_spool_passed_on_total{{kind="{kind}"}}') for line in told
        )
