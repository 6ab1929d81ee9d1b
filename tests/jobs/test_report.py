"""Do an experiment's figures equal those computed by hand, and does a bad design not start?"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from adapters.duckdb_lake import DuckDbLake
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from experiments.design import Experiment, InvalidDesign, Variant
from experiments.plan import StopRule
from experiments.report import summary_lines
from experiments.unit_checks import InvalidUnits
from foundation.contracts import TABLES
from foundation.errors import NothingToDo, RegularsError
from regulars.jobs.assigned import assigned_units
from regulars.jobs.earned import USUAL_COLUMNS, with_metrics
from regulars.jobs.experiment import start_experiment
from regulars.jobs.report import experiment_report

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
UNTIL = START + timedelta(days=30)
HOUR = timedelta(hours=1)


def design(**changed: Any) -> Experiment:
    return Experiment(
        **{
            "key": "winter-latte",
            "salt": "winter-latte",
            "variants": [Variant("off", 0.5, policy="none"), Variant("on", 0.5)],
            "control": "off",
            "stop": StopRule(days=30),
            **changed,
        }
    )


def put(lake: DuckDbLake, table: str, *rows: dict[str, Any]) -> None:
    with lake.write() as write:
        merged = write.merge(table, TABLES[table].from_rows(rows))
    assert merged.conflicts == ()


def decided(
    decision_id: str, customer_id: str, variant: str, at: datetime = START, **changed: Any
) -> dict[str, Any]:
    key, unit = changed.pop("key", "winter-latte"), changed.pop("unit", customer_id)
    return {
        "decision_id": decision_id,
        "customer_id": customer_id,
        "at": at,
        "channel": "app",
        "known": True,
        "propensity_valid": True,
        "policy": "response",
        "experiments": json.dumps([{"key": key, "variant": variant, "unit": unit}]),
        "slates": "[]",
        "record": "{}",
    }


def line(
    line_id: str, customer_id: str, amount: int, at: datetime = START + HOUR, **changed: Any
) -> dict[str, Any]:
    return {
        "line_id": line_id,
        "customer_id": customer_id,
        "order_id": f"order-{line_id}",
        "product_id": "p-plain",
        "at": at,
        "channel": "till",
        "local_day": 20_577,
        "local_hour": 8,
        "quantity": 1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
        **changed,
    }


def redeemed(
    event_id: str, customer_id: str, offer_id: str | None, at: datetime = START + HOUR
) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "customer_id": customer_id,
        "at": at,
        "channel": "till",
        "kind": "redeem",
        "offer_id": offer_id,
    }


def figures(lake: DuckDbLake, of: Experiment) -> dict[str, tuple[float, float, float]]:
    """Each unit's margin, orders and redeemed."""
    table = with_metrics(lake, assigned_units(lake, of), UNTIL)
    assert not table["unit_id"].duplicated().any()
    assert list(table.columns) == ["unit_id", "variant", *USUAL_COLUMNS]
    return {
        row["unit_id"]: (row["margin"], row["orders"], row["redeemed"])
        for row in table.to_dict("records")
    }


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    """A lake with two products, one offer that costs 80 and a declared margin of 25 %."""
    product = {"category": "COFFEE"}
    put(
        lake,
        "products",
        {"product_id": "p-plain", **product},
        {"product_id": "p-rich", "margin_rate": 0.6, **product},
    )
    put(
        lake,
        "assumptions",
        {"name": "margin_rate", "value": "0.25", "statement": "25 % of net sales is assumed"},
    )
    put(
        lake,
        "offers",
        {
            "offer_id": "o-1", "title": "80 off", "kind": "amount", "reward": 80.0,
            "min_spend": 0, "scope": [], "channels": [], "placements": [], "stores": [],
            "valid_from": START, "valid_to": UNTIL, "cost": 80, "priority": 0,
            "combinable": True,
        },
    )  # fmt: skip
    return lake


class TestMargin:
    def test_is_the_lines_own_or_the_products_rate_or_the_assumed_one(
        self, shop: DuckDbLake
    ) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"))
        put(
            shop,
            "purchases",
            line("l-1", "c-1", 1_000, margin=333),  # its own: 333
            line("l-2", "c-1", 1_000, product_id="p-rich"),  # 1000 x 0.6 = 600
            line("l-3", "c-1", 1_000),  # 1000 x 0.25 = 250
            line("l-4", "c-1", 1_000, product_id="p-unknown"),  # 1000 x 0.25 = 250
            line("l-5", "c-1", 1_000, margin=0),  # its own, although it is nothing
        )
        assert figures(shop, design()) == {"c-1": (333 + 600 + 250 + 250, 5, 0)}

    def test_is_all_of_sales_where_no_margin_was_declared(self, lake: DuckDbLake) -> None:
        put(lake, "decisions", decided("d-1", "c-1", "on"))
        put(lake, "purchases", line("l-1", "c-1", 1_234))
        assert figures(lake, design()) == {"c-1": (1_234, 1, 0)}

    def test_is_less_what_was_returned_and_a_return_is_no_order(self, shop: DuckDbLake) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"))
        put(
            shop,
            "purchases",
            line("l-1", "c-1", 2_000, product_id="p-rich"),
            line("l-2", "c-1", 400),
            line("l-3", "c-1", -2_000, product_id="p-rich", quantity=-1.0, returns_line_id="l-1"),
        )
        assert figures(shop, design()) == {"c-1": (100, 2, 0)}

    def test_is_less_the_cost_of_every_redemption(self, shop: DuckDbLake) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"), decided("d-2", "c-2", "on"))
        put(shop, "purchases", line("l-1", "c-1", 1_000))
        put(
            shop,
            "interactions",
            redeemed("e-1", "c-1", "o-1"),
            redeemed("e-2", "c-1", "o-1"),
            redeemed("e-5", "c-2", "o-1"),
            {**redeemed("e-6", "c-2", "o-1"), "kind": "view"},
        )
        # 250 of sales less twice 80; who bought nothing and redeemed once has cost 80.
        assert figures(shop, design()) == {"c-1": (90, 1, 1), "c-2": (-80, 0, 1)}

    def test_gets_back_the_cost_of_a_redemption_that_was_reversed(self, shop: DuckDbLake) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"), decided("d-2", "c-2", "on"))
        reversed_ = {"kind": "reverse", "at": START + 2 * HOUR}
        put(
            shop,
            "interactions",
            redeemed("e-1", "c-1", "o-1"),
            redeemed("e-2", "c-1", "o-1"),
            {**redeemed("e-3", "c-1", "o-1"), **reversed_},
            redeemed("e-4", "c-2", "o-1"),
            {**redeemed("e-5", "c-2", "o-1"), **reversed_},
        )
        assert figures(shop, design()) == {"c-1": (-80, 0, 1), "c-2": (0, 0, 0)}

    def test_of_a_receipt_net_of_the_offer_is_charged_once(self, shop: DuckDbLake) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"), decided("d-2", "c-2", "on"))
        told = {"offer_discount": 50, "discount": 50, "offer_id": "o-1"}
        put(
            shop,
            "purchases",
            # The till took 50 off 1000; the lines' own margin is net already.
            line("l-1", "c-1", 950, **told),
            line("l-2", "c-2", 950, margin=200, **told),
        )
        put(shop, "interactions", redeemed("e-1", "c-1", "o-1"), redeemed("e-2", "c-2", "o-1"))
        # 1000 x 0.25 less the 50, and 30 of the declared cost of 80 that the till did not tell.
        assert figures(shop, design()) == {"c-1": (170, 1, 1), "c-2": (170, 1, 1)}

    @pytest.mark.parametrize("offer_id", ["o-unknown", None])
    def test_is_refused_where_the_cost_of_a_redemption_is_unknown(
        self, shop: DuckDbLake, offer_id: str | None
    ) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"))
        put(shop, "interactions", redeemed("e-1", "c-1", offer_id))
        with pytest.raises(RegularsError, match=r"1 redemption\(s\) .* cost is unknown"):
            figures(shop, design())

    def test_of_an_order_of_several_lines_counts_the_order_once(self, shop: DuckDbLake) -> None:
        put(shop, "decisions", decided("d-1", "c-1", "on"))
        put(
            shop,
            "purchases",
            *(line(f"l-{n}", "c-1", 100, order_id="r-1") for n in range(3)),
            line("l-3", "c-1", 100, order_id="r-2"),
        )
        assert figures(shop, design()) == {"c-1": (100, 2, 0)}


class TestWhoAndWhen:
    def test_counts_from_the_minute_of_the_first_decision_up_to_the_end(
        self, shop: DuckDbLake
    ) -> None:
        put(
            shop,
            "decisions",
            decided("d-2", "c-1", "on", START + 5 * HOUR),
            # Her receipt bears the minute in which she was decided for.
            decided("d-1", "c-1", "on", START + timedelta(seconds=41)),
        )
        moment = timedelta(microseconds=1)
        put(
            shop,
            "purchases",
            line("l-1", "c-1", 4, START - moment),
            line("l-2", "c-1", 40, START),
            line("l-3", "c-1", 400, UNTIL - moment),
            line("l-4", "c-1", 4_000, UNTIL),
        )
        put(
            shop,
            "interactions",
            redeemed("e-1", "c-1", "o-1", START - moment),
            redeemed("e-2", "c-1", "o-1", UNTIL),
        )
        assert figures(shop, design()) == {"c-1": (110, 2, 0)}

    def test_counts_who_was_assigned_and_did_nothing(self, shop: DuckDbLake) -> None:
        put(shop, "decisions", *(decided(f"d-{n}", f"c-{n}", "off") for n in range(3)))
        put(shop, "purchases", line("l-1", "c-1", 100), line("l-2", "c-stranger", 9_999))
        assert figures(shop, design()) == {
            "c-0": (0, 0, 0),
            "c-1": (25, 1, 0),
            "c-2": (0, 0, 0),
        }

    def test_leaves_other_experiments_out_also_of_a_similar_name(self, shop: DuckDbLake) -> None:
        both = [
            {"key": "winter-latte", "variant": "on", "unit": "c-3"},
            {"key": "winter-latte-2", "variant": "off", "unit": "c-3"},
        ]
        put(
            shop,
            "decisions",
            decided("d-1", "c-1", "on", key="winter-latte-2"),
            decided("d-2", "c-2", "on", key="latte"),
            {**decided("d-3", "c-3", "on"), "experiments": json.dumps(both)},
            {**decided("d-4", "c-4", "on"), "experiments": "[]"},
        )
        units = assigned_units(shop, design())
        assert units.to_dict("records") == [
            {"unit_id": "c-3", "customer_id": "c-3", "variant": "on", "since": START}
        ]

    def test_adds_a_household_up_over_all_its_members_once(self, shop: DuckDbLake) -> None:
        put(
            shop,
            "customers",
            *(
                {"customer_id": name, "household_id": home, "time_zone": "America/New_York"}
                for name, home in [
                    ("c-1", "h-1"), ("c-2", "h-1"), ("c-3", "h-1"), ("c-4", "h-2"),
                    ("c-5", "h-3"), ("c-6", None), ("c-7", "h-2"),
                ]
            ),
        )  # fmt: skip
        put(
            shop,
            "decisions",
            decided("d-1", "c-1", "on", START, unit="h-1"),
            decided("d-2", "c-2", "on", START + 3 * HOUR, unit="h-1"),
            decided("d-3", "c-4", "off", START, unit="h-2"),
            # She has moved since: where she was assigned she stays.
            decided("d-4", "c-7", "on", START, unit="h-1"),
        )
        put(
            shop,
            "purchases",
            line("l-1", "c-1", 400, order_id="r-1"),
            # Between the household's first decision and her own.
            line("l-2", "c-2", 400, order_id="r-2"),
            # Nobody asked for her; she is of the household all the same.
            line("l-3", "c-3", 400),
            line("l-4", "c-4", 40),
            line("l-5", "c-5", 4_000),
            line("l-6", "c-6", 4_000),
            line("l-7", "c-7", 400),
        )
        put(shop, "interactions", redeemed("e-1", "c-3", "o-1"))
        found = figures(shop, design(unit="household"))
        assert found == {"h-1": (400 - 80, 4, 1), "h-2": (10, 1, 0)}

    def test_refuses_a_unit_in_two_variants_in_one_line(self, shop: DuckDbLake) -> None:
        put(
            shop,
            "decisions",
            decided("d-1", "c-torn", "on"),
            decided("d-2", "c-torn", "off"),
            decided("d-3", "c-1", "off"),
        )
        with pytest.raises(InvalidUnits, match="'c-torn'") as refusal:
            experiment_report(shop, design(), UNTIL)
        assert "two variants" in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_of_an_experiment_without_decisions_says_what_to_do(self, shop: DuckDbLake) -> None:
        with pytest.raises(NothingToDo, match="regulars ingest"):
            experiment_report(shop, design(), UNTIL)


def test_a_report_has_the_figures_that_scipy_computes_from_the_same_units(
    shop: DuckDbLake,
) -> None:
    """Source: scipy.stats.ttest_ind, equal_var=False (Welch), on margins drawn here."""
    draw = np.random.default_rng(11)
    spent = {"off": draw.integers(100, 900, 60) * 4, "on": draw.integers(300, 1_100, 60) * 4}
    put(
        shop,
        "decisions",
        *(decided(f"d-{v}-{n}", f"c-{v}-{n}", v) for v in spent for n in range(60)),
    )
    put(
        shop,
        "purchases",
        *(line(f"l-{v}-{n}", f"c-{v}-{n}", int(spent[v][n])) for v in spent for n in range(60)),
    )
    put(shop, "interactions", *(redeemed(f"e-{n}", f"c-on-{n}", "o-1") for n in range(20)))
    report = experiment_report(shop, design(), UNTIL)
    off, on = spent["off"] * 0.25, spent["on"] * 0.25 - 80.0 * (np.arange(60) < 20)
    oracle = stats.ttest_ind(on, off, equal_var=False)
    interval = oracle.confidence_interval(0.95)
    effect = report.metrics["margin"]["on"]
    assert effect.difference == pytest.approx(on.mean() - off.mean(), abs=1e-9)
    assert (effect.low, effect.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert effect.p == pytest.approx(oracle.pvalue, abs=1e-12)
    assert report.metrics["redeemed"]["on"].mean == pytest.approx(1 / 3)
    # Everyone came once: no spread, so no interval, and the report says why.
    assert "no spread" in str(report.metrics["orders"]["on"].refused)
    assert report.units == {"off": 60, "on": 60}
    assert report.sample_ratio.p == 1.0


def test_the_margin_is_adjusted_by_that_of_the_weeks_before(shop: DuckDbLake) -> None:
    """Source: least squares of what she earned since on variant and weeks before, by numpy."""
    draw = np.random.default_rng(12)
    before, later = draw.integers(100, 900, (2, 60)) * 4
    after = {
        "off": before + draw.integers(0, 90, 60) * 4,
        "on": later + draw.integers(0, 90, 60) * 4,
    }
    earlier = {"off": before, "on": later}
    people = [(v, n, f"c-{v}-{n}") for v in after for n in range(60)]
    put(shop, "decisions", *(decided(f"d-{c}", c, v) for v, _, c in people))
    put(
        shop,
        "purchases",
        *(line(f"l-{c}", c, int(after[v][n])) for v, n, c in people),
        *(line(f"b-{c}", c, int(earlier[v][n]), at=START - 24 * HOUR) for v, n, c in people),
        # Longer ago than is looked back, so no covariate.
        *(line(f"o-{c}", c, 40_000, at=START - 60 * 24 * HOUR) for _, n, c in people if n < 9),
    )
    effect = experiment_report(shop, design(), UNTIL).metrics["margin"]["on"]
    x = np.concatenate([before, later]) * 0.25
    y = np.concatenate([after["off"], after["on"]]) * 0.25
    slope = np.cov(x, y)[0, 1] / x.var(ddof=1)
    adjusted = y - slope * (x - x.mean())
    oracle = stats.ttest_ind(adjusted[60:], adjusted[:60], equal_var=False)
    assert effect.difference == pytest.approx(adjusted[60:].mean() - adjusted[:60].mean())
    assert effect.p == pytest.approx(oracle.pvalue, rel=1e-6)
    plain = stats.ttest_ind(y[60:], y[:60], equal_var=False).confidence_interval()
    assert effect.high - effect.low < 0.5 * (plain.high - plain.low)


def test_a_broken_split_is_told_with_where_it_sits(shop: DuckDbLake) -> None:
    people = [
        (v, f"c-{channel}-{v}-{n}", channel)
        for channel, counts in (("app", (60, 60)), ("email", (60, 5)))
        for v, count in zip(("off", "on"), counts, strict=True)
        for n in range(count)
    ]
    put(
        shop,
        "decisions",
        *({**decided(f"d-{c}", c, v), "channel": where} for v, c, where in people),
    )
    report = experiment_report(shop, design(), UNTIL)
    assert not report.healthy
    assert report.metrics == {}
    assert "worst in channel 'email'" in report.reason


def test_a_planned_look_judges_what_was_known_at_its_instant(shop: DuckDbLake) -> None:
    plan = design(method="pocock", stop=StopRule(days=20, looks=2))
    draw = np.random.default_rng(13)
    people = [(v, f"c-{v}-{n}") for v in ("off", "on") for n in range(60)]
    put(shop, "decisions", *(decided(f"d-{c}", c, v) for v, c in people))
    put(
        shop,
        "purchases",
        *(line(f"l-{c}", c, int(draw.integers(100, 900)) * 4) for _, c in people),
        *(line(f"m-{c}", c, 40_000, at=START + 15 * 24 * HOUR) for v, c in people if v == "on"),
    )
    day = 24 * HOUR
    early = experiment_report(shop, plan, START + 9 * day).metrics["margin"]["on"]
    assert "first has not come" in str(early.refused)
    first, again, last = (
        experiment_report(shop, plan, START + days * day).metrics["margin"]["on"]
        for days in (10, 19, 20)
    )
    assert first == again
    assert first.method == "group sequential"
    assert (last.difference or 0) > (first.difference or 0) + 9_000


def test_a_boundary_that_was_crossed_stays_crossed_however_late_one_reads(
    shop: DuckDbLake,
) -> None:
    plan = design(method="pocock", stop=StopRule(days=20, looks=2))
    draw = np.random.default_rng(13)
    people = [(v, f"c-{v}-{n}") for v in ("off", "on") for n in range(60)]
    put(shop, "decisions", *(decided(f"d-{c}", c, v) for v, c in people))
    late = START + 15 * 24 * HOUR
    put(
        shop,
        "purchases",
        *(line(f"l-{c}", c, int(draw.integers(100, 900)) * 4) for _, c in people),
        # Before the first look one arm buys much more; after it the other makes up for it.
        *(line(f"e-{c}", c, 40_000) for v, c in people if v == "on"),
        *(line(f"m-{c}", c, 40_000, at=late) for v, c in people if v == "off"),
    )
    first, last = (experiment_report(shop, plan, START + days * 24 * HOUR) for days in (10, 25))
    assert last.verdict is not None
    assert (last.verdict.action, last.verdict.variant) == ("ship", "on")
    assert last == first
    crossed = last.crossed["on"]
    assert crossed.look == 1
    assert crossed.low < crossed.difference <= (last.metrics["margin"]["on"].difference or 0)
    assert any("crossed its boundary at look 1" in said for said in summary_lines(last, str))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("report") / "pg") as running:
        yield running


@pytest.fixture
def admin(server: EmbeddedPostgres) -> Iterator[PostgresAdmin]:
    admin = PostgresAdmin(server.url)
    admin.publish_offers(
        [{"offer_id": "o-1", "title": "1 off"}, {"offer_id": "o-2", "title": "2 off"}],
        {"o-1": 0.1, "o-2": 0.1},
    )
    yield admin
    for stored in admin.experiments():
        if stored.stopped_at is None:
            admin.stop_experiment(stored.design.key, START)
    admin.close()


class TestStart:
    def test_keeps_the_design_as_it_was_and_the_moment(self, admin: PostgresAdmin) -> None:
        wanted = design(
            key="kept",
            variants=[Variant("off", 0.25, offers=[]), Variant("on", 0.75, offers=["o-2", "o-1"])],
            unit="household",
            channels=["app"],
            hypothesis='"more" & better',
        )
        stored = start_experiment(admin, wanted, START)
        assert (stored.design, stored.started_at, stored.stopped_at) == (wanted, START, None)
        assert admin.experiment("kept") == stored

    @pytest.mark.parametrize(
        ("changed", "named"),
        [
            ({"variants": [Variant("off", 0.5, policy="nun"), Variant("on", 0.5)]}, "'nun'"),
            ({"variants": [Variant("off", 0.5, offers=["o-3"]), Variant("on", 0.5)]}, "'o-3'"),
            ({"primary_metric": "smiles"}, "'smiles'"),
            ({"control": "neither"}, "'neither'"),
            ({"key": "Winter Latte"}, "'Winter Latte'"),
            ({"channels": ["pigeon"]}, "'pigeon'"),
        ],
    )
    def test_refuses_what_the_service_could_not_do(
        self, admin: PostgresAdmin, changed: dict[str, Any], named: str
    ) -> None:
        before = admin.experiments()
        with pytest.raises(RegularsError, match=named) as refusal:
            start_experiment(admin, design(**{"key": "refused", **changed}), START)
        assert "\n" not in str(refusal.value)
        assert admin.experiments() == before

    def test_names_every_broken_rule_of_a_design(self, admin: PostgresAdmin) -> None:
        broken = design(control="neither", variants=[Variant("off", 0.5), Variant("on", 0.6)])
        with pytest.raises(InvalidDesign) as refusal:
            start_experiment(admin, broken, START)
        assert len(str(refusal.value).splitlines()) == 2

    def test_refuses_a_second_one_while_one_runs(self, admin: PostgresAdmin) -> None:
        start_experiment(admin, design(key="first"), START)
        with pytest.raises(RegularsError, match="regulars experiment stop first"):
            start_experiment(admin, design(key="second"), START)
        admin.stop_experiment("first", START + HOUR)
        assert start_experiment(admin, design(key="second"), START).stopped_at is None

    def test_refuses_a_key_that_was_used_before(self, admin: PostgresAdmin) -> None:
        start_experiment(admin, design(key="once"), START)
        admin.stop_experiment("once", START + HOUR)
        with pytest.raises(RegularsError, match="'once' was run before"):
            start_experiment(admin, design(key="once"), START + 2 * HOUR)
        assert admin.experiment("once").stopped_at == START + HOUR

    def test_takes_one_of_two_that_start_at_once(self, server: EmbeddedPostgres) -> None:
        admins = [PostgresAdmin(server.url) for _ in range(4)]

        def start(n: int) -> bool:
            try:
                admins[n].start_experiment(design(key=f"race-{n}"), START)
            except RegularsError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(start, range(4))) == 1
        for stored in admins[0].experiments():
            if stored.stopped_at is None:
                admins[0].stop_experiment(stored.design.key, START)
        for admin in admins:
            admin.close()


class TestStop:
    def test_of_one_that_does_not_run_is_refused(self, admin: PostgresAdmin) -> None:
        with pytest.raises(RegularsError, match="'nothing' does not run"):
            admin.stop_experiment("nothing", START)

    def test_never_lies_before_the_start(self, admin: PostgresAdmin) -> None:
        start_experiment(admin, design(key="backwards"), START)
        assert admin.stop_experiment("backwards", START - HOUR).stopped_at == START
