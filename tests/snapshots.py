"""A published snapshot as tests of jobs read it."""

from pathlib import Path

from adapters.lmdb_profiles import LmdbProfiles
from serving.profiles import refresh


def opened(folder: Path) -> LmdbProfiles:
    """Return the newest snapshot of a folder, open for reading."""
    store = LmdbProfiles(folder)
    refresh(store)
    return store
