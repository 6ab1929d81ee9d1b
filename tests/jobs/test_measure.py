"""Is the truth that stands beside a report the one that was planted?"""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from experiments.design import Experiment, Variant
from experiments.metric_catalogue import USUAL
from experiments.report import analyse
from foundation.contracts import TABLES
from foundation.money import Currency
from regulars.jobs.assigned import assigned_units
from regulars.jobs.earned import with_metrics
from regulars.jobs.measure import Measured, planted_effects
from regulars.jobs.simulate import Simulated

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
UNTIL = datetime(2026, 6, 4, tzinfo=UTC)


def design(*variants: str, **changed: Any) -> Experiment:
    shares = [Variant(name, 1 / len(variants), policy="none") for name in variants]
    return Experiment(key="latte", salt="latte", variants=shares, control=variants[0], **changed)


def put(lake: DuckDbLake, table: str, rows: list[dict[str, Any]]) -> None:
    with lake.write() as write:
        assert write.merge(table, TABLES[table].from_rows(rows)).conflicts == ()


def visited(lake: DuckDbLake, *visits: tuple[str, str, str, float | None]) -> None:
    """Write decisions of (customer, unit, variant), each with the effect planted in its visit."""
    decisions: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for n, (customer_id, unit, variant, planted) in enumerate(visits):
        shared = {"decision_id": f"d-{n}", "customer_id": customer_id, "at": AT, "channel": "app"}
        assigned = [{"key": "latte", "variant": variant, "unit": unit}]
        decisions.append(
            {
                **shared,
                "known": True,
                "propensity_valid": True,
                "policy": "response",
                "experiments": json.dumps(assigned),
                "slates": "[]",
                "record": "{}",
            }
        )
        visit = {**shared, "event_id": f"e-{n}", "kind": "visit", "value": planted}
        events.append({**visit, "text": None if planted is None else "simulated"})
    put(lake, "decisions", decisions)
    put(lake, "interactions", events)


def test_the_truth_is_the_planted_sum_a_unit_averaged_over_the_variant(lake: DuckDbLake) -> None:
    visited(
        lake,
        ("a", "a", "off", 0.0),
        ("b", "b", "off", 0.0),
        ("c", "c", "on", 10.0),
        ("d", "d", "on", 30.0),
        # A second simulation of the same experiment: what it planted comes on top.
        ("c", "c", "on", 12.0),
    )
    # (10 + 12 + 30) / 2 against 0.
    assert planted_effects(lake, design("off", "on")) == {"on": pytest.approx(26.0)}


def test_each_variant_has_its_own_truth_against_the_control(lake: DuckDbLake) -> None:
    visited(
        lake, ("a", "a", "few", 4.0), ("b", "b", "many", 9.0), ("c", "c", "control", 1.0)
    )  # fmt: skip
    found = planted_effects(lake, design("control", "few", "many"))
    assert found == {"few": pytest.approx(3.0), "many": pytest.approx(8.0)}


def test_a_households_truth_is_that_of_all_its_visits(lake: DuckDbLake) -> None:
    visited(
        lake,
        ("a", "h-1", "on", 5.0),
        ("b", "h-1", "on", 7.0),
        ("c", "h-2", "off", 0.0),
        ("d", "h-3", "on", 2.0),
    )
    found = planted_effects(lake, design("off", "on", unit="household"))
    assert found == {"on": pytest.approx((12.0 + 2.0) / 2)}


def test_a_real_visit_plants_nothing(lake: DuckDbLake) -> None:
    visited(lake, ("a", "a", "off", None), ("b", "b", "on", None), ("c", "c", "on", 6.0))
    assert planted_effects(lake, design("off", "on")) == {"on": pytest.approx(3.0)}


def test_figures_and_lines_name_every_variant_with_its_truth(lake: DuckDbLake) -> None:
    of = design("control", "few", "many")
    visits = [(f"{v}-{n}", f"{v}-{n}", v, p) for v, p in PLANTED.items() for n in range(50)]
    visited(lake, *visits)
    lines = [
        {
            "line_id": f"l-{customer_id}",
            "customer_id": customer_id,
            "order_id": f"o-{customer_id}",
            "product_id": "p",
            "at": AT,
            "channel": "till",
            "local_day": 20_577,
            "local_hour": 8,
            "quantity": 1.0,
            # 100 and 102 by turns, with the planted effect on top.
            "amount": int(100 + 2 * (n % 2) + planted),
            "discount": 0,
            "offer_discount": 0,
        }
        for n, (customer_id, _, _, planted) in enumerate(visits)
    ]
    put(lake, "purchases", lines)
    report = analyse(of, with_metrics(lake, assigned_units(lake, of), UNTIL), USUAL)
    measured = Measured(of, Simulated(decisions=12), report, planted_effects(lake, of), ["so"])

    figures = measured.figures()

    assert figures["decisions"] == 12
    told = figures["experiment"]
    assert {name: f["truth"] for name, f in told["variants"].items()} == {"few": 40.0, "many": 90.0}
    assert told["variants"]["many"]["estimate"] == pytest.approx(90.0)
    assert (told["estimate"], told["truth"]) == (pytest.approx(40.0), 40.0)
    assert told["low"] < 40.0 < told["high"]
    said = measured.told(Currency("USD"))
    assert "planted truth, few: 0.40 USD margin a customer, inside the interval" in said
    assert said[-1] == "assumed: so"


PLANTED = {"control": 0.0, "few": 40.0, "many": 90.0}
