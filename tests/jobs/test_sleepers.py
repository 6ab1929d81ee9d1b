"""Do sleepers' figures equal those counted by hand, and is the holdout the one that chance made?"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.postgres_admin import StoredExperiment
from experiments.assignment import variant_of
from experiments.design import Experiment, Variant
from foundation.contracts import TABLES
from foundation.errors import NothingToDo, RegularsError, TooLittleData
from regulars.jobs.sleepers import SleepersReport, sleepers

T = datetime(2026, 5, 4, 2, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = T + 90 * DAY
RUN = "2026-05-04"
CUSTOMERS = [f"c-{n}" for n in range(400)]


def put(lake: DuckDbLake, table: str, rows: list[dict[str, Any]]) -> None:
    with lake.write() as write:
        write.merge(table, TABLES[table].from_rows(rows))


def segmented(lake: DuckDbLake, states: dict[str, str], run: str = RUN, at: datetime = T) -> None:
    rows = [
        {
            "segment_row_id": f"{run}|{customer}", "run_id": run, "as_of": at, "made_at": at,
            "customer_id": customer, "recency_score": 1, "frequency_score": 1,
            "monetary_score": 1, "rfm": "Loyal", "lifecycle": state, "cluster": "x",
        }
        for customer, state in states.items()
    ]  # fmt: skip
    put(lake, "segments", rows)


def line(customer: str, amount: int, at: datetime, order: str | None = None) -> dict[str, Any]:
    order = order or f"{customer}-{at.isoformat()}"
    return {
        "line_id": f"{order}-{amount}",
        "customer_id": customer,
        "order_id": order,
        "product_id": "p-1",
        "at": at,
        "channel": "till",
        "local_day": 20_577,
        "local_hour": 8,
        "quantity": 1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
    }


def trial(started: datetime, unit: Any = "customer", holdout: float = 0.3) -> StoredExperiment:
    variants = [Variant("none", holdout, policy="none"), Variant("on", 1 - holdout)]
    design = Experiment("wake", "wake", variants, "none", unit)
    return StoredExperiment(design, "hash", started, None)


def ask(lake: DuckDbLake, *experiments: StoredExperiment, **asked: Any) -> SleepersReport:
    return sleepers(lake, experiments, **{"since": None, "days": 30, "now": NOW, **asked})


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    segmented(lake, {"d1": "dormant", "d2": "dormant", "l1": "lost", "l2": "lost", "a": "active"})
    rows = [
        line("d1", 700, T, "first"),
        line("d1", 300, T, "first"),
        line("d1", -200, T + 9 * DAY, "goods back"),
        # The end of the days is outside, and so is the moment before the run.
        line("d2", 5_000, T + 30 * DAY),
        line("d2", 5_000, T - timedelta(seconds=1)),
        # Who only gives back has not come back.
        line("l1", -400, T + DAY),
        line("l2", 250, T + 29 * DAY),
        line("a", 9_000, T + DAY),
        line("a", 9_000, NOW - DAY),
    ]
    put(lake, "purchases", rows)
    return lake


class TestReturns:
    def test_are_counted_within_the_days_from_the_run_on(self, shop: DuckDbLake) -> None:
        found = ask(shop)
        assert (found.run_id, found.as_of, found.until) == (RUN, T, T + 30 * DAY)
        assert (found.all.sleeping, found.all.returned) == (4, 2)
        assert found.all.rate.value == 0.5
        assert found.all.spend is None
        counted = {k: (v.sleeping, v.returned) for k, v in found.by_state.items()}
        assert counted == {"dormant": (2, 1), "lost": (2, 1)}
        assert ask(shop, days=31).all.returned == 3

    def test_spend_is_net_of_goods_brought_back(self, lake: DuckDbLake) -> None:
        segmented(lake, {f"c{n}": "lost" for n in range(20)})
        rows = [line(f"c{n}", 1_000, T + DAY) for n in range(10)]
        put(lake, "purchases", [*rows, line("c0", -300, T + 2 * DAY), line("x", 1, NOW)])
        found = ask(lake).all.spend
        assert found is not None
        assert found.value == (10 * 1_000 - 300) / 20

    def test_without_a_holdout_natural_return_is_said_to_be_inside(self, shop: DuckDbLake) -> None:
        over = trial(T - 9 * DAY)
        over = StoredExperiment(over.design, "hash", over.started_at, T - DAY)
        design = Experiment("all-on", "s", [Variant("a", 0.5), Variant("b", 0.5)], "a")
        open_to_all = StoredExperiment(design, "hash", T, None)
        found = ask(shop, over, open_to_all, trial(T + 30 * DAY))
        assert found.holdouts == []
        assert found.natural == (
            "nobody was held out of offers between 2026-05-04 and 2026-06-03, so those who would "
            "have come back by themselves are in these figures"
        )

    def test_are_of_the_newest_run_whose_days_are_over(self, shop: DuckDbLake) -> None:
        segmented(shop, {"a": "lost"}, "later", T + 50 * DAY)
        segmented(shop, {"a": "lost"}, "running", T + 70 * DAY)
        assert ask(shop).run_id == "later"
        assert ask(shop, since=RUN).run_id == RUN
        # A date, or what else a run's name begins with.
        assert ask(shop, since=RUN[:7]).run_id == RUN
        with pytest.raises(
            TooLittleData, match=r"after run running end on 2026-08-12 02:00, purch"
        ):
            ask(shop, since="running")
        with pytest.raises(TooLittleData, match="no run is 200 days before 2026-08-01 02:00"):
            ask(shop, days=200)

    def test_of_nobody_are_refused(self, shop: DuckDbLake, lake: DuckDbLake) -> None:
        segmented(shop, {"a": "active"}, "awake", T + 10 * DAY)
        with pytest.raises(NothingToDo, match="nobody was dormant or lost at run awake"):
            ask(shop)
        with pytest.raises(NothingToDo, match=f"run 'x' is not in the lake; the newest are {RUN}"):
            ask(shop, since="x")
        with pytest.raises(RegularsError, match="a return within 0 days"):
            ask(shop, days=0)

    def test_of_no_run_are_refused(self, lake: DuckDbLake) -> None:
        with pytest.raises(NothingToDo, match="no run yet; make one with 'regulars segment'"):
            ask(lake)


class TestHoldout:
    def fill(self, lake: DuckDbLake, stored: StoredExperiment) -> dict[str, bool]:
        """Everyone sleeps; of the held out one in 10 comes back, of the others one in 4."""
        segmented(lake, dict.fromkeys(CUSTOMERS, "dormant"))
        held = {c: variant_of(stored.design, c).name == "none" for c in CUSTOMERS}
        rows = [line("someone else", 1, NOW)]
        for is_held, one_in in ((True, 10), (False, 4)):
            arm = [c for c in CUSTOMERS if held[c] is is_held]
            rows += [line(c, 1_000, T + DAY) for c in arm[::one_in]]
        put(lake, "purchases", rows)
        return held

    def test_is_found_by_assignment_and_not_by_who_was_asked(self, lake: DuckDbLake) -> None:
        stored = trial(T)
        held = self.fill(lake, stored)
        # Decisions of two alone, who came: reading the holdout from them would leave 2 of 400.
        decided = [
            {
                "decision_id": f"d-{c}", "customer_id": c, "at": T + DAY, "channel": "app",
                "known": True, "propensity_valid": True, "policy": "response", "slates": "[]",
                "record": "{}", "experiments": json.dumps(
                    [{"key": "wake", "variant": "none" if held[c] else "on", "unit": c}]
                ),
            }
            for c in CUSTOMERS[:2]
        ]  # fmt: skip
        put(lake, "decisions", decided)

        (holdout,) = ask(lake, stored).holdouts

        found = holdout.comparison
        assert found is not None
        assert (holdout.refused, holdout.beware) == (None, None)
        n = sum(held.values())
        assert (found.held_out.sleeping, found.offered.sleeping) == (n, 400 - n)
        assert found.held_out.returned == -(-n // 10)
        assert found.offered.returned == -(-(400 - n) // 4)
        gap = found.offered.rate.value - found.held_out.rate.value
        assert found.rate_difference.value == gap
        assert found.rate_difference.low > 0
        assert found.spend_difference is not None
        assert found.spend_difference.value == pytest.approx(1_000 * gap)

    def test_of_an_experiment_older_than_the_run_is_no_effect(self, lake: DuckDbLake) -> None:
        stored = trial(T - 5 * DAY)
        self.fill(lake, stored)
        (holdout,) = ask(lake, stored).holdouts
        assert holdout.beware is not None
        assert "began on 2026-04-29, before the run" in holdout.beware

    def test_that_no_longer_is_the_planned_share_shows_no_difference(
        self, lake: DuckDbLake
    ) -> None:
        stored = trial(T - 5 * DAY)
        self.fill(lake, stored)
        planned = trial(T - 5 * DAY, holdout=0.5).design
        awake = [c for c in CUSTOMERS if variant_of(planned, c).name == "on"][::2]
        segmented(
            lake,
            {c: "dormant" for c in CUSTOMERS if c not in set(awake)},
            "after",
            T + DAY,
        )
        (holdout,) = ask(lake, trial(T - 5 * DAY, holdout=0.5)).holdouts
        assert holdout.comparison is None
        assert holdout.refused is not None
        assert "50% were planned" in holdout.refused

    def test_of_households_counts_them_once_and_leaves_out_who_has_none(
        self, lake: DuckDbLake
    ) -> None:
        homes = [
            {"customer_id": c, "household_id": f"h-{n // 2}"} for n, c in enumerate(CUSTOMERS[:200])
        ]
        put(lake, "customers", homes)
        stored = trial(T, "household")
        self.fill(lake, stored)
        (holdout,) = ask(lake, stored).holdouts
        assert holdout.comparison is not None
        assert holdout.comparison.offered.sleeping + holdout.comparison.held_out.sleeping == 100

    def test_without_sleepers_on_one_side_is_refused(self, shop: DuckDbLake) -> None:
        (holdout,) = ask(shop, trial(T, holdout=1e-9)).holdouts
        assert holdout.comparison is None
        assert holdout.refused is not None
        assert "no sleeper of 4 was held out" in holdout.refused
