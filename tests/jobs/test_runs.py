"""Which run counts: the newest of its instant, whatever it is called."""

from datetime import UTC, datetime, timedelta

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import SEGMENTS
from regulars.jobs.movement import movement
from regulars.jobs.runs import all_runs, counting

MONDAY = datetime(2026, 5, 4, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def run(lake: DuckDbLake, run_id: str, as_of: datetime, made_at: datetime, state: str) -> None:
    row = {
        "segment_row_id": f"{run_id}|a", "run_id": run_id, "as_of": as_of, "made_at": made_at,
        "customer_id": "a", "recency_score": 1, "frequency_score": 1, "monetary_score": 1,
        "rfm": "Loyal", "lifecycle": state, "cluster": "x",
    }  # fmt: skip
    with lake.write() as write:
        write.merge(SEGMENTS.name, SEGMENTS.from_rows([row]))


def test_a_run_made_again_replaces_that_of_its_instant_and_hides_no_other(
    lake: DuckDbLake,
) -> None:
    run(lake, "monday", MONDAY, MONDAY, "new")
    run(lake, "z-first", MONDAY + DAY, MONDAY + DAY, "active")
    # Named so that its name would sort before the one it replaces.
    run(lake, "a-again", MONDAY + DAY, MONDAY + 3 * DAY, "slowing")
    # Monday once more, made last of all: it is no newer knowledge than Tuesday's.
    run(lake, "monday-again", MONDAY, MONDAY + 4 * DAY, "dormant")

    assert [found.run_id for found in counting(all_runs(lake))] == ["monday-again", "a-again"]
    report = movement(lake)
    assert (report.before, report.now) == ("monday-again", "a-again")
    (flow,) = report.migration["lifecycle"]
    assert (flow.before, flow.now) == ("dormant", "slowing")
