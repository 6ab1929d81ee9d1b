"""Does a plan without follow-up days get two purchase cycles of the lake's own customers?"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from experiments.design import Experiment, InvalidDesign, Variant, check
from experiments.plan import StopRule
from foundation.contracts import TABLES
from regulars.jobs.follow_up import purchase_cycle, with_follow_up

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def plan(**changed: Any) -> Experiment:
    variants = [Variant("off", 0.5, policy="none"), Variant("on", 0.5)]
    whole: dict[str, Any] = {"stop": StopRule(days=28), **changed}
    return Experiment("latte", "latte", variants, "off", **whole)


def bought(lake: DuckDbLake, customers: int) -> None:
    """Customer n buys five times, every n days; once more with a return, and some only once."""
    rows = [
        {
            "line_id": f"l-{n}-{turn}", "customer_id": f"c-{n}", "order_id": f"r-{n}-{turn}",
            "product_id": "p", "at": NOW - (400 - n * turn) * DAY, "channel": "till",
            "local_day": 20_000 + n * turn, "local_hour": 8, "quantity": 1.0,
            "amount": -5 if turn == 9 else 5, "discount": 0, "offer_discount": 0,
        }
        for n in range(1, customers + 1)
        for turn in (*range(5), 9)
    ]  # fmt: skip
    rows += [{**rows[0], "line_id": f"x-{n}", "customer_id": f"x-{n}"} for n in range(99)]
    with lake.write() as write:
        write.merge("purchases", TABLES["purchases"].from_rows(rows))


def test_two_median_cycles_in_whole_weeks_are_locked_and_told(lake: DuckDbLake) -> None:
    bought(lake, 31)
    assert purchase_cycle(lake, NOW) == 16
    chosen, told = with_follow_up(lake, plan(), NOW)
    # Twice 16 days, in whole weeks.
    assert chosen == plan(follow_up_days=35)
    assert told is not None
    assert "35 days" in told
    assert "every 16 days" in told


@pytest.mark.parametrize(
    "said",
    [{"follow_up_days": 9}, {"follow_up_days": 0}, {"stop": None}, {"primary_metric": "nps"}],
)
def test_who_said_how_long_or_decides_on_no_money_keeps_the_plan(
    lake: DuckDbLake, said: dict[str, Any]
) -> None:
    bought(lake, 31)
    assert with_follow_up(lake, plan(**said), NOW) == (plan(**said), None)


def test_too_short_a_history_says_so_and_chooses_nothing(lake: DuckDbLake) -> None:
    bought(lake, 29)
    chosen, told = with_follow_up(lake, plan(), NOW)
    assert chosen == plan()
    assert "fewer than 30 customers" in str(told)


def test_no_window_is_none_and_a_negative_one_is_refused() -> None:
    assert plan(follow_up_days=0).window_days is None
    check(plan(follow_up_days=0))
    with pytest.raises(InvalidDesign, match="follow_up_days -1"):
        check(plan(follow_up_days=-1))
