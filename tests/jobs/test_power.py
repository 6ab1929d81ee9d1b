"""Does the history that power is read from hold who came, from when, and what she brought?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from experiments.metrics import InvalidMetric
from experiments.power import InvalidPower
from foundation.contracts import TABLES
from foundation.errors import NothingToDo
from foundation.settings import Settings
from regulars.jobs.membership import held_by
from regulars.jobs.power import Wanted, experiment_power, history_window

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
PEOPLE = 60


def put(lake: DuckDbLake, table: str, rows: list[dict[str, Any]]) -> None:
    with lake.write() as write:
        assert write.merge(table, TABLES[table].from_rows(rows)).conflicts == ()


def line(who: int, days_ago: float, amount: int) -> dict[str, Any]:
    name = f"{who}-{days_ago:g}"
    return {
        "line_id": f"l-{name}",
        "order_id": f"o-{name}",
        "customer_id": f"c-{who:02}",
        "product_id": "p",
        "at": NOW - timedelta(days=days_ago, minutes=1),
        "channel": "till",
        "local_day": 20_577,
        "local_hour": 8,
        "quantity": 1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
        "margin": amount,
    }


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    """Sixty customers in thirty households; the first forty bought in each of the last two weeks,
    ten more in the newest only, ten in neither."""
    everybody = range(PEOPLE)
    put(
        lake,
        "customers",
        [{"customer_id": f"c-{i:02}", "household_id": f"h-{i // 2:02}"} for i in everybody],
    )
    put(
        lake,
        "purchases",
        [
            *(line(i, 100, 77) for i in everybody),
            *(line(i, 30, 10 * i) for i in everybody),
            *(line(i, 10, 100 + 10 * i) for i in range(40)),
            *(line(i, 3, 1_000 + i) for i in range(50)),
            line(0, 0, 5),
        ],
    )
    return lake


def test_each_duration_has_who_came_in_it_and_what_she_brought_until_its_end(
    shop: DuckDbLake,
) -> None:
    found = experiment_power(shop, Wanted(weeks=2), NOW)
    one, two = found.durations
    assert (one.units, two.units) == (40, 50)
    first = np.array([100 + 10 * i for i in range(40)], dtype=float)
    assert one.mean == pytest.approx(first.mean())
    both = np.concatenate([first, np.zeros(10)]) + 1_000 + np.arange(50)
    both[0] += 5
    assert two.mean == pytest.approx(both.mean())
    before = 10.0 * np.arange(50)
    assert two.correlation == pytest.approx(np.corrcoef(both, before)[0, 1])


def test_an_audience_and_a_share_of_orders(shop: DuckDbLake) -> None:
    audience = [f"c-{i:02}" for i in range(30)]
    found = experiment_power(shop, Wanted(metric="orders", weeks=2), NOW, audience)
    assert [d.units for d in found.durations] == [30, 30]
    assert found.durations[1].mean == pytest.approx((2 * 30 + 1) / 30)
    ratio = experiment_power(shop, Wanted("margin", "orders", weeks=2), NOW, audience)
    assert ratio.metric == "margin / orders"
    margin = sum(1_100 + 11 * i for i in range(30)) + 5
    assert ratio.durations[1].mean == pytest.approx(margin / 61)
    with pytest.raises(NothingToDo, match="nobody of the audience"):
        experiment_power(shop, Wanted(weeks=2), NOW, ["c-59"])


def test_a_household_comes_with_its_first_member_and_counts_them_all(shop: DuckDbLake) -> None:
    found = experiment_power(shop, Wanted(unit="household", weeks=2), NOW)
    assert [d.units for d in found.durations] == [20, 25]
    assert "fewer than 40" in str(found.durations[0].refused)
    assert found.members == 2
    # Neighbours in the list are in one household and buy nearly the same.
    assert found.alike == pytest.approx(1, abs=0.02)
    first = sum(100 + 10 * i for i in range(40)) / 20
    assert found.durations[0].mean == pytest.approx(first)


def test_a_history_too_short_says_how_long_it_may_be(shop: DuckDbLake) -> None:
    assert history_window(shop, 6, NOW)[0] == NOW - timedelta(weeks=6, minutes=1, microseconds=-1)
    with pytest.raises(InvalidPower, match="ask for 6 weeks at most"):
        experiment_power(shop, Wanted(weeks=7), NOW)
    with pytest.raises(InvalidMetric, match="none of margin"):
        experiment_power(shop, Wanted("smiles"), NOW)
    with pytest.raises(InvalidPower, match="'smiles' of a ratio is none of margin"):
        experiment_power(shop, Wanted("margin", "smiles"), NOW)


def test_an_empty_lake_says_what_to_load(lake: DuckDbLake) -> None:
    with pytest.raises(NothingToDo, match="regulars load"):
        experiment_power(lake, Wanted(), NOW)


def test_a_rule_holds_whom_it_held_then(shop: DuckDbLake, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=None, mlflow_tracking_uri=None)
    rule = {"count": {"event": "purchase", "days": 14}, "is": ">=", "value": 1}
    assert held_by(shop, settings, rule, NOW - timedelta(days=5)) == [
        f"c-{i:02}" for i in range(40)
    ]
