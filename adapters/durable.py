"""Is a new file still there after a power cut? Only once it and its folder are on disk."""

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to disk, so that a file just made or renamed in it lasts."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replaced(path: Path, mode: int = 0o666) -> Generator[BinaryIO]:
    """Open a file that takes a path's place once it is whole and on disk.

    Until then, and after an error, what stood there stays.

    Raises:
        OSError: The disk refuses.
    """
    draft = path.with_name(f"{path.name}-{uuid.uuid4().hex}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        draft.unlink(missing_ok=True)
