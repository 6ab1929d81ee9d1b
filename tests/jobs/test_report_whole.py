"""Does a report say what was planted: verdict, guardrails, health, segments, time?"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from experiments.analysis import Always
from experiments.design import Experiment, Variant
from experiments.holdout import holdout_design
from experiments.plan import Guardrail, StopRule
from experiments.report import Report, planned_looks, summary_lines
from experiments.report_words import metric_lines, segment_lines
from foundation.contracts import TABLES
from foundation.errors import NothingToDo
from foundation.money import Currency
from regulars.jobs.assigned import assigned_units
from regulars.jobs.earned import margin_by, with_metrics
from regulars.jobs.report import experiment_report
from regulars.jobs.segments_before import segments_before

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PEOPLE = [(f"c-{n:03}", "on" if n % 2 else "off") for n in range(240)]


def plan(**changed: Any) -> Experiment:
    whole: dict[str, Any] = {
        "key": "latte",
        "salt": "latte",
        "variants": [Variant("off", 0.5, policy="none"), Variant("on", 0.5, offers=["o-1"])],
        "control": "off",
        "guardrails": [Guardrail("orders", -0.5)],
        "segments": ["lifecycle"],
        "minimum_effect": 0.5,
        "method": "sequential",
        "stop": StopRule(days=21, units=240),
    }
    return Experiment(**{**whole, **changed})


def put(lake: DuckDbLake, table: str, *rows: dict[str, Any]) -> None:
    with lake.write() as write:
        merged = write.merge(table, TABLES[table].from_rows(rows))
    assert merged.conflicts == ()


def decided(customer_id: str, variant: str, at: datetime = START) -> dict[str, Any]:
    assigned = [{"key": "latte", "variant": variant, "unit": customer_id}]
    return {
        "decision_id": f"d-{customer_id}", "customer_id": customer_id, "at": at, "channel": "app",
        "known": True, "propensity_valid": True, "policy": "response",
        "experiments": json.dumps(assigned), "slates": "[]",
        "record": json.dumps({"context": {"store_id": f"s-{int(customer_id[2:]) % 3}"}}),
    }  # fmt: skip


def line(customer_id: str, at: datetime, amount: int, order: str = "") -> dict[str, Any]:
    name = f"{customer_id}-{at.timestamp()}-{order}"
    return {
        "line_id": f"l-{name}", "customer_id": customer_id, "order_id": f"r-{name}",
        "product_id": "p-1", "at": at, "channel": "till", "local_day": 20_577, "local_hour": 8,
        "quantity": 1.0, "amount": amount, "discount": 0, "offer_discount": 0, "margin": amount,
    }  # fmt: skip


def event(name: str, customer_id: str, kind: str, at: datetime, **changed: Any) -> dict[str, Any]:
    return {
        "event_id": name, "customer_id": customer_id, "at": at, "channel": "app", "kind": kind,
        "offer_id": "o-1", **changed,
    }  # fmt: skip


def segmented(as_of: datetime, dormant: set[str]) -> list[dict[str, Any]]:
    return [
        {
            "segment_row_id": f"{as_of.date()}/{customer_id}", "run_id": f"run-{as_of.date()}",
            "as_of": as_of, "made_at": as_of, "customer_id": customer_id, "recency_score": 1,
            "frequency_score": 1, "monetary_score": 1, "rfm": "all", "cluster": "all",
            "lifecycle": "dormant" if customer_id in dormant else "active",
        }
        for customer_id, _ in PEOPLE
    ]  # fmt: skip


DORMANT = {customer_id for customer_id, _ in PEOPLE[:120]}


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    """Three weeks of one purchase a week; `on` gains 300 where dormant, 100 less each week."""
    draw = np.random.default_rng(5)
    put(
        lake, "offers",
        {
            "offer_id": "o-1", "title": "80 off", "kind": "amount", "reward": 80.0,
            "min_spend": 0, "scope": [], "channels": [], "placements": [], "stores": [],
            "valid_from": START, "valid_to": START + 60 * DAY, "cost": 80, "priority": 0,
            "combinable": True,
        },
    )  # fmt: skip
    put(lake, "decisions", *(decided(c, v) for c, v in PEOPLE))
    put(lake, "segments", *segmented(START - DAY, DORMANT))
    # A later run, in which the offer has moved its dormant ones: a segment of after the start.
    put(lake, "segments", *segmented(START + 5 * DAY, set()))
    put(
        lake,
        "purchases",
        *(
            line(
                c,
                START + week * 7 * DAY + (1 + int(draw.integers(0, 100))) * HOUR,
                int(draw.integers(900, 1_100)) + (300 - 100 * week) * (v == "on" and c in DORMANT),
            )
            for c, v in PEOPLE
            for week in range(3)
        ),
    )
    return lake


def told(lake: DuckDbLake, days: float = 21, **changed: Any) -> Report:
    return experiment_report(lake, plan(**changed), START + days * DAY)


def test_a_gain_ships_with_its_guardrail_and_says_who_gained(shop: DuckDbLake) -> None:
    put(shop, "purchases", *(line(c, START + DAY, 1, "extra") for c, _ in PEOPLE[::3]))
    report = told(shop)
    assert report.healthy
    assert report.verdict is not None
    assert (report.verdict.action, report.verdict.variant) == ("ship", "on")
    (orders,) = report.guardrails
    assert (orders.metric, orders.standing) == ("orders", "holds")
    gained = report.who_gained
    assert gained is not None
    assert gained.as_of == (START - DAY).isoformat()
    assert gained.without == 0
    planned = {row.segment: row.effect for row in gained.rows if not row.exploratory}
    dormant, active = planned["dormant"], planned["active"]
    assert dormant.low is not None
    assert dormant.high is not None
    # Planted: 300 + 200 + 100, in those dormant before the start; none elsewhere.
    assert dormant.low < 600 < dormant.high
    assert (dormant.p_adjusted or 1) < 0.05 < (active.p_adjusted or 1)
    assert {row.segmentation for row in gained.rows if row.exploratory} == {"rfm", "cluster"}


def test_the_curve_ends_with_the_reports_own_figure_and_the_weeks_show_the_wear(
    shop: DuckDbLake,
) -> None:
    report = told(shop)
    assert report.over_time is not None
    last, whole = report.over_time.days[-1].effect, report.metrics["margin"]["on"]
    assert (last.difference, last.low, last.high) == pytest.approx(
        (whole.difference, whole.low, whole.high)
    )
    assert len(report.over_time.days) == 22
    (novelty,) = report.novelty
    assert len(novelty.weeks) == 3
    trend = novelty.trend
    assert trend.low is not None
    assert trend.high is not None
    # Planted: half of `on` loses 100 from one week to the next.
    assert trend.low < -50 < trend.high < 0


def test_the_curve_is_of_the_metric_that_decides(shop: DuckDbLake) -> None:
    # Every other one of `on` orders once more; on the day after one uses an offer twice.
    put(shop, "purchases", *(line(c, START + 5 * DAY, 1, "extra") for c, _ in PEOPLE[1::4]))
    put(
        shop,
        "interactions",
        event("e-1", "c-001", "redeem", START + DAY),
        event("e-2", "c-001", "redeem", START + 2 * DAY),
        event("e-3", "c-003", "redeem", START + 2 * DAY),
        event("e-4", "c-003", "reverse", START + 6 * DAY),
    )
    for metric in ("orders", "redeemed"):
        report = told(shop, primary_metric=metric, guardrails=[], outlier_cap=0.999)
        over = report.over_time
        assert over is not None
        assert over.metric == metric
        last = over.days[-1].effect
        assert last.control_mean == pytest.approx(report.metrics[metric]["on"].control_mean)
        assert last.mean == pytest.approx(report.metrics[metric]["on"].mean)
        assert last.mean > last.control_mean
    by_day = {day.day: day.effect.mean * 120 for day in over.days}
    assert (by_day["2026-05-05"], by_day["2026-05-07"]) == pytest.approx((1, 2))
    assert by_day["2026-05-10"] == pytest.approx(1)


def test_the_table_of_offers_has_money_with_intervals(shop: DuckDbLake) -> None:
    table = told(shop).offer_table
    assert table is not None
    assert table.segmentation == "lifecycle"
    cells = {cell.segment: cell for cell in table.cells}
    assert set(cells) == {"active", "dormant"}
    dormant = cells["dormant"]
    assert (dormant.offers, dormant.channel, dormant.units) == (["o-1"], "app", 60)
    assert dormant.incremental_low is not None
    assert dormant.incremental_high is not None
    assert dormant.incremental_low < 60 * 600 < dormant.incremental_high


def test_a_plan_that_judges_once_is_judged_as_of_its_end_however_late_one_reads(
    shop: DuckDbLake,
) -> None:
    once = {"method": "welch", "stop": StopRule(days=10)}
    early = told(shop, 9, **once)
    assert early.verdict is not None
    assert (early.verdict.action, early.verdict.ended) == ("continue", False)
    # Whoever reads it every day gets what stays right then, and nothing to act on.
    margin = early.metrics["margin"]["on"]
    assert (margin.method, margin.p, margin.p_adjusted) == ("always valid", None, None)
    assert margin.low is not None
    assert early.who_gained is not None
    rows = early.who_gained.rows
    assert {(row.effect.method, row.effect.p) for row in rows} == {("always valid", None)}
    assert early.health is not None
    assert "it is judged on 2026-05-14" in early.health.warnings[0]
    lines = summary_lines(early, str)
    assert any("not judged yet" in line for line in lines if line.startswith("margin per"))
    for one in (*metric_lines(early, Currency("USD")), *segment_lines(early, Currency("USD"))):
        assert one.tone == "wait"
    at_end, later = told(shop, 10, **once), told(shop, 30, **once)
    assert at_end.metrics == later.metrics
    assert at_end.verdict == later.verdict
    assert later.verdict is not None
    assert later.verdict.ended
    assert later.metrics["margin"]["on"].p is not None
    assert at_end.metrics["margin"]["on"].method == "welch"


def test_a_plan_without_an_end_is_never_judged(shop: DuckDbLake) -> None:
    report = told(shop, method="welch", stop=None)
    assert report.metrics["margin"]["on"].p is None
    assert report.health is not None
    assert "names no end" in report.health.warnings[0]


def test_the_holdout_stays_right_however_often_it_is_read() -> None:
    # It has no end, so that every reading is one of many.
    assert isinstance(planned_looks(holdout_design(0.1)), Always)


def test_contamination_shows_why_and_no_effect(shop: DuckDbLake) -> None:
    put(shop, "interactions", *(event(f"e-{c}", c, "view", START + DAY) for c, _ in PEOPLE[:20:2]))
    report = told(shop)
    assert not report.healthy
    assert report.contamination is not None
    assert report.contamination.other_offers == {"off": 10}
    assert "10 customers of off saw offers" in report.reason
    assert (report.metrics, report.guardrails, report.novelty) == ({}, [], [])
    assert (report.over_time, report.who_gained, report.offer_table) == (None, None, None)
    assert report.verdict is not None
    assert report.verdict.action == "stop"


def test_a_plan_may_compare_inside_the_groups_of_before(shop: DuckDbLake) -> None:
    once = {"method": "welch", "stop": StopRule(days=21)}
    plain, inside = told(shop, **once), told(shop, post_stratify="lifecycle", **once)
    effect = inside.metrics["margin"]["on"]
    assert effect.method == "welch, post-stratified"
    rows = with_metrics(shop, assigned_units(shop, plan()), START + 21 * DAY)
    rows["stratum"] = rows["unit_id"].isin(DORMANT)
    difference = error = 0.0
    for _, part in rows.groupby("stratum"):
        of = part.groupby("variant")["margin"]
        difference += len(part) / len(rows) * (of.mean()["on"] - of.mean()["off"])
        error += (len(part) / len(rows)) ** 2 * (of.var() / of.size()).sum()
    assert effect.difference == pytest.approx(difference)
    assert effect.standard_error == pytest.approx(error**0.5)
    assert (effect.standard_error or 1) < (plain.metrics["margin"]["on"].standard_error or 0)
    assert inside.health is not None
    assert "compared inside 2 groups of lifecycle, as known before" in inside.health.warnings
    unknown = told(shop, post_stratify="tea-lovers", **once)
    assert unknown.metrics["margin"]["on"] == plain.metrics["margin"]["on"]
    assert unknown.health is not None
    assert any("nothing is post-stratified" in one for one in unknown.health.warnings)


def test_a_little_contamination_and_odd_events_are_told_beside_the_effect(
    shop: DuckDbLake,
) -> None:
    put(
        shop,
        "interactions",
        event("e-1", "c-000", "view", START + DAY),
        event("e-2", "c-stranger", "impression", START + DAY),
        event("e-3", "c-001", "redeem", START + DAY),
        event("e-4", "c-001", "redeem", START + DAY),
        event("e-5", "c-001", "redeem", START + 22 * DAY),
        event("e-6", "c-003", "view", START - HOUR, decision_id="d-c-003"),
    )
    put(
        shop, "purchases", line("c-005", START + DAY, 7, "a"), line("c-005", START + DAY, 7, "b"),
        line("c-005", START + 23 * DAY, 7),
    )  # fmt: skip
    report = told(shop)
    assert report.healthy
    assert report.contamination is not None
    assert report.contamination.other_offers == {"off": 1}
    assert report.contamination.unassigned == 1
    faults = report.event_faults
    assert faults is not None
    assert (faults.redemptions_repeated, faults.lines_repeated) == (1, 1)
    assert (faults.late, faults.early) == (2, 1)
    assert report.health is not None
    assert len(report.health.warnings) == 6


def test_a_broken_split_names_its_worst_store_and_the_day_it_broke(lake: DuckDbLake) -> None:
    rows = [
        decided(c, v, START + number // 80 * DAY)
        for number, (c, v) in enumerate(
            (f"c-{n:04}", "on" if (n // 3) % 2 else "off") for n in range(1_800)
        )
        # Store s-1 loses most of `on`, from the third day on.
        if not (v == "on" and int(c[2:]) % 3 == 1 and number >= 160 and number % 9)
    ]
    put(lake, "decisions", *rows)
    report = told(lake)
    assert not report.healthy
    worst = report.places[0]
    assert (worst.place, worst.value) == ("store", "s-1")
    assert "worst in store 's-1'" in report.reason
    assert report.sequence is not None
    assert report.sequence.alarm_at is not None
    assert report.sequence.alarm_at > START + 2 * DAY


def test_days_and_weeks_add_up_to_the_margin_of_the_report(shop: DuckDbLake) -> None:
    put(
        shop,
        "interactions",
        event("e-1", "c-001", "redeem", START + DAY),
        # Given back nine days later: the cost of the first day is settled then.
        event("e-2", "c-001", "reverse", START + 10 * DAY),
        event("e-3", "c-003", "redeem", START + 2 * DAY),
    )
    until = START + 21 * DAY
    units = assigned_units(shop, plan())
    whole = with_metrics(shop, units, until).set_index("unit_id")["margin"]
    for period in ("day", "week"):
        parts = margin_by(shop, units, until, period).groupby("unit_id")["value"].sum()
        pd.testing.assert_series_equal(
            parts.sort_index(), whole.sort_index(), check_names=False, check_dtype=False,
            check_index_type=False,
        )  # fmt: skip
    daily = margin_by(shop, units, until, "day")
    first = int((START + DAY).timestamp() // 86_400)
    hers = daily[daily["unit_id"] == "c-001"].set_index("day")["value"]
    assert hers.loc[first + 9] >= 80
    assert hers.index.is_unique


def test_each_unit_counts_for_the_same_days_and_only_once_they_are_over(
    shop: DuckDbLake,
) -> None:
    late = [decided(f"c-{n}", v, START + 12 * DAY) for n, v in ((900, "on"), (901, "off"))]
    put(shop, "decisions", *late)
    sold = line("c-001", START + 6 * DAY, 300, "big")
    # Taken back after her window; and what an older return brings back is no part of it.
    back = {**line("c-001", START + 9 * DAY, -300, "back"), "returns_line_id": sold["line_id"]}
    other = {**line("c-003", START + 9 * DAY, -700, "other"), "returns_line_id": "long-ago"}
    put(shop, "purchases", sold, back, other)
    window = {"follow_up_days": 7, "stop": None}
    report = told(shop, 15, **window)
    effect = report.metrics["margin"]["on"]
    rows = shop.fetch(shop.table("purchases")).to_pandas()
    inside = rows[(rows["at"] < START + 7 * DAY) & (rows["line_id"] != sold["line_id"])]
    spent = inside.groupby("customer_id")["amount"].sum().reindex([c for c, _ in PEOPLE]).fillna(0)
    by = spent.groupby([v for _, v in PEOPLE]).mean()
    assert report.units == {"on": 120, "off": 120}
    assert effect.difference == pytest.approx(by["on"] - by["off"])
    assert report.health is not None
    assert (
        "each customer counts for 7 days from its first decision; 2 customers"
        in (report.health.warnings[0])
    )
    # Before the return is known it cannot count.
    early = told(shop, 8, **window).metrics["margin"]["on"]
    assert (early.difference or 0) == pytest.approx((effect.difference or 0) + 300 / 120)
    over = report.over_time
    assert over is not None
    assert over.days[0].day == "2026-05-11"
    assert over.days[-1].effect.refused is None
    assert over.days[-1].effect.difference == pytest.approx(effect.difference)
    with pytest.raises(NothingToDo, match="nobody's are over; report again on 2026-05-11"):
        told(shop, 6, **window)


def test_a_planned_end_waits_for_the_windows(shop: DuckDbLake) -> None:
    once = {"method": "welch", "stop": StopRule(days=5), "follow_up_days": 7}
    early, ended = told(shop, 11, **once), told(shop, 12, **once)
    assert early.verdict is not None
    assert ended.verdict is not None
    assert (early.verdict.ended, ended.verdict.ended) == (False, True)
    assert early.health is not None
    assert any("judged on 2026-05-16" in one for one in early.health.warnings)


def test_contacts_cost_what_is_declared(shop: DuckDbLake) -> None:
    sent = [
        event(f"s-{c}", c, "sent", START + DAY, channel="email") for c, v in PEOPLE if v == "on"
    ]
    put(shop, "interactions", *sent, event("s-push", "c-000", "sent", START + DAY, channel="push"))
    free = experiment_report(shop, plan(), START + 21 * DAY)
    costly = experiment_report(shop, plan(), START + 21 * DAY, contact_costs={"email": 40.0})
    for report, cost in ((free, 0), (costly, 40)):
        assert report.over_time is not None
        assert report.over_time.days[-1].effect.difference == pytest.approx(
            (free.metrics["margin"]["on"].difference or 0) - cost
        )
    assert costly.metrics["margin"]["on"].difference == pytest.approx(
        (free.metrics["margin"]["on"].difference or 0) - 40
    )


def test_segments_are_those_known_at_the_start(shop: DuckDbLake) -> None:
    known = segments_before(shop, [], START)
    of = known.rows[known.rows["segmentation"] == "lifecycle"]
    assert set(of.loc[of["segment"] == "dormant", "customer_id"]) == DORMANT
    none = segments_before(shop, ["coffee-lovers"], START - 2 * DAY)
    assert none.rows.empty
    assert none.refused is not None
    assert "no run of 'regulars segment'" in none.refused
    assert "'coffee-lovers' does not exist" in none.refused


def test_without_segments_of_before_nobody_is_said_to_have_gained(shop: DuckDbLake) -> None:
    put(shop, "decisions", decided("c-900", "on", START - 3 * DAY))
    report = told(shop)
    assert report.who_gained is not None
    assert report.who_gained.rows == []
    assert "no run of 'regulars segment'" in str(report.who_gained.refused)
    assert report.offer_table is not None
    assert report.offer_table.refused == report.who_gained.refused
