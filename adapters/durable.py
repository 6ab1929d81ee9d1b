"""Is a new file still there after a power cut? Only once its folder is on disk too."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Write a folder's list of names to disk, so that a file just made or renamed in it lasts."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
