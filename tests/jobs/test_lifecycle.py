"""Where customers stand, from their receipts: reactivated, in season, moved; blind from T on."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import PURCHASES, SEGMENTS
from regulars.jobs.lifecycle import Lifecycle, Transitions, lifecycle, transitions
from regulars.jobs.segment import customer_features

T = datetime(2026, 1, 2, 12, tzinfo=UTC)
TODAY = T.date().toordinal() - date(1970, 1, 1).toordinal()
WEEKLY = list(range(400, -1, -7))


def put(lake: DuckDbLake, visits: dict[str, list[int]], order: str = "o") -> None:
    """Write one receipt a visit, `days` before T at noon; negative days lie after it."""
    lines = [
        {
            "line_id": f"{order}-{customer}-{days}",
            "customer_id": customer,
            "order_id": f"{order}-{customer}-{days}",
            "product_id": "p-1",
            "channel": "store",
            "at": T - timedelta(days=days, hours=1),
            "local_day": TODAY - days,
            "local_hour": 11,
            "quantity": 1.0,
            "amount": 450,
            "discount": 0,
            "offer_discount": 0,
        }
        for customer, back in visits.items()
        for days in back
    ]
    with lake.write() as write:
        write.merge(PURCHASES.name, PURCHASES.from_rows(lines))


def stand(lake: DuckDbLake, as_of: datetime = T) -> Lifecycle:
    return lifecycle(lake, customer_features(lake, as_of), as_of)


def without(back: list[int], since: int, until: int) -> list[int]:
    return [days for days in back if not until < days < since]


RETURNED = {
    "steady": WEEKLY,
    # Away from day 99 to day 8 or 36 back, and since then here on 2, 3 or 6 days.
    "back twice": without(WEEKLY, 99, 8),
    "back thrice": without(WEEKLY, 99, 15),
    "back for good": without(WEEKLY, 99, 36),
    # Away for 112 days, and 92 days ago here again, once.
    "back once, long ago": [*(d for d in WEEKLY if d > 203), 92],
    "never away": WEEKLY[-30:],
    "away for more than a year": [800, 3],
    "first here yesterday": [1],
}


class TestReactivation:
    def test_needs_no_earlier_run(self, lake: DuckDbLake) -> None:
        put(lake, RETURNED)
        states = stand(lake).states.to_dict()
        assert states.pop("back once, long ago") in {"slowing", "dormant", "lost"}
        assert states == {
            "steady": "active",
            "back twice": "reactivated",
            "back thrice": "reactivated",
            "back for good": "active",
            "never away": "active",
            "away for more than a year": "reactivated",
            "first here yesterday": "new",
        }

    def test_sees_nothing_at_or_after_its_instant(self, lake: DuckDbLake) -> None:
        put(lake, RETURNED)
        before = stand(lake)
        put(lake, {customer: [-1, -2, -40] for customer in RETURNED}, order="later")
        put(lake, {"comes later": [-1]}, order="later")
        after = stand(lake)
        assert after.without_season == before.without_season
        assert after.states.drop("comes later").to_dict() == before.states.to_dict()

    def test_of_a_lake_without_customers_is_nobody_s(self, lake: DuckDbLake) -> None:
        found = stand(lake)
        assert found.states.empty
        assert found.without_season is not None


class TestSeason:
    def test_keeps_customers_of_shops_that_shut_every_christmas(
        self, lake: DuckDbLake, tmp_path: Path
    ) -> None:
        # 120 shoppers every 3 days or so for two years; from 19 December on nobody can come, as in
        # the year before: 14 days before T, and 364 days before that.
        draw = np.random.default_rng(1)
        shut = {*range(14), *range(364, 378)}
        put(
            lake,
            {
                f"c-{n}": [d for d in range(760) if d not in shut and draw.random() < 0.35]
                for n in range(120)
            },
        )
        slow = ["slowing", "dormant", "lost"]

        found = stand(lake)

        assert found.without_season is None
        # Three average days are left of 14: half days at both ends of the shut week a year before,
        # and the prior, which so small a shop does not outweigh.
        assert found.states.isin(slow).mean() < 0.15
        # The same receipts, of which a lake that begins 370 days ago holds no Christmas.
        young = DuckDbLake(tmp_path / "young")
        rows = lake.fetch(lake.table("purchases").filter(lambda t: t.local_day > TODAY - 370))
        with young.write() as write:
            write.merge(PURCHASES.name, rows)
        found = stand(young)
        assert found.without_season == (
            "silences are judged without season: the lake holds 363 days, 371 are needed; load "
            "older purchases, or wait"
        )
        assert found.states.isin(slow).mean() > 0.5
        before = found.states
        # One stray line of ten years ago is no year that silences could be compared with.
        put(young, {"stray": [3_650]})
        found = stand(young)
        assert found.without_season is not None
        assert "the oldest line is 3650 days old" in found.without_season
        assert found.states.drop("stray").to_dict() == before.to_dict()


class TestTransitions:
    def run(self, lake: DuckDbLake, run_id: str, as_of: datetime, **states: str) -> None:
        scores = {"recency_score": 1, "frequency_score": 1, "monetary_score": 1}
        rows = [
            {
                "segment_row_id": f"{run_id}|{customer}", "run_id": run_id, "as_of": as_of,
                "made_at": as_of,
                "customer_id": customer, "rfm": "Loyal", "lifecycle": state, "cluster": "x",
                **scores,
            }
            for customer, state in states.items()
        ]  # fmt: skip
        with lake.write() as write:
            write.merge(SEGMENTS.name, SEGMENTS.from_rows(rows))

    def moved(self, lake: DuckDbLake) -> Transitions | None:
        put(lake, {"a": WEEKLY, "b": WEEKLY[:-10], "c": [1]})
        return transitions(lake, stand(lake).states, T)

    def test_are_from_the_newest_run_of_an_earlier_instant(self, lake: DuckDbLake) -> None:
        day = timedelta(days=1)
        self.run(lake, "old", T - 9 * day, a="lost", b="lost")
        self.run(lake, "before", T - day, a="slowing", b="active")
        self.run(lake, "the same", T, a="dormant", b="dormant")
        self.run(lake, "future", T + day, a="dormant", b="dormant")
        found = self.moved(lake)
        assert found is not None
        assert found.before == "before"
        flows = {(flow.before, flow.now): (flow.customers, flow.share) for flow in found.flows}
        assert flows == {
            ("(not there)", "new"): (1, 1.0),
            ("active", "lost"): (1, 1.0),
            ("slowing", "active"): (1, 1.0),
        }
        # Wilson's interval of 1 in 1: 1 / (1 + z^2) to 1.
        assert found.flows[1].low == pytest.approx(1 / (1 + 1.959964**2), abs=1e-4)

    def test_of_a_first_run_are_none(self, lake: DuckDbLake) -> None:
        assert self.moved(lake) is None
