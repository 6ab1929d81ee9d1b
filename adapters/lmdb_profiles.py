"""The customer snapshot in LMDB: an immutable file, memory-mapped by every worker.

A snapshot is written into a folder of its own and becomes live when the file CURRENT, replaced
atomically, names it. Readers see the old one or the new one, whole.
"""

import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import lmdb
import msgspec
import numpy as np

from foundation.errors import RegularsError
from foundation.profile import Profile, SnapshotFacts

FACTS = b"\x00facts"
# Workers may still read the one before; older ones go.
SNAPSHOTS_KEPT = 2
LARGEST_KEY = 511


class _Stored(msgspec.Struct, array_like=True):
    household_id: str | None
    time_zone: str | None
    segments: dict[str, str]
    vector: bytes


class _Facts(msgspec.Struct):
    version: str
    as_of: datetime
    names: list[str]
    feature_hash: str
    customers: int


def publish_snapshot(
    folder: Path,
    profiles: Iterable[Profile],
    *,
    as_of: datetime,
    names: tuple[str, ...],
    feature_hash: str,
) -> SnapshotFacts:
    """Write a snapshot and make it live.

    Raises:
        RegularsError: A vector has another length than `names`, or an id is too long for a key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"draft-{uuid.uuid4().hex}"
    draft.mkdir()
    try:
        count = _fill(draft, profiles, len(names))
        version = _next_version(folder, as_of)
        facts = _Facts(version, as_of, list(names), feature_hash, count)
        with _open(draft, writing=True) as environment, environment.begin(write=True) as write:
            write.put(FACTS, msgspec.msgpack.encode(facts))
        draft.rename(folder / version)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    pointer = folder / f"CURRENT-{uuid.uuid4().hex}"
    with pointer.open("w") as file:
        file.write(version)
        file.flush()
        os.fsync(file.fileno())
    pointer.replace(folder / "CURRENT")
    _sync(folder)
    _sweep(folder, version)
    return _public(facts)


class LmdbProfiles:
    """The live snapshot; see serving.profiles.ProfileStore."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._live: _Live | None = None
        self.refresh()

    def facts(self) -> SnapshotFacts | None:
        return None if self._live is None else self._live.facts

    def get(self, customer_id: str) -> Profile | None:
        live = self._live
        key = customer_id.encode()
        if live is None or len(key) > LARGEST_KEY or key == FACTS:
            return None
        with live.environment.begin(buffers=True) as read:
            found = read.get(key)
            if found is None:
                return None
            stored = msgspec.msgpack.decode(found, type=_Stored)
        return Profile(
            customer_id=customer_id,
            household_id=stored.household_id,
            time_zone=stored.time_zone,
            vector=np.frombuffer(stored.vector, dtype=np.float64),
            segments=stored.segments,
        )

    def refresh(self) -> bool:
        try:
            version = (self._folder / "CURRENT").read_text()
        except FileNotFoundError:
            return False
        if self._live is not None and self._live.facts.version == version:
            return False
        # The old environment stays open while a request may read it, and is closed with it.
        self._live = _Live.open(self._folder / version)
        return True


@dataclass(frozen=True)
class _Live:
    environment: lmdb.Environment
    facts: SnapshotFacts

    @staticmethod
    def open(folder: Path) -> "_Live":
        environment = _open(folder, writing=False)
        with environment.begin() as read:
            found = read.get(FACTS)
        if found is None:
            raise RegularsError(
                f"snapshot {folder.name} is not whole; publish it again with 'regulars segment'"
            )
        return _Live(environment, _public(msgspec.msgpack.decode(found, type=_Facts)))


def _public(facts: _Facts) -> SnapshotFacts:
    return SnapshotFacts(
        facts.version, facts.as_of, tuple(facts.names), facts.feature_hash, facts.customers
    )


def _open(folder: Path, *, writing: bool) -> lmdb.Environment:
    return lmdb.open(
        str(folder),
        # Address space, not disk: the file grows as it is filled.
        map_size=1 << 36,
        readonly=not writing,
        lock=writing,
        readahead=False,
        create=writing,
    )


def _fill(folder: Path, profiles: Iterable[Profile], length: int) -> int:
    count = 0
    with _open(folder, writing=True) as environment, environment.begin(write=True) as write:
        for profile in profiles:
            key = profile.customer_id.encode()
            if len(key) > LARGEST_KEY or profile.vector.shape != (length,):
                raise RegularsError(
                    f"customer {profile.customer_id!r}: an id has at most {LARGEST_KEY} bytes and "
                    f"a vector {length} values, this one {len(key)} and {len(profile.vector)}"
                )
            stored = _Stored(
                profile.household_id,
                profile.time_zone,
                profile.segments,
                np.ascontiguousarray(profile.vector, dtype=np.float64).tobytes(),
            )
            write.put(key, msgspec.msgpack.encode(stored))
            count += 1
    return count


def _versions(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.is_dir() and path.name[:1].isdigit()]
    return sorted(found, key=lambda path: path.name)


def _next_version(folder: Path, as_of: datetime) -> str:
    day = as_of.date().isoformat()
    taken = [int(p.name.rpartition(".")[2]) for p in _versions(folder) if p.name.startswith(day)]
    return f"{day}.{max(taken, default=0) + 1:04}"


def _sweep(folder: Path, live: str) -> None:
    by_age = sorted(_versions(folder), key=lambda path: path.stat().st_mtime)
    for old in [path for path in by_age if path.name != live][: -(SNAPSHOTS_KEPT - 1)]:
        shutil.rmtree(old)
    for draft in folder.glob("draft-*"):
        shutil.rmtree(draft)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
