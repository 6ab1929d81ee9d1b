"""Does our own PostgreSQL outlive what happens to processes? Real servers and real signals."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from adapters import embedded_postgres
from adapters.embedded_postgres import EmbeddedPostgres, supervise
from foundation.errors import RegularsError, StoreUnavailable

# Starts the server, says so, and holds it until a line arrives.
HOLDER = """
import sys
from pathlib import Path
import psycopg
from adapters.embedded_postgres import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    with psycopg.connect(server.url) as connection:
        print(connection.execute("select 40 + 2").fetchone()[0], flush=True)
    sys.stdin.readline()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def leave(process: subprocess.Popen[str]) -> int:
    process.communicate("\n", timeout=30)
    return process.returncode


def working_in(folder: Path) -> list[psutil.Process]:
    """The processes of the server, found by another sign than the one the adapter uses."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == "postgres" and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def postmaster(folder: Path) -> int:
    return int((folder / "postmaster.pid").read_text().split("\n")[0])


def value(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    folder = tmp_path_factory.mktemp("shared") / "a" / "postgres"
    with EmbeddedPostgres(folder) as server:
        yield server
    assert within(5, lambda: not working_in(folder))
    shutil.rmtree(folder)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("own") / "postgres"
    yield folder
    assert within(5, lambda: not working_in(folder))
    # Forty megabytes each, which pytest would keep for three runs.
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("max_connections", "200"),
        ("TimeZone", "UTC"),
    ],
)
def test_is_durable_and_hears_no_network(
    server: EmbeddedPostgres, setting: str, expected: str
) -> None:
    assert value(server, f"show {setting}") == expected


def test_address_ignores_variables_meant_for_another_server(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGPORT", "PGHOST", "PGDATABASE", "PGUSER"):
        monkeypatch.setenv(name, "6543")

    assert value(server, "select 1") == 1


def test_revives_a_killed_server_at_the_same_address(server: EmbeddedPostgres) -> None:
    address = server.url
    os.kill(postmaster(server.folder), signal.SIGKILL)
    assert within(2, lambda: not server.alive())

    assert server.revive()
    assert server.url == address
    assert value(server, "select 1") == 1
    assert not server.revive()


def test_supervised_server_comes_back_by_itself_with_all_that_was_committed(
    server: EmbeddedPostgres,
) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("create table decision (id int)")
        connection.execute("insert into decision select generate_series(1, 1000)")
    stop = threading.Event()
    thread = supervise(server, stop, interval=0.1)
    dead = postmaster(server.folder)
    try:
        os.kill(dead, signal.SIGKILL)
        assert within(10, lambda: postmaster_changed(server, dead) and server.alive())
    finally:
        stop.set()
        thread.join(timeout=10)

    assert not thread.is_alive()
    assert value(server, "select count(*) from decision") == 1000


def postmaster_changed(server: EmbeddedPostgres, former: int) -> bool:
    try:
        return postmaster(server.folder) != former
    except (FileNotFoundError, ValueError):
        return False


def test_query_that_outlived_the_postmaster_does_not_hold_up_the_revival(
    server: EmbeddedPostgres,
) -> None:
    ended = threading.Event()

    def count_for_minutes() -> None:
        with pytest.raises(psycopg.OperationalError):
            value(server, "select count(*) from generate_series(1, 10000000000)")
        ended.set()

    counting = "select count(*) from pg_stat_activity where query like '%10000000000%'"
    threading.Thread(target=count_for_minutes, daemon=True).start()
    # The question itself is one of those it counts.
    assert within(5, lambda: value(server, counting) == 2)
    os.kill(postmaster(server.folder), signal.SIGKILL)
    assert within(2, lambda: not server.alive())

    began = time.monotonic()
    assert server.revive()
    assert time.monotonic() - began < 10
    assert ended.wait(5)


def test_supervised_server_that_ends_only_when_its_clients_leave_is_ended_and_comes_back(
    server: EmbeddedPostgres, folder: Path
) -> None:
    bystander = postmaster(server.folder)
    with EmbeddedPostgres(folder) as own, psycopg.connect(own.url) as stays:
        half_shut = shut_for_newcomers(own)
        stop = threading.Event()
        thread = supervise(own, stop, interval=0.1)
        try:
            assert within(10, lambda: postmaster_changed(own, half_shut) and own.alive())
        finally:
            stop.set()
            thread.join(timeout=10)
        with pytest.raises(psycopg.OperationalError):
            stays.execute("select 1")
        assert value(own, "select 1") == 1
    assert postmaster(server.folder) == bystander


def test_whoever_finds_a_server_that_waits_for_its_clients_to_leave_is_told_so_soon(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_postgres, "SHUTDOWN_SECONDS", 0.5)
    with EmbeddedPostgres(folder) as server:
        with psycopg.connect(server.url) as stays:
            half_shut = shut_for_newcomers(server)
            with pytest.raises(StoreUnavailable, match=f"process {half_shut} is shutting down"):
                EmbeddedPostgres(folder).start()
            # Whoever is connected may want to finish: nobody who only comes along ends that.
            assert stays.execute("select 1").fetchone() == (1,)
        # Once she has left it ends by itself, and the next start brings it back.
        with EmbeddedPostgres(folder) as second:
            assert value(second, "select 1") == 1


def test_newcomer_waits_for_the_supervisor_to_bring_back_a_server_that_shuts_down(
    folder: Path,
) -> None:
    with EmbeddedPostgres(folder) as server, psycopg.connect(server.url):
        shut_for_newcomers(server)
        newcomer = holder(folder)
        # It holds the turn to start, stop or revive before anybody watches.
        assert within(10, lambda: (folder / "log").read_text().count("is shutting down") > 5)
        stop = threading.Event()
        thread = supervise(server, stop, interval=0.1)
        try:
            assert answer(newcomer) == "42"
        finally:
            stop.set()
            thread.join(timeout=10)
            assert leave(newcomer) == 0


def shut_for_newcomers(server: EmbeddedPostgres) -> int:
    """Let a server end as soon as its clients have left; return its process id."""
    pid = postmaster(server.folder)
    os.kill(pid, signal.SIGTERM)
    assert within(5, lambda: not server.alive())
    return pid


def test_full_server_counts_as_alive_and_is_not_restarted(server: EmbeddedPostgres) -> None:
    before = postmaster(server.folder)
    held: list[psycopg.Connection] = []
    try:
        for _ in range(200):
            held.append(psycopg.connect(server.url))
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            psycopg.connect(server.url)

        assert server.alive()
        assert not server.revive()
        assert postmaster(server.folder) == before
    finally:
        for connection in held:
            connection.close()


def test_forked_child_that_ends_stops_nothing(server: EmbeddedPostgres) -> None:
    child = os.fork()
    if child == 0:
        server.stop()
        os._exit(0)
    os.waitpid(child, 0)

    # Had the child released our handle, this one would be the last, and stop the server.
    with EmbeddedPostgres(server.folder):
        pass

    assert server.alive()


def test_server_stays_for_the_second_process_when_the_first_leaves(folder: Path) -> None:
    first = holder(folder)
    assert answer(first) == "42"
    second = EmbeddedPostgres(folder)
    second.start()
    running = postmaster(folder)

    assert leave(first) == 0
    assert second.alive()
    assert postmaster(folder) == running

    second.stop()
    assert not second.alive()


def test_killed_process_does_not_keep_the_server(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    other = holder(folder)
    assert answer(other) == "42"
    other.kill()
    other.communicate()

    assert server.alive()
    server.stop()
    assert not server.alive()


def test_processes_may_start_and_leave_all_at_once(folder: Path) -> None:
    many = [holder(folder) for _ in range(4)]

    assert [answer(process) for process in many] == ["42"] * 4
    assert [leave(process) for process in many] == [0] * 4


@pytest.mark.parametrize(
    "name",
    [
        # A socket's path may have 107 bytes.
        "/".join(["a-deeply-nested-folder"] * 6),
        'it\'s $HOME, "quoted" & 100% new',
    ],
)
def test_folder_may_have_any_name(folder: Path, name: str) -> None:
    with EmbeddedPostgres(folder / name) as server:
        assert value(server, "select 1") == 1
        sockets = Path(server.url.partition("host=")[2].partition("&")[0])
        assert (sockets / ".s.PGSQL.5432").is_socket()
        assert sockets.stat().st_mode & 0o077 == 0

    assert not sockets.exists()
    assert within(5, lambda: not working_in(folder / name))


def test_starts_although_its_last_process_id_now_belongs_to_another(folder: Path) -> None:
    with EmbeddedPostgres(folder):
        lock = (folder / "postmaster.pid").read_text()
    owner = folder.stat().st_uid
    # Of the same user, as after a reboot: PostgreSQL itself would refuse to start.
    with subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None) as stranger:
        try:
            _, _, rest = lock.partition("\n")
            (folder / "postmaster.pid").write_text(f"{stranger.pid}\n{rest}")
            (folder / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n{rest}")
            with EmbeddedPostgres(folder) as server:
                assert value(server, "select 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_finishes_a_creation_that_was_killed(folder: Path) -> None:
    draft = folder / ".initdb-killed"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder) as server:
        assert not draft.exists()
        with psycopg.connect(server.url) as connection:
            connection.execute("create table kept as select 7 as seven")

    complete = folder / ".initdb-complete"
    complete.mkdir()
    for name in ("PG_VERSION", "global", "postgresql.conf"):
        (folder / name).rename(complete / name)
    with EmbeddedPostgres(folder) as server:
        assert value(server, "select seven from kept") == 7


def test_refuses_a_folder_that_holds_something_else_and_leaves_it_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "holiday.jpg").write_text("precious")
    before = folder.stat()

    with pytest.raises(RegularsError, match=r"holds 'holiday\.jpg'.*new or empty"):
        EmbeddedPostgres(folder).start()

    assert [path.name for path in folder.iterdir()] == ["holiday.jpg"]
    assert (folder.stat().st_uid, folder.stat().st_mode) == (before.st_uid, before.st_mode)


def test_refusal_of_the_server_names_its_reason(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        pass
    with (folder / "postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = 'no_such_library'\n")

    with pytest.raises(RegularsError, match="no_such_library"):
        server.start()
    assert not server.alive()
