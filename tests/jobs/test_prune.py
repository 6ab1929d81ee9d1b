"""Do decisions leave the database only when the lake holds them? Real PostgreSQL, real lake."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import psycopg
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_contacts import PostgresContacts
from adapters.postgres_customers import PostgresCustomers
from adapters.postgres_pool import PostgresPool
from foundation.clock import FixedClock
from foundation.contact_policy import ContactPolicy, Decided
from foundation.decision import DecisionRecord, encode
from regulars.jobs.erase import erase_in_lake, rows_about
from regulars.jobs.ingest import CURSOR, IngestReport, ingest
from regulars.jobs.prune import PruneReport, prune
from regulars.progress import Progress
from tests.jobs.test_ingest import ZONE, Loop, decision

KEPT = 90
START = datetime(2026, 5, 4, 3, tzinfo=UTC)
BEFORE = START - timedelta(hours=12)


class Nights(Loop):
    """The way between database and lake, on nights that are counted from the first one."""

    def ingest_on(self, night: float) -> IngestReport:
        return ingest(self.lake, self.admin, clock(night), ZONE, self.progress)

    def prune_on(self, night: float) -> PruneReport:
        old = self.admin.old_decisions
        return prune(self.lake, self.admin, old, clock(night), KEPT, self.progress)

    def night(self, night: float) -> PruneReport:
        self.ingest_on(night)
        return self.prune_on(night)

    def stored(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT decision_id FROM decisions ORDER BY 1").fetchall()
        return [decision_id for (decision_id,) in rows]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("prune") / "pg") as running:
        yield running


@pytest.fixture
def loop(server: EmbeddedPostgres, lake: DuckDbLake, silent: Progress) -> Iterator[Nights]:
    with opened(server, lake, silent) as nights:
        yield nights
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE decisions, outcomes, batches, batch_decisions, erasures")


@contextmanager
def opened(server: EmbeddedPostgres, lake: DuckDbLake, progress: Progress) -> Generator[Nights]:
    admin = PostgresAdmin(server.url)
    try:
        yield Nights(server.url, admin, lake, progress)
    finally:
        admin.close()


def clock(night: float) -> FixedClock:
    return FixedClock(START + timedelta(days=night))


def on(night: float) -> datetime:
    """An instant in the day before a night."""
    return BEFORE + timedelta(days=night)


class TestWhatLeaves:
    def test_is_what_the_lake_has_held_for_the_days_and_stays_in_the_lake(
        self, loop: Nights
    ) -> None:
        loop.decide(decision("d-1", on(0)), decision("d-2", on(0)))
        assert loop.night(0) == PruneReport()
        loop.decide(decision("d-3", on(1)))
        assert loop.night(1) == PruneReport()
        assert loop.night(89.9) == PruneReport()
        held = loop.rows("decisions")
        assert loop.night(90) == PruneReport(decisions=2)
        assert loop.stored() == ["d-3"]
        assert loop.night(90) == PruneReport()
        assert loop.night(91) == PruneReport(decisions=1)
        assert (loop.stored(), loop.rows("decisions")) == ([], held)
        assert loop.ids("decisions") == ["d-1", "d-2", "d-3"]

    def test_is_nothing_that_was_written_since_the_lake_was_written(self, loop: Nights) -> None:
        loop.decide(decision("d-1", on(0)))
        loop.ingest_on(0)
        loop.decide(decision("d-2", on(0)))
        # No ingest in between: a hundred days old, and in no lake.
        assert loop.prune_on(100) == PruneReport(decisions=1)
        assert loop.stored() == ["d-2"]

    def test_is_nothing_of_a_transaction_that_commits_late(self, loop: Nights) -> None:
        with psycopg.connect(loop.url) as slow:
            slow.execute(INSERT, ("d-slow", on(0), encode(decision("d-slow", on(0))).decode()))
            loop.decide(decision("d-quick", on(0)))
            loop.ingest_on(0)
            slow.commit()
        # Both were written behind the first night's mark.
        assert loop.prune_on(100) == PruneReport()
        assert loop.night(100) == PruneReport()
        assert loop.night(190) == PruneReport(decisions=2)
        assert loop.ids("decisions") == ["d-quick", "d-slow"]

    def test_is_nothing_that_waited_on_a_disk_and_came_lately(self, loop: Nights) -> None:
        """A backup of yesterday does not hold what came today, however old that is."""
        loop.night(0)
        loop.decide(decision("d-spooled", on(1)))
        loop.night(100)
        assert loop.night(189) == PruneReport()
        assert loop.night(190) == PruneReport(decisions=1)

    def test_is_nothing_decided_lately_whatever_its_mark_says(self, loop: Nights) -> None:
        loop.decide(decision("d-1", on(50)))
        loop.night(0)
        assert loop.night(90) == PruneReport()
        assert loop.night(141) == PruneReport(decisions=1)

    def test_is_nothing_before_a_mark_is_old_enough_where_the_lake_had_none(
        self, loop: Nights
    ) -> None:
        loop.decide(decision("d-1", on(0)))
        loop.ingest_on(0)
        # As a version before this one left it.
        with loop.lake.write() as write:
            write.remember("held since", "[]")
        assert loop.night(200) == PruneReport()
        assert loop.night(290) == PruneReport(decisions=1)


class TestWhatTheLakeDoesNotHold:
    def test_stays_and_is_counted_where_it_could_not_be_read(self, loop: Nights) -> None:
        told = json.loads(encode(decision("d-odd", on(0)))) | {"placements": "none"}
        with psycopg.connect(loop.url) as connection:
            connection.execute(INSERT, ("d-odd", on(0), json.dumps(told)))
        loop.decide(decision("d-1", on(0)))
        assert loop.ingest_on(0).refused == 1
        for _ in range(2):
            assert loop.night(90).missing == 1
        assert loop.stored() == ["d-odd"]

    def test_stays_where_its_number_says_that_it_was_read(self, loop: Nights) -> None:
        """As of a data folder copied back, whose count has passed the cursor before it was read."""
        loop.decide(decision("d-1", on(0)))
        loop.ingest_on(0)
        with psycopg.connect(loop.url) as connection:
            connection.execute(
                "INSERT INTO decisions (decision_id, customer_id, at, record, written_by) "
                "VALUES (%s, 'c-1', %s, %s, '9')",
                ("d-2", on(0), encode(decision("d-2", on(0))).decode()),
            )
        assert loop.night(90) == PruneReport(decisions=1, missing=1)
        assert loop.stored() == ["d-2"]

    def test_stays_where_the_lakes_rows_are_gone(self, loop: Nights) -> None:
        loop.decide(decision("d-1", on(0)))
        loop.ingest_on(0)
        with loop.lake.write() as write:
            write.clear("decisions")
        assert loop.night(90) == PruneReport(missing=1)
        assert loop.stored() == ["d-1"]


class TestOtherHistories:
    def test_a_lake_of_a_backup_younger_than_the_days_lacks_nothing(
        self, loop: Nights, tmp_path: Path
    ) -> None:
        written = [decision(f"d-{day:02}", on(day)) for day in range(0, 100, 7)]
        for record in written:
            day = (record.at - BEFORE).days
            if day == 21:
                shutil.copytree(tmp_path / "lake", tmp_path / "backup")
            loop.decide(record)
            loop.night(day)
        # The backup holds what was ingested before day 21, 89 days ago.
        assert loop.night(14 + 89.5).decisions + len(loop.stored()) < len(written)
        shutil.rmtree(tmp_path / "lake")
        shutil.copytree(tmp_path / "backup", tmp_path / "lake")
        assert loop.ids("decisions") == ["d-00", "d-07", "d-14"]
        assert loop.ingest_on(104) == IngestReport(decisions=len(written) - 3)
        assert loop.ids("decisions") == [record.decision_id for record in written]
        # What of it the lake holds anew, it has not held for long.
        stored = loop.stored()
        loop.prune_on(104)
        assert stored[-3:] == loop.stored()[-3:]

    def test_another_cluster_is_pruned_when_the_lake_has_held_it_as_long(
        self, loop: Nights, tmp_path: Path
    ) -> None:
        loop.decide(decision("d-1", on(0)))
        loop.night(0)
        with (
            EmbeddedPostgres(tmp_path / "other") as other,
            opened(other, loop.lake, loop.progress) as moved,
        ):
            moved.decide(decision("d-1", on(0)), decision("d-2", on(0)))
            # The marks are of the first cluster, whose numbers mean nothing here.
            assert moved.prune_on(100) == PruneReport()
            assert moved.ingest_on(100) == IngestReport(decisions=1)
            assert moved.prune_on(100) == PruneReport()
            assert moved.night(190) == PruneReport(decisions=2)
        # Back again, as after a failed move: nothing is lost, nothing is there twice.
        assert loop.night(191) == PruneReport()
        assert loop.stored() == ["d-1"]
        assert loop.night(281) == PruneReport(decisions=1)
        assert loop.ids("decisions") == ["d-1", "d-2"]

    def test_a_cluster_that_counts_from_an_earlier_point_again_begins_anew(
        self, loop: Nights
    ) -> None:
        loop.decide(decision("d-1", on(0)))
        loop.ingest_on(0)
        system, _, until = str(loop.lake.note(CURSOR)).partition(":")
        with loop.lake.write() as write:
            write.remember(CURSOR, f"{system}:{int(until) + 1_000}")
            write.remember("held since", json.dumps([[START.isoformat(), int(until) + 1_000]]))
        loop.decide(decision("d-2", on(0)))
        assert loop.prune_on(100) == PruneReport()
        assert loop.night(100) == PruneReport()
        assert loop.night(190) == PruneReport(decisions=2)
        assert loop.ids("decisions") == ["d-1", "d-2"]

    def test_a_database_recovered_onto_another_timeline_begins_anew(
        self, lake: DuckDbLake, silent: Progress, tmp_path: Path
    ) -> None:
        folder = tmp_path / "pg"
        with EmbeddedPostgres(folder) as server, opened(server, lake, silent) as loop:
            loop.decide(decision("d-1", on(0)), decision("d-2", on(0)))
            loop.ingest_on(0)
            before = str(loop.lake.note(CURSOR))
        # As after a failover or a recovery to a point in time: PostgreSQL counts a new timeline.
        (folder / "recovery.signal").touch()
        with (folder / "postgresql.auto.conf").open("a") as config:
            config.write("restore_command = 'false'\n")
        with EmbeddedPostgres(folder) as server, opened(server, lake, silent) as loop:
            loop.decide(decision("d-3", on(100)))
            assert loop.prune_on(100) == PruneReport()
            assert loop.ingest_on(100) == IngestReport(decisions=1)
            after = str(loop.lake.note(CURSOR))
            assert before.split(":")[0] != after.split(":")[0]
            assert loop.prune_on(100) == PruneReport()
            assert loop.stored() == ["d-1", "d-2", "d-3"]
            assert loop.night(190) == PruneReport(decisions=3)
        assert loop.ids("decisions") == ["d-1", "d-2", "d-3"]

    def test_a_data_folder_copied_back_loses_nothing_of_before_or_after(
        self, lake: DuckDbLake, silent: Progress, tmp_path: Path
    ) -> None:
        folder, backup = tmp_path / "pg", tmp_path / "pg-copy"
        with EmbeddedPostgres(folder) as server, opened(server, lake, silent) as loop:
            loop.decide(decision("d-1", on(0)))
            loop.ingest_on(0)
        copied(folder, backup)
        with EmbeddedPostgres(folder) as server, opened(server, lake, silent) as loop:
            for number in range(50):
                loop.decide(decision(f"d-gone-{number}", on(1)))
            loop.ingest_on(1)
        shutil.rmtree(folder)
        copied(backup, folder)
        with EmbeddedPostgres(folder) as server, opened(server, lake, silent) as loop:
            loop.decide(decision("d-2", on(2)))
            assert loop.prune_on(100) == PruneReport()
            assert loop.ingest_on(100) == IngestReport(decisions=1)
            assert loop.prune_on(100) == PruneReport()
            assert loop.night(190) == PruneReport(decisions=2)
        assert len(loop.ids("decisions")) == 52

    def test_a_copy_that_waited_on_a_disk_all_the_time_comes_back_once(self, loop: Nights) -> None:
        record = decision("d-1", on(0))
        loop.decide(record)
        loop.night(0)
        assert loop.night(90) == PruneReport(decisions=1)
        # Its write was late and its spooled copy later: the database does not know it any more.
        loop.decide(record)
        assert loop.ingest_on(91) == IngestReport()
        assert loop.ids("decisions") == ["d-1"]
        assert loop.prune_on(180) == PruneReport()
        assert loop.prune_on(181) == PruneReport(decisions=1)


class TestWhatStillNeedsIt:
    def test_a_batch_keeps_its_decisions_until_it_is_finished_and_goes_with_them(
        self, loop: Nights
    ) -> None:
        batches("begin", loop.url, "b-old", [])
        batches("begin", loop.url, "b-open", [])
        batches("decide", loop.url, "b-old", [decision("d-1", on(0))])
        batches("decide", loop.url, "b-open", [decision("d-2", on(0)), decision("d-3", on(0))])
        batches("finish", loop.url, "b-old", [], at=BEFORE)
        loop.ingest_on(0)
        assert loop.night(90) == PruneReport(decisions=1)
        assert loop.stored() == ["d-2", "d-3"]
        assert in_batches(loop.url) == [("b-open", "d-2"), ("b-open", "d-3")]
        batches("finish", loop.url, "b-open", [], at=START + timedelta(days=90))
        assert loop.night(91) == PruneReport(decisions=2)
        # Finished yesterday: for whom it decided is known as long as anybody may ask.
        assert len(in_batches(loop.url)) == 2
        loop.night(181)
        assert in_batches(loop.url) == []

    def test_whose_customer_is_being_forgotten_stays_until_the_next_night(
        self, loop: Nights
    ) -> None:
        loop.decide(decision("d-1", on(0)), decision("d-2", on(0)))
        loop.ingest_on(0)
        with psycopg.connect(loop.url) as erasing:
            # Whoever waited for it would find it ended, and delete both.
            erasing.execute("SET idle_in_transaction_session_timeout = '5s'")
            erasing.execute("UPDATE decisions SET customer_id = 'x' WHERE decision_id = 'd-1'")
            assert loop.prune_on(90) == PruneReport(decisions=1)
            erasing.commit()
        assert loop.prune_on(90) == PruneReport(decisions=1)

    def test_what_left_is_still_exported_and_forgotten(self, loop: Nights) -> None:
        loop.decide(decision("d-1", on(0)))
        loop.ingest_on(0)
        loop.decide(decision("d-2", on(1)))
        loop.ingest_on(1)
        assert loop.prune_on(90) == PruneReport(decisions=1)
        hers = rows_about(loop.lake, "c-1")["decisions"]
        assert sorted(row["decision_id"] for row in hers) == ["d-1", "d-2"]
        pseudonyms = asyncio.run(erased(loop.url, "c-1"))
        erase_in_lake(loop.lake, pseudonyms)
        assert rows_about(loop.lake, "c-1") == {}
        assert {row["customer_id"] for row in loop.rows("decisions")} == set(pseudonyms.values())
        # Under her pseudonym it leaves as any other, and nothing is there twice.
        assert loop.night(91) == PruneReport(decisions=1)
        assert loop.ids("decisions") == ["d-1", "d-2"]


def test_the_console_counts_as_waiting_what_stands_behind_the_cursor(loop: Nights) -> None:
    loop.decide(decision("d-1", on(0)), decision("d-2", on(0)))
    loop.night(0)
    loop.night(90)
    loop.decide(decision("d-3", on(90)))
    assert loop.admin.count_decisions(loop.lake.note(CURSOR)) == 1


@pytest.mark.slow
def test_a_run_killed_in_the_middle_deletes_nothing_that_the_lake_lacks(
    loop: Nights, tmp_path: Path
) -> None:
    with psycopg.connect(loop.url) as connection, connection.cursor() as cursor:
        cursor.executemany(INSERT, [row(f"d-{n:05}", on(0)) for n in range(12_000)])
    loop.ingest_on(0)
    run = subprocess.Popen([sys.executable, "-c", RUN, loop.url, str(tmp_path / "lake")])
    while len(loop.stored()) == 12_000:
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    left = len(loop.stored())
    # A transaction deletes a thousand, and all of them or none.
    assert 0 < left < 12_000
    assert left % 1_000 == 0
    assert loop.ingest_on(91) == IngestReport()
    assert loop.prune_on(91) == PruneReport(decisions=left)
    assert loop.stored() == []
    assert loop.ids("decisions") == [f"d-{n:05}" for n in range(12_000)]


def copied(folder: Path, to: Path) -> None:
    # The server has a user of its own, whose files they have to stay.
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)


INSERT = "INSERT INTO decisions (decision_id, customer_id, at, record) VALUES (%s, 'c-1', %s, %s)"


def row(decision_id: str, at: datetime) -> tuple[str, datetime, str]:
    return decision_id, at, encode(decision(decision_id, at)).decode()


def batches(
    what: str, url: str, batch_id: str, records: Sequence[DecisionRecord], at: datetime = START
) -> None:
    """Begin or finish a batch, or decide for its customers, each decision another's."""

    async def done() -> None:
        pool = PostgresPool(url, connections=1)
        try:
            if what == "begin":
                await PostgresBatches(pool).begin(batch_id, batch_id, at)
            elif what == "finish":
                await PostgresBatches(pool).finish(batch_id, at)
            else:
                for record in records:
                    hers = msgspec.structs.replace(record, customer_id=f"c-{record.decision_id}")
                    decided = [Decided(hers, ZoneInfo(ZONE))]
                    await PostgresContacts(pool, ContactPolicy()).record(decided, batch_id)
        finally:
            await pool.close()

    asyncio.run(done())


def in_batches(url: str) -> list[tuple[str, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT batch_id, decision_id FROM batch_decisions ORDER BY 1, 2"
        ).fetchall()


async def erased(url: str, customer_id: str) -> dict[str, str]:
    pool = PostgresPool(url, connections=1)
    try:
        await PostgresCustomers(pool).erase(customer_id, "test")
        return await PostgresCustomers(pool).pseudonyms()
    finally:
        await pool.close()


# One run in a process of its own.
RUN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from rich.console import Console
from adapters.duckdb_lake import DuckDbLake
from adapters.postgres_admin import PostgresAdmin
from foundation.clock import FixedClock
from regulars.jobs.prune import prune
from regulars.progress import Progress
admin, lake = PostgresAdmin(sys.argv[1]), DuckDbLake(Path(sys.argv[2]))
progress, clock = Progress(Console(quiet=True)), FixedClock(datetime(2026, 8, 4, tzinfo=UTC))
prune(lake, admin, admin.old_decisions, clock, 90, progress)
"""
