"""One run at a time: a second run of a job is told who is at it and what to do.

The kernel holds the lock and gives it back when its holder ends, however it ends.
"""

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from foundation.errors import JobRunning, RegularsError


@contextmanager
def only_one(folder: Path, job: str) -> Generator[None]:
    """Hold the lock of a job while the block runs.

    Args:
        folder: Where lock files stand; the same for all processes of a deployment.
        job: The job's name, as in `regulars load`.

    Raises:
        JobRunning: Another process (or thread) holds it now.
        RegularsError: The folder cannot be written.
    """
    path = folder / f"{job}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The file is never removed: a lock on a removed file would exclude no one.
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise RegularsError(
            f"lock file {path} cannot be written: {error.strerror}; set REGULARS_HOME to a folder "
            f"of your own"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobRunning(f"job {job!r} already runs{_holder(file)}") from error
        file.truncate(0)
        json.dump({"pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"}, file)
        file.flush()
        try:
            yield
        finally:
            # Before the lock is given back, so that no one is told of a holder long gone.
            file.truncate(0)


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        told = json.load(file)
        return (
            f" (process {told['pid']}, since {told['since']} UTC); "
            f"wait until it ends, or end it with: kill {told['pid']}"
        )
    except (ValueError, TypeError, KeyError):
        # It has only just taken the lock and not yet written who it is.
        return "; wait until it ends"
