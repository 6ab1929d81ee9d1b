"""Does every decision and outcome reach the lake exactly once? Real PostgreSQL, real kills."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as parquet
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from foundation.clock import FixedClock
from foundation.contracts import STORES
from foundation.decision import (
    Assignment,
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Shown,
    Slate,
    Versions,
    decode_record,
    encode,
)
from foundation.outcome import BoughtLine, Outcome
from foundation.packed_decision import packed
from regulars.jobs.ingest import CURSOR, IngestReport, ingest
from regulars.progress import Progress

AT = datetime(2026, 5, 4, 12, tzinfo=UTC)
NOW = datetime(2026, 5, 20, tzinfo=UTC)
ZONE = "America/New_York"

INSERT = (
    "INSERT INTO outcomes (event_id, customer_id, at, kind, event, digest) "
    "VALUES (%s, 'c-1', %s, 'view', %s, '')"
)


@dataclass
class Loop:
    """One operational database and one lake, and the way between them."""

    url: str
    admin: PostgresAdmin
    lake: DuckDbLake
    progress: Progress

    def decide(self, *records: DecisionRecord) -> None:
        self._write(lambda journal: journal.record([packed(one) for one in records]))

    def tell(self, *outcomes: Outcome) -> None:
        self._write(lambda journal: journal.tell(outcomes))

    def _write(self, work: Any) -> None:
        async def written() -> None:
            journal = PostgresJournal(PostgresPool(self.url, connections=1))
            try:
                await work(journal)
            finally:
                await journal.close()

        asyncio.run(written())

    def ingest(self) -> IngestReport:
        return ingest(self.lake, self.admin, FixedClock(NOW), ZONE, self.progress)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.lake.fetch(self.lake.table(table)).to_pylist()

    def ids(self, table: str) -> list[str]:
        key = {"decisions": "decision_id", "interactions": "event_id", "purchases": "line_id"}
        return sorted(row[key[table]] for row in self.rows(table))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("ingest") / "pg") as running:
        yield running


@pytest.fixture
def loop(server: EmbeddedPostgres, lake: DuckDbLake, silent: Progress) -> Iterator[Loop]:
    admin = PostgresAdmin(server.url)
    yield Loop(server.url, admin, lake, silent)
    admin.close()
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE decisions, outcomes")


def outcome(event_id: str, **changed: Any) -> Outcome:
    return Outcome(
        **{
            "event_id": event_id,
            "customer_id": "c-1",
            "at": AT,
            "channel": "app",
            "kind": "view",
            **changed,
        }
    )


def purchase(event_id: str, *lines: BoughtLine, **changed: Any) -> Outcome:
    return outcome(event_id, kind="purchase", lines=list(lines), channel="till", **changed)


def decision(decision_id: str, at: datetime = AT) -> DecisionRecord:
    return DecisionRecord(
        decision_id=decision_id,
        customer_id="c-1",
        at=at,
        channel="app",
        placements=[Placement("checkout", 1)],
        context=Context("s-1"),
        known=True,
        vector=[1.5, None],
        assignments=[Assignment("winter-latte", "on", "c-1")],
        policy=Policy("response", 0.1),
        scores={"o-1": 0.25},
        refusals={"o-2": "expired"},
        slates=[Slate("checkout", [Shown("o-1", 1, 0.25, 0.95)], 0.95, False)],
        seed=7,
        propensity_valid=True,
        causes=[],
        versions=Versions(3, "response@2", "2026-05-03.0001"),
    )


def event(event_id: str, at: datetime = AT) -> tuple[str, datetime, str]:
    """The values of INSERT: an outcome written past the journal, in a transaction of our own."""
    return event_id, at, encode(outcome(event_id, at=at)).decode()


class TestWhatArrives:
    def test_is_every_field_of_a_decision(self, loop: Loop) -> None:
        told = decision("d-1")
        loop.decide(told)
        assert loop.ingest().decisions == 1
        [row] = loop.rows("decisions")
        assert decode_record(row["record"]) == told
        assert json.loads(row["experiments"]) == [
            {"key": "winter-latte", "variant": "on", "unit": "c-1"}
        ]
        assert json.loads(row["slates"])[0]["slate_propensity"] == 0.95
        assert (row["at"], row["channel"], row["policy"]) == (AT, "app", "response")
        assert (row["known"], row["propensity_valid"]) == (True, True)

    def test_is_an_outcome_with_money_in_minor_units_and_scores_as_they_are(
        self, loop: Loop
    ) -> None:
        loop.tell(
            outcome("e-1", kind="redeem", offer_id="o-1", decision_id="d-1", value=1.1),
            outcome("e-2", kind="survey", value=9.0, text="schön"),
            outcome("e-3"),
        )
        assert loop.ingest().outcomes == 3
        rows = {row["event_id"]: row for row in loop.rows("interactions")}
        assert rows["e-1"]["value"] == 110.0
        assert (rows["e-1"]["offer_id"], rows["e-1"]["decision_id"]) == ("o-1", "d-1")
        assert (rows["e-2"]["value"], rows["e-2"]["text"]) == (9.0, "schön")
        assert rows["e-3"]["value"] is None

    def test_is_a_receipts_line_on_its_stores_own_clock(self, loop: Loop) -> None:
        stores = [
            {"store_id": "s-vienna", "time_zone": "Europe/Vienna", "owner": "own"},
            {"store_id": "s-tokyo", "time_zone": "Asia/Tokyo", "owner": "own"},
        ]
        with loop.lake.write() as write:
            write.merge("stores", STORES.from_rows([{**s, "participates": True} for s in stores]))
        # 23:30 UTC on 4 May: 01:30 on the 5th in Vienna, 08:30 in Tokyo, 19:30 on the 4th at home.
        late = datetime(2026, 5, 4, 23, 30, tzinfo=UTC)
        for store_id in ("s-vienna", "s-tokyo", "s-unknown", None):
            line = BoughtLine(
                f"l-{store_id}", "p-1", 2, 4.5, 0.6, 0.5, offer_id="o-1", returns_line_id="l-0"
            )
            loop.tell(purchase(f"e-{store_id}", line, at=late, store_id=store_id, order_id="r-1"))
        assert loop.ingest().lines == 4
        rows = {row["line_id"]: row for row in loop.rows("purchases")}
        days = {"l-s-vienna": 5, "l-s-tokyo": 5, "l-s-unknown": 4, "l-None": 4}
        hours = {"l-s-vienna": 1, "l-s-tokyo": 8, "l-s-unknown": 19, "l-None": 19}
        first = datetime(1970, 1, 1, tzinfo=UTC)
        for line_id, row in rows.items():
            day = datetime(2026, 5, days[line_id], tzinfo=UTC)
            assert (row["local_day"], row["local_hour"]) == ((day - first).days, hours[line_id])
        row = rows["l-s-vienna"]
        assert (row["amount"], row["discount"], row["offer_discount"]) == (450, 60, 50)
        assert (row["order_id"], row["quantity"], row["offer_id"]) == ("r-1", 2.0, "o-1")
        assert (row["margin"], row["returns_line_id"], row["channel"]) == (None, "l-0", "till")

    def test_is_a_receipt_named_by_its_event_where_it_has_no_number(self, loop: Loop) -> None:
        loop.tell(purchase("e-1", BoughtLine("l-1", "p-1", 1, 1.0)))
        loop.ingest()
        assert [row["order_id"] for row in loop.rows("purchases")] == ["e-1"]

    def test_told_late_stands_in_the_day_on_which_it_happened(self, loop: Loop) -> None:
        loop.tell(outcome("e-1"), outcome("e-2", at=AT + timedelta(days=1)))
        loop.ingest()
        loop.tell(outcome("e-3", at=AT - timedelta(hours=1)), outcome("e-4", at=AT))
        assert loop.ingest().outcomes == 2
        assert loop.ids("interactions") == ["e-1", "e-2", "e-3", "e-4"]
        folder = Path(str(loop.lake._folder)) / "interactions"
        files = {path.name: len(list(path.iterdir())) for path in folder.iterdir()}
        assert files == {"day=2026-05-04": 2, "day=2026-05-05": 1}


class TestExactlyOnce:
    def test_a_second_run_finds_nothing_new_and_writes_nothing(self, loop: Loop) -> None:
        loop.decide(decision("d-1"))
        loop.tell(purchase("e-1", BoughtLine("l-1", "p-1", 1, 1.0)))
        assert loop.ingest() == IngestReport(1, 1, 1)
        cursor = loop.lake.note(CURSOR)
        assert loop.ingest() == IngestReport()
        # Nothing was written in between, so the database counted no transaction either.
        assert loop.lake.note(CURSOR) == cursor

    def test_a_transaction_that_commits_after_a_run_is_not_missed_by_the_next(
        self, loop: Loop
    ) -> None:
        with psycopg.connect(loop.url) as slow:
            slow.execute(INSERT, event("e-slow"))
            # Later transactions, already committed, wait for it too: they come in one order.
            loop.tell(outcome("e-quick"))
            assert loop.ingest().outcomes == 0
            slow.commit()
        assert loop.ingest().outcomes == 2
        assert loop.ids("interactions") == ["e-quick", "e-slow"]

    def test_a_transaction_older_than_the_cursor_is_not_missed(self, loop: Loop) -> None:
        """A cursor by the highest number seen would slip past this one."""
        loop.tell(outcome("e-0"))
        loop.ingest()
        with psycopg.connect(loop.url) as slow, psycopg.connect(loop.url) as slower:
            slower.execute(INSERT, event("e-slower"))
            slow.execute(INSERT, event("e-slow"))
            loop.tell(outcome("e-1"))
            slow.commit()
            assert loop.ingest().outcomes == 0
            loop.tell(outcome("e-2"))
            slower.commit()
        assert loop.ingest().outcomes == 4
        assert loop.ids("interactions") == ["e-0", "e-1", "e-2", "e-slow", "e-slower"]

    def test_a_transaction_rolled_back_leaves_nothing_and_holds_up_nothing(
        self, loop: Loop
    ) -> None:
        with psycopg.connect(loop.url) as given_up:
            given_up.execute(INSERT, event("e-given-up"))
            given_up.rollback()
        loop.tell(outcome("e-1"))
        assert loop.ingest().outcomes == 1
        assert loop.ids("interactions") == ["e-1"]

    def test_a_transaction_is_waited_for_also_with_rows_of_a_savepoint(self, loop: Loop) -> None:
        # A savepoint's rows carry the number of the whole transaction.
        with psycopg.connect(loop.url) as slow:
            with slow.transaction(), slow.transaction():
                slow.execute(INSERT, event("e-inner"))
                loop.tell(outcome("e-quick"))
                assert loop.ingest().outcomes == 0
            assert loop.ingest().outcomes == 2

    def test_runs_between_many_writers_miss_nothing_and_repeat_nothing(self, loop: Loop) -> None:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITERS, loop.url], stdout=subprocess.PIPE, text=True
        )
        arrived = 0
        while writer.poll() is None:
            arrived += loop.ingest().outcomes
            time.sleep(0.02)
        assert writer.returncode == 0
        assert writer.stdout is not None
        written = sorted(writer.stdout.read().split())
        arrived += loop.ingest().outcomes
        assert loop.ids("interactions") == written
        assert arrived == len(written) == 360

    @pytest.mark.slow
    def test_a_run_killed_in_the_middle_repeats_nothing_and_loses_nothing(
        self, loop: Loop, tmp_path: Path
    ) -> None:
        with psycopg.connect(loop.url) as connection, connection.cursor() as cursor:
            cursor.executemany(
                INSERT, [event(f"e-{n:05}", AT + timedelta(minutes=n)) for n in range(12_000)]
            )
        files = tmp_path / "lake" / "interactions"
        for _ in range(2):
            began = time.time_ns()
            run = subprocess.Popen([sys.executable, "-c", RUN, loop.url, str(tmp_path / "lake")])
            # The first page of rows is written, two more and the commit are not.
            while not any(f.stat().st_mtime_ns > began for f in files.glob("*/*.parquet")):
                assert run.poll() is None
                time.sleep(0.005)
            run.send_signal(signal.SIGKILL)
            assert run.wait() == -signal.SIGKILL
            assert loop.ids("interactions") == []
        assert loop.ingest().outcomes == 12_000
        assert loop.ids("interactions") == [f"e-{n:05}" for n in range(12_000)]
        # What the killed runs left is swept away.
        left = [file for file in files.glob("*/*") if file.is_file()]
        assert sum(parquet.read_metadata(file).num_rows for file in left) == 12_000

    def test_another_cluster_is_read_from_its_start_and_known_rows_stay_single(
        self, loop: Loop, tmp_path: Path
    ) -> None:
        loop.decide(decision("d-1"))
        loop.tell(purchase("e-1", BoughtLine("l-1", "p-1", 1, 1.0)), outcome("e-2"))
        # The old cursor stands far ahead of anything the new cluster has counted.
        with psycopg.connect(loop.url) as connection:
            for _ in range(50):
                connection.execute("SELECT pg_current_xact_id()")
                connection.commit()
        loop.ingest()
        with EmbeddedPostgres(tmp_path / "other") as other:
            admin = PostgresAdmin(other.url)
            moved = Loop(other.url, admin, loop.lake, loop.progress)
            # What a restored dump holds, and something new.
            moved.decide(decision("d-1"))
            moved.tell(purchase("e-1", BoughtLine("l-1", "p-1", 1, 1.0)), outcome("e-2"))
            moved.tell(outcome("e-3"))
            assert moved.ingest() == IngestReport(0, 1, 0)
            assert moved.ingest() == IngestReport()
            admin.close()
        assert loop.ids("interactions") == ["e-1", "e-2", "e-3"]
        assert loop.ids("decisions") == ["d-1"]
        assert loop.ids("purchases") == ["l-1"]
        # And back again, as after a failed move.
        loop.tell(outcome("e-4"))
        assert loop.ingest().outcomes == 1

    def test_a_cluster_that_counts_from_an_earlier_point_again_is_read_anew(
        self, loop: Loop
    ) -> None:
        # A restored copy of the data folder has the same identifier and an older count.
        loop.tell(outcome("e-1"))
        loop.ingest()
        system, _, until = str(loop.lake.note(CURSOR)).partition(":")
        with loop.lake.write() as write:
            write.remember(CURSOR, f"{system}:{int(until) + 1_000}")
        loop.tell(outcome("e-2"))
        assert loop.ingest().outcomes == 1
        assert loop.ids("interactions") == ["e-1", "e-2"]


class TestContradictions:
    def test_of_a_line_are_quarantined_whole_and_counted(self, loop: Loop) -> None:
        loop.tell(
            purchase("e-1", BoughtLine("l-1", "p-1", 1, 1.0), BoughtLine("l-2", "p-1", 1, 2.0))
        )
        # Another receipt claims line l-1 with another amount, and repeats l-2 as it was.
        loop.tell(
            purchase(
                "e-2", BoughtLine("l-1", "p-1", 1, 9.0), BoughtLine("l-2", "p-1", 1, 2.0),
                order_id="e-1",
            )
        )  # fmt: skip
        report = loop.ingest()
        assert (report.outcomes, report.lines, report.refused) == (2, 2, 1)
        [reason] = report.reasons
        assert "'l-1'" in reason
        assert {row["line_id"]: row["amount"] for row in loop.rows("purchases")} == {
            "l-1": 100,
            "l-2": 200,
        }
        [kept] = loop.rows("quarantine")
        assert (kept["table"], kept["source"], kept["at"]) == ("purchases", "outcomes", NOW)
        assert json.loads(kept["value"])["amount"] == 900

    def test_of_a_loaded_event_are_quarantined_and_the_first_telling_stays(
        self, loop: Loop
    ) -> None:
        loop.tell(outcome("e-1", text="first"))
        loop.ingest()
        with psycopg.connect(loop.url) as connection:
            connection.execute("TRUNCATE outcomes")
        loop.tell(outcome("e-1", text="second"), outcome("e-2"))
        report = loop.ingest()
        assert (report.outcomes, report.refused) == (1, 1)
        assert {row["event_id"]: row["text"] for row in loop.rows("interactions")} == {
            "e-1": "first",
            "e-2": None,
        }

    def test_of_several_kinds_about_one_line_are_each_kept_and_none_twice(self, loop: Loop) -> None:
        loop.tell(purchase("e-1", BoughtLine("l-1", "p-1", 1, 1.0)))
        loop.ingest()
        for n in (2, 3):
            loop.tell(purchase(f"e-{n}", BoughtLine("l-1", "p-1", 1, float(n))))
            assert loop.ingest().refused == 1
        # Read again from the start: what was refused before is not refused anew.
        with loop.lake.write() as write:
            write.remember(CURSOR, "")
        assert loop.ingest() == IngestReport()
        amounts = {json.loads(row["value"])["amount"] for row in loop.rows("quarantine")}
        assert amounts == {200, 300}

    def test_tell_five_reasons_however_many_there_are(self, loop: Loop) -> None:
        loop.tell(purchase("e-1", *(BoughtLine(f"l-{n}", "p", 1, 1.0) for n in range(9))))
        loop.tell(purchase("e-2", *(BoughtLine(f"l-{n}", "p", 1, 2.0) for n in range(9))))
        report = loop.ingest()
        assert (report.refused, len(report.reasons)) == (9, 5)


class TestWhatCannotBeRead:
    """Rows that an earlier release wrote, or a hand."""

    def test_is_quarantined_with_its_reason_and_holds_up_nothing(self, loop: Loop) -> None:
        long = f"{'e' * 200}-reverse"
        odd = purchase("e-odd", BoughtLine("l-1", "p-1", 1, 1.001))
        with psycopg.connect(loop.url) as connection:
            connection.execute(INSERT, event(long))
            connection.execute(INSERT, ("e-odd", AT, encode(odd).decode()))
            connection.execute(
                "INSERT INTO decisions (decision_id, customer_id, at, record) "
                "VALUES ('d-0', 'c-1', now(), '{\"decision_id\": \"d-0\"}')"
            )
        loop.decide(decision("d-1"))
        loop.tell(outcome("e-1"), purchase("e-2", BoughtLine("l-2", "p-1", 1, 1.0)))
        report = loop.ingest()
        assert (report.decisions, report.outcomes, report.lines) == (1, 2, 1)
        assert report.refused == 3
        for reason, name in zip(report.reasons, ("'d-0'", repr(long), "'e-odd'"), strict=True):
            assert f"{name} cannot be read: " in reason
        assert {row["table"] for row in loop.rows("quarantine")} == {"decisions", "interactions"}
        assert long in {json.loads(r["value"]).get("event_id") for r in loop.rows("quarantine")}
        assert loop.ids("interactions") == ["e-1", "e-2"]
        assert loop.ids("purchases") == ["l-2"]
        # Neither they nor the others come again.
        assert loop.ingest() == IngestReport()
        with loop.lake.write() as write:
            write.remember(CURSOR, "")
        assert loop.ingest() == IngestReport()


def test_an_ordinary_database_user_may_be_read_from(loop: Loop) -> None:
    with psycopg.connect(loop.url, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT USAGE ON SCHEMA public TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    loop.tell(outcome("e-1"))
    admin = PostgresAdmin(loop.url.replace("postgres@", "reader@"))
    ours = Loop(loop.url, admin, loop.lake, loop.progress)
    assert ours.ingest().outcomes == 1
    admin.close()


# One ingest run in a process of its own.
RUN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from rich.console import Console
from adapters.duckdb_lake import DuckDbLake
from adapters.postgres_admin import PostgresAdmin
from foundation.clock import FixedClock
from regulars.jobs.ingest import ingest
from regulars.progress import Progress
admin, lake = PostgresAdmin(sys.argv[1]), DuckDbLake(Path(sys.argv[2]))
progress = Progress(Console(quiet=True))
ingest(lake, admin, FixedClock(datetime(2026, 5, 20, tzinfo=UTC)), "America/New_York", progress)
"""

# Six writers whose transactions stay open for a while, so that they commit out of order.
WRITERS = """
import random, sys, threading, time
from datetime import UTC, datetime
import psycopg
from tests.jobs.test_ingest import INSERT, event
def write(writer):
    draw = random.Random(writer)
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        for n in range(30):
            with connection.transaction():
                for half in ("a", "b"):
                    name = f"e-{writer}-{n}-{half}"
                    connection.execute(INSERT, event(name))
                    time.sleep(draw.random() * 0.01)
                    # One write a line: print writes the line end on its own.
                    sys.stdout.write(f"{name}\\n")
threads = [threading.Thread(target=write, args=(writer,)) for writer in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
