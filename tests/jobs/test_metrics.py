"""Does every metric a plan may name say what the lake's events say, wherever they are summed?"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from adapters.duckdb_lake import DuckDbLake
from experiments.analysis import UnitFrame, effects, summed
from experiments.design import Experiment, InvalidDesign, Variant, read_design
from experiments.metric_catalogue import NAMES, measured
from experiments.metrics import InvalidMetric, columns
from experiments.plan import Guardrail, StopRule
from experiments.report import Report
from foundation.contracts import TABLES
from regulars.jobs.assigned import assigned_units
from regulars.jobs.earned import daily_changes, unit_columns, with_metrics
from regulars.jobs.lake_units import LakeUnits
from regulars.jobs.report import experiment_report

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
UNTIL = START + 21 * DAY
PEOPLE = [(f"c-{n:03}", f"h-{n // 2:03}", "on" if (n // 2) % 2 else "off") for n in range(320)]


def plan(**changed: Any) -> Experiment:
    return Experiment(
        **{
            "key": "latte",
            "salt": "latte",
            "variants": [Variant("off", 0.5, policy="popular"), Variant("on", 0.5)],
            "control": "off",
            "stop": StopRule(days=21),
            **changed,
        }
    )


def put(lake: DuckDbLake, table: str, rows: list[dict[str, Any]]) -> None:
    with lake.write() as write:
        assert write.merge(table, TABLES[table].from_rows(rows)).conflicts == ()


def line(name: str, customer_id: str, at: datetime, amount: int, **changed: Any) -> dict[str, Any]:
    return {
        "line_id": name, "customer_id": customer_id, "order_id": f"r-{name}", "product_id": "p-1",
        "at": at, "channel": "till", "local_day": 20_577, "local_hour": 8, "quantity": 1.0,
        "amount": amount, "discount": 0, "offer_discount": 0, **changed,
    }  # fmt: skip


def event(name: str, customer_id: str, kind: str, at: datetime) -> dict[str, Any]:
    return {
        "event_id": name, "customer_id": customer_id, "at": at, "channel": "app", "kind": kind,
        "offer_id": "o-1",
    }  # fmt: skip


def answer(name: str, who: str, at: datetime, instrument: str, score: int, scale: int) -> Any:
    return {
        "response_id": name, "customer_id": who, "at": at, "instrument": instrument,
        "score": float(score), "scale": float(scale),
    }  # fmt: skip


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    """160 households of two, of whom three quarters buy; they return, complain, answer and opt
    out."""
    draw = np.random.default_rng(3)
    put(lake, "products", [{"product_id": "p-1", "category": "COFFEE", "margin_rate": 0.4}])
    put(
        lake, "offers",
        [{
            "offer_id": "o-1", "title": "80 off", "kind": "amount", "reward": 80.0,
            "min_spend": 0, "scope": [], "channels": [], "placements": [], "stores": [],
            "valid_from": START, "valid_to": START + 60 * DAY, "cost": 80, "priority": 0,
            "combinable": True,
        }],
    )  # fmt: skip
    put(lake, "customers", [{"customer_id": c, "household_id": h} for c, h, _ in PEOPLE])
    lines: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    consents: list[dict[str, Any]] = []
    for n, (who, _, variant) in enumerate(PEOPLE):
        level = int(draw.integers(500, 1_500))
        lines.append(line(f"b-{n}", who, START - 9 * DAY, level))
        # Beyond what is looked back to, and after the end: in no figure.
        lines += [line(f"o-{n}", who, START - 60 * DAY, 9_999), line(f"a-{n}", who, UNTIL, 9_999)]
        for turn in range(int(draw.integers(0, 4))):
            at = START + int(draw.integers(1, 480)) * HOUR
            paid = level + int(draw.integers(0, 300)) + 60 * (variant == "on")
            name = f"l-{n}-{turn}"
            lines.append(line(name, who, at, paid, quantity=2.0))
            lines.append(line(f"{name}-2", who, at, 100, order_id=f"r-{name}"))
            if draw.random() < 0.2:
                given = {"quantity": -1.0, "returns_line_id": name}
                lines.append(line(f"{name}-3", who, at + HOUR, -paid // 2, **given))
        for turn in range(int(draw.integers(0, 3))):
            at = START + int(draw.integers(1, 480)) * HOUR
            events.append(event(f"e-{n}-{turn}", who, "complaint", at))
        if draw.random() < 0.3:
            events.append(event(f"u-{n}", who, "redeem", START + 30 * HOUR))
            if draw.random() < 0.3:
                events.append(event(f"v-{n}", who, "reverse", START + 90 * HOUR))
        if draw.random() < 0.6:
            at = START + int(draw.integers(1, 480)) * HOUR
            score = int(draw.integers(0, 11))
            answers.append(answer(f"n-{n}", who, at, "nps", score, 10))
            answers.append(answer(f"x-{n}", who, at, "nps", 5, 5))
            answers.append(answer(f"s-{n}", who, at, "csat", int(draw.integers(1, 6)), 5))
        for turn, granted in enumerate(draw.random(2) < 0.8):
            at = START + int(draw.integers(1, 480)) * HOUR
            consents.append(
                {"consent_id": f"k-{n}-{turn}", "customer_id": who, "channel": "email",
                 "granted": bool(granted), "at": at}
            )  # fmt: skip
    put(lake, "purchases", lines)
    put(lake, "interactions", events)
    put(lake, "surveys", answers)
    put(lake, "consents", consents)
    return lake


def decide(lake: DuckDbLake, unit: str = "customer") -> None:
    put(
        lake,
        "decisions",
        [
            {
                "decision_id": f"d-{who}", "customer_id": who, "at": START, "channel": "app",
                "known": True, "propensity_valid": True, "policy": "response",
                "experiments": json.dumps(
                    [{"key": "latte", "variant": variant,
                      "unit": who if unit == "customer" else home}]
                ),
                "slates": "[]", "record": "{}",
            }
            for who, home, variant in PEOPLE
        ],
    )  # fmt: skip


def by_hand(lake: DuckDbLake) -> pd.DataFrame:
    """Return each customer's columns, by pandas from the lake's rows."""

    def rows(table: str) -> pd.DataFrame:
        found = lake.fetch(lake.table(table)).to_pandas()
        return found[(found["at"] >= START) & (found["at"] < UNTIL)]

    people = pd.DataFrame(PEOPLE, columns=["customer_id", "home", "variant"])
    people = people.set_index("customer_id")
    lines, events, surveys = rows("purchases"), rows("interactions"), rows("surveys")
    paid, grumbles = lines[lines["amount"] > 0], events[events["kind"] == "complaint"]
    uses = events["kind"].map({"redeem": 1, "reverse": -1}).fillna(0)
    nps = surveys[(surveys["instrument"] == "nps") & (surveys["scale"] == 10)]
    csat = surveys[surveys["instrument"] == "csat"]
    consents = rows("consents")
    points = np.where(nps["score"] >= 9, 100, np.where(nps["score"] <= 6, -100, 0))
    net = uses.groupby(events["customer_id"]).sum()
    told = {
        "spend": lines.groupby("customer_id")["amount"].sum(),
        "orders": paid.groupby("customer_id")["order_id"].nunique(),
        "items": lines.groupby("customer_id")["quantity"].sum(),
        "sold": paid.groupby("customer_id")["amount"].sum(),
        "returned": -lines[lines["amount"] < 0].groupby("customer_id")["amount"].sum(),
        "redeemed": (net > 0).astype(int),
        "uses": net,
        "complained": grumbles.groupby("customer_id").size().clip(upper=1),
        "opted_out": consents[~consents["granted"]].groupby("customer_id").size().clip(upper=1),
        "nps_points": pd.Series(points, nps["customer_id"]).groupby(level=0).sum(),
        "nps_answers": nps.groupby("customer_id").size(),
        "csat_satisfied": (csat["score"] >= 4).groupby(csat["customer_id"]).sum(),
        "csat_answers": csat.groupby("customer_id").size(),
    }  # fmt: skip
    found = people.assign(**{name: one.reindex(people.index) for name, one in told.items()})
    found = found.fillna(0.0)
    found["bought"] = (found["orders"] > 0).astype(float)
    found["margin"] = 0.4 * found["spend"] - 80.0 * found["uses"]
    return found.assign(members=1.0)


def expected(name: str, units: pd.DataFrame, unit: str) -> "pd.Series[float]":
    """Return a metric's value by variant, from its definition in words."""
    of = units.groupby("variant")
    shares = {"redeemed": "redeemed", "buyers": "bought", "complaints": "complained"}
    shares |= {"opt_outs": "opted_out"}
    ratios = {
        "basket": ("spend", "orders"), "margin_rate": ("margin", "spend"),
        "return_rate": ("returned", "sold"), "nps": ("nps_points", "nps_answers"),
        "csat": ("csat_satisfied", "csat_answers"),
    }  # fmt: skip
    if name in shares:
        return of[shares[name]].sum() / of["members"].sum()
    if name in ratios:
        above, below = ratios[name]
        return of[above].sum() / of[below].sum()
    if name == "median_spend":
        # Weibull's quantile, as of `ranks`.
        buyers = units[units["bought"] > 0].groupby("variant")["spend"]
        return buyers.apply(lambda x: np.quantile(x, 0.5, method="weibull"))
    return of[name].mean()


# What is adjusted by the weeks before shows adjusted means, tested by themselves below.
PLAIN = [
    "returned", "redeemed", "buyers", "complaints", "opt_outs", "return_rate", "nps", "csat",
    "median_spend",
]  # fmt: skip


def told(lake: DuckDbLake, **changed: Any) -> Report:
    return experiment_report(lake, plan(**changed), UNTIL)


@pytest.mark.parametrize("unit", ["customer", "household"])
def test_every_metric_is_what_the_lakes_events_say(shop: DuckDbLake, unit: str) -> None:
    decide(shop, unit)
    people = by_hand(shop)
    units = people
    if unit == "household":
        numbers = people.drop(columns=["variant"]).groupby("home").sum(numeric_only=True)
        units = numbers.assign(variant=people.groupby("home")["variant"].first())
    report = told(shop, unit=unit, secondary_metrics=[one for one in NAMES if one != "margin"])
    assert report.healthy, report.reason
    assert next(iter(report.metrics)) == "margin"
    assert report.exploratory == []
    for name in PLAIN:
        means = expected(name, units, unit)
        effect = report.metrics[name]["on"]
        assert (effect.mean, effect.control_mean) == pytest.approx((means["on"], means["off"])), (
            name
        )
    for name in ("margin", "spend", "orders", "items", "basket", "margin_rate"):
        effect = report.metrics[name]["on"]
        means = expected(name, units, unit)
        assert effect.refused is None, name
        # Adjusted by one covariate, both move by the same luck; by much less than they vary.
        assert effect.mean == pytest.approx(means["on"], rel=0.05), name
    assert report.health is not None
    assert any("median_spend is of who bought" in one for one in report.health.warnings)


def test_a_share_is_judged_as_scipy_judges_it(shop: DuckDbLake) -> None:
    """Source: scipy's chi-square of the table, times (n - 1) / n (Campbell 2007)."""
    decide(shop)
    effect = told(shop, primary_metric="complaints").metrics["complaints"]["on"]
    people = by_hand(shop)
    table = pd.crosstab(people["variant"], people["complained"])
    square = stats.chi2_contingency(table, correction=False).statistic
    n = len(people)
    assert effect.p == pytest.approx(stats.chi2.sf(square * (n - 1) / n, 1))
    assert effect.method == "score"


def test_sums_of_the_engine_and_rows_give_the_same_effects(shop: DuckDbLake) -> None:
    decide(shop)
    units = assigned_units(shop, plan())
    metrics = {name: measured(name).metric for name in NAMES}
    needed = dict.fromkeys(c.name for one in metrics.values() for c in columns(one))
    table = LakeUnits(shop, unit_columns(shop, units, UNTIL, needed))
    frame = UnitFrame(with_metrics(shop, units, UNTIL, columns=needed))
    found = [
        effects(one, summed(one, metrics), metrics, "off", ["on"])  # type: ignore[arg-type]
        for one in (table, frame)
    ]
    for name in NAMES:
        here, there = (one[name]["on"] for one in found)
        assert here.method == there.method
        assert (here.mean, here.low, here.high, here.p) == pytest.approx(
            (there.mean, there.low, there.high, there.p)
        ), name
    assert table.observed() == frame.observed()
    assert table.quantile("margin", 0.9) == pytest.approx(frame.quantile("margin", 0.9))
    for here, there in zip(table.top_few("margin"), frame.top_few("margin"), strict=True):
        assert (here.variant, here.units, here.top) == (there.variant, there.units, there.top)
        assert (here.share, here.largest) == pytest.approx((there.share, there.largest))


def test_days_add_up_to_every_column(shop: DuckDbLake) -> None:
    decide(shop, "household")
    units = assigned_units(shop, plan(unit="household"))
    names = dict.fromkeys(
        column.name
        for one in NAMES
        for column in columns(measured(one).metric)
        if not column.name.endswith("_before")
    )
    whole = with_metrics(shop, units, UNTIL, columns=names).set_index("unit_id")
    daily = daily_changes(shop, units, UNTIL, names).drop(columns="day")
    summed_up = daily.groupby("unit_id").sum()
    for name in names:
        found = summed_up[name].reindex(whole.index).fillna(0.0)
        assert found.to_numpy() == pytest.approx(whole[name].to_numpy()), name
        assert not found.eq(0).all(), name


def test_the_curve_of_a_ratio_ends_with_the_reports_own_figure(shop: DuckDbLake) -> None:
    decide(shop, "household")
    for metric in ("basket", "redeemed", "nps"):
        report = told(shop, unit="household", primary_metric=metric, method="sequential")
        over = report.over_time
        assert over is not None
        last, whole = over.days[-1].effect, report.metrics[metric]["on"]
        assert (last.difference, last.low, last.high) == pytest.approx(
            (whole.difference, whole.low, whole.high)
        )
    quantile = told(shop, unit="household", primary_metric="median_spend")
    assert quantile.over_time is not None
    assert quantile.over_time.days == []


def test_more_complaints_are_harm_and_fewer_a_gain(shop: DuckDbLake) -> None:
    decide(shop)
    grumbles = [
        event(f"g-{who}", who, "complaint", START + HOUR) for who, _, v in PEOPLE if v == "on"
    ]
    put(shop, "interactions", grumbles)
    report = told(shop, guardrails=[Guardrail("complaints", 0.02, "lower")])
    assert [one.standing for one in report.guardrails] == ["broken"]
    assert report.verdict is not None
    assert "breaks a guardrail" in report.verdict.variants.values()
    worse = told(shop, primary_metric="complaints")
    assert worse.verdict is not None
    assert worse.verdict.variants == {"on": "loses"}
    better = told(shop, primary_metric="complaints", control="on")
    assert better.verdict is not None
    assert (better.verdict.action, better.verdict.variant) == ("ship", "off")


def test_a_guardrail_takes_its_metrics_own_direction() -> None:
    document = {
        "key": "latte",
        "control": "off",
        "variants": [{"name": "off", "weight": 0.5}, {"name": "on", "weight": 0.5}],
    }
    found = read_design({**document, "guardrails": [{"metric": "complaints", "margin": 0.01}]})
    assert found.guardrails == [Guardrail("complaints", 0.01, "lower")]
    for wrong in ({"margin": -0.01}, {"margin": 0.01, "better": "higher"}):
        with pytest.raises(InvalidDesign, match="complaints"):
            read_design({**document, "guardrails": [{"metric": "complaints", **wrong}]})


def test_what_nobody_recorded_is_refused_and_no_zero(lake: DuckDbLake) -> None:
    decide(lake)
    put(lake, "purchases", [line(f"l-{who}", who, START + HOUR, 100) for who, _, _ in PEOPLE[::2]])
    wanted = ["complaints", "opt_outs", "nps", "csat"]
    report = told(
        lake, secondary_metrics=wanted[1:], guardrails=[Guardrail("complaints", 0.02, "lower")]
    )
    for name in wanted:
        effect = report.metrics[name]["on"]
        assert effect.difference is None
        assert "the lake holds" in str(effect.refused)
    (guardrail,) = report.guardrails
    assert (guardrail.standing, guardrail.difference) == ("open", None)
    assert "nobody's complaints" in str(guardrail.refused)


def test_words_cap_and_rank_a_column(shop: DuckDbLake) -> None:
    decide(shop)
    put(shop, "purchases", [line("whale", PEOPLE[3][0], START + HOUR, 10_000_000)])
    asked = ["margin:winsorised99", "spend:p90"]
    report = told(shop, secondary_metrics=asked)
    plain, tamed = (report.metrics[name]["on"] for name in ("margin", asked[0]))
    assert plain.mean > 5 * tamed.mean
    assert "margin:winsorised99" in report.money
    spent = with_metrics(shop, assigned_units(shop, plan()), UNTIL, columns=["spend"])
    of = spent[spent["variant"] == "on"]["spend"]
    assert report.metrics[asked[1]]["on"].mean == pytest.approx(
        np.quantile(of, 0.9, method="weibull")
    )
    for wrong in ("smiles", "spend:ratio", "spend:proportion", "nps:p90", "spend:wild"):
        with pytest.raises(InvalidMetric, match=wrong):
            measured(wrong)
