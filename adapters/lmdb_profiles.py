"""The customer snapshot in LMDB: an immutable file, memory-mapped by every worker.

A snapshot is written into a folder of its own and becomes live when the file CURRENT, replaced
atomically, names it. Readers see the old one or the new one, whole.
"""

import fcntl
import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import msgspec
import numpy as np

from adapters.durable import sync_folder
from foundation.errors import RegularsError
from foundation.profile import Explanation, Profile, SnapshotFacts
from foundation.rules import AttributeKind
from recommender.next_products import Known, NextProducts

POINTER = "CURRENT"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FACTS = b"\x00facts"
PRODUCT, GROUP = b"\x00product", b"\x00group"
LARGEST_KEY = 511
# What is no customer's id begins with 0.
_FIRST_ID = b"\x01"
_VERSION = re.compile(r"\d{4}-\d\d-\d\d\.(\d+)")


class _Stored(msgspec.Struct, array_like=True):
    household_id: str | None
    time_zone: str | None
    segments: dict[str, str]
    vector: bytes
    redemptions: dict[str, int] = {}
    attributes: dict[str, bool | float | str] = {}
    # By name, microseconds since 1970: in MessagePack a time and a text cannot share a place.
    instants: dict[str, int] = {}
    counts: dict[str, int] = {}
    affinity: bytes = b""
    reasons: bytes = b""
    remaining_value: float | None = None


class _Facts(msgspec.Struct):
    version: str
    as_of: datetime
    names: list[str]
    feature_hash: str
    customers: int
    living: list[str] = []
    attributes: dict[str, list[AttributeKind]] = {}
    counts: list[str] = []
    offers: list[str] = []
    explanation: Explanation | None = None


def publish_snapshot(
    folder: Path,
    profiles: Iterable[Profile],
    *,
    as_of: datetime,
    names: tuple[str, ...],
    feature_hash: str,
    living: Collection[str] = (),
    attributes: Mapping[str, Collection[AttributeKind]] | None = None,
    counts: Collection[str] = (),
    next_products: NextProducts | None = None,
    offers: Collection[str] = (),
    explanation: Explanation | None = None,
) -> SnapshotFacts:
    """Write a snapshot and make it live; a publication that runs already is waited for.

    Args:
        living, attributes, counts: Living segments, attributes with their kinds, and counted
            events that a rule may ask of these profiles.
        next_products: What goes with what is in a basket; nothing when left out.
        offers: Those that profiles hold affinities to, in their order.
        explanation: What profiles' reasons mean, where they have any.

    Raises:
        RegularsError: A vector has another length than `names`, an affinity another than
            `offers`, or a customer comes twice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        before, version = _current(folder), _next_version(folder, as_of)
        kinds = {name: sorted(found) for name, found in (attributes or {}).items()}
        facts = _Facts(
            version,
            as_of,
            list(names),
            feature_hash,
            0,
            list(living),
            kinds,
            list(counts),
            list(offers),
            explanation,
        )
        draft = folder / f"draft-{uuid.uuid4().hex}"
        draft.mkdir()
        try:
            _fill(draft, profiles, facts, next_products or NextProducts())
            draft.rename(folder / version)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _point(folder, version)
        # Workers may still open the one before; older ones go.
        _sweep(folder, {version, before})
    return _public(facts)


def drop_old_snapshots(folder: Path) -> None:
    """Remove every snapshot but the live one; who reads an older one reads it to its end."""
    if folder.exists():
        with _alone(folder):
            _sweep(folder, {_current(folder)})


def snapshots_with(folder: Path, customer_id: str) -> tuple[list[str], list[str]]:
    """Return the snapshots that were searched for a customer, and those that hold her."""
    versions = sorted(_versions(folder)) if folder.exists() else []
    found: list[str] = []
    for path in versions:
        with _shared(path).begin() as read:
            if read.get(_key(customer_id)) is not None:
                found.append(path.name)
    return [path.name for path in versions], found


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
        if live is None:
            return None
        with live.environment.begin(buffers=True) as read:
            found = read.get(_key(customer_id))
            return None if found is None else self._profile(customer_id, found, live)

    def sample(self, size: int) -> list[Profile]:
        live = self._live
        if live is None:
            return []
        with live.environment.begin(buffers=True) as read, read.cursor() as cursor:
            return [
                self._profile(bytes(key).decode(), read.get(key), live)
                for key in _spread(cursor, min(size, live.facts.customers))
            ]

    def _profile(self, customer_id: str, found: Any, live: "_Live") -> Profile:
        # Decoding copies: the buffer is the file's own, and gone after the transaction.
        stored = msgspec.msgpack.decode(found, type=_Stored)
        return Profile(
            customer_id=customer_id,
            household_id=stored.household_id,
            time_zone=stored.time_zone,
            vector=np.frombuffer(stored.vector, dtype=np.float64),
            segments=stored.segments,
            redemptions=stored.redemptions,
            attributes=stored.attributes
            | {name: EPOCH + timedelta(microseconds=at) for name, at in stored.instants.items()},
            counts=stored.counts,
            affinity=_table(stored.affinity, np.float32, len(live.facts.offers)),
            reasons=_table(stored.reasons, np.uint8, len(live.facts.offers)),
            remaining_value=stored.remaining_value,
        )

    def product(self, product_id: str) -> Known | None:
        return self._known(PRODUCT, product_id)

    def group(self, name: str) -> Known | None:
        return self._known(GROUP, name)

    def _known(self, kind: bytes, name: str) -> Known | None:
        if self._live is None:
            return None
        with self._live.environment.begin(buffers=True) as read:
            found = read.get(_named(kind, name))
            return None if found is None else msgspec.msgpack.decode(found, type=Known)

    def refresh(self) -> bool:
        """See serving.profiles.ProfileStore.

        Raises:
            RegularsError: The newest snapshot is damaged; the one that was live stays live.
        """
        while True:
            version = _current(self._folder)
            if version is None or (self._live is not None and self._live.version == version):
                return False
            try:
                # The old environment stays open while a request reads it, and is closed with it.
                self._live = _Live.open(self._folder, version)
                return True
            except RegularsError:
                # Swept away by newer publications between the look and the opening: look again.
                if _current(self._folder) == version:
                    raise


@dataclass(frozen=True)
class _Live:
    version: str
    environment: lmdb.Environment
    facts: SnapshotFacts

    @staticmethod
    def open(folder: Path, version: str) -> "_Live":
        try:
            environment = _shared(folder / version)
            with environment.begin() as read:
                facts = msgspec.msgpack.decode(read.get(FACTS) or b"", type=_Facts)
        except (lmdb.Error, msgspec.MsgspecError, OSError, ValueError) as error:
            raise RegularsError(
                f"snapshot {version!r} in {folder} is not whole ({error}); publish it again with "
                "'regulars segment'"
            ) from error
        return _Live(version, environment, _public(facts))


def _public(facts: _Facts) -> SnapshotFacts:
    return SnapshotFacts(
        facts.version,
        facts.as_of,
        tuple(facts.names),
        facts.feature_hash,
        facts.customers,
        tuple(facts.living),
        facts.attributes,
        tuple(facts.counts),
        tuple(facts.offers),
        facts.explanation,
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


# LMDB opens a file only once a process; all stores of a process share it while one reads it.
_opened: WeakValueDictionary[tuple[int, int], lmdb.Environment] = WeakValueDictionary()
_opening = threading.Lock()


def _shared(folder: Path) -> lmdb.Environment:
    data = (folder / "data.mdb").stat()
    with _opening:
        environment = _opened.get((data.st_dev, data.st_ino))
        if environment is None:
            environment = _open(folder, writing=False)
            # LMDB would read on past the end of a cut file, and the kernel end the process.
            if data.st_size < _bytes(environment):
                environment.close()
                raise lmdb.CorruptedError("the file is cut short")
            _opened[data.st_dev, data.st_ino] = environment
        return environment


def _bytes(environment: lmdb.Environment) -> int:
    return environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)


def _key(customer_id: str) -> bytes:
    """Return the key of an id: itself, or its hash where LMDB or the facts leave no room."""
    key = customer_id.encode()
    if 0 < len(key) <= LARGEST_KEY and key[0] != 0:
        return key
    return b"\x00" + hashlib.blake2b(key, digest_size=32).digest()


def _spread(cursor: lmdb.Cursor, size: int) -> list[bytes]:
    """Return up to `size` keys that are customers' ids, at about even distances."""
    if size == 0 or not cursor.set_range(_FIRST_ID):
        return []
    first = bytes(cursor.key())
    cursor.last()
    last = bytes(cursor.key())
    width = max(len(first), len(last))
    low, high = (int.from_bytes(key.ljust(width, b"\0")) for key in (first, last))
    found: dict[bytes, None] = {}
    for place in range(size):
        probe = low + (high - low) * place // max(size - 1, 1)
        more = cursor.set_range(probe.to_bytes(width).rstrip(b"\0"))
        # Where ids lie close together, the next that was not taken yet.
        while more and bytes(cursor.key()) in found:
            more = cursor.next()
        if more:
            found[bytes(cursor.key())] = None
    more = cursor.set_range(first)
    while more and len(found) < size:
        found.setdefault(bytes(cursor.key()))
        more = cursor.next()
    return sorted(found)


def _named(kind: bytes, name: str) -> bytes:
    """Return the key of a product or group: no customer's, which has another length."""
    return kind + hashlib.blake2b(name.encode(), digest_size=32).digest()


def _fill(
    folder: Path, profiles: Iterable[Profile], facts: _Facts, next_products: NextProducts
) -> None:
    """Write a snapshot's file, and count its customers into the facts."""
    with _open(folder, writing=True) as environment:
        with environment.begin(write=True) as write:
            for profile in profiles:
                key, value = _key(profile.customer_id), _stored(profile, facts)
                if not write.put(key, value, overwrite=False):
                    raise RegularsError(
                        f"customer {profile.customer_id!r} comes twice; a snapshot has her once"
                    )
                facts.customers += 1
            for kind, known in (
                (PRODUCT, next_products.products),
                (GROUP, next_products.groups),
            ):
                for name, said in known.items():
                    write.put(_named(kind, name), msgspec.msgpack.encode(said))
            write.put(FACTS, msgspec.msgpack.encode(facts))
        whole = _bytes(environment)
    with (folder / "data.mdb").open("r+b") as data:
        # Pages that were taken and given back at the end are counted, but not always written.
        data.truncate(max(whole, os.fstat(data.fileno()).st_size))
        os.fsync(data.fileno())
    sync_folder(folder)


def _stored(profile: Profile, facts: _Facts) -> bytes:
    if profile.vector.shape != (len(facts.names),):
        raise RegularsError(
            f"customer {profile.customer_id!r} has a vector of shape {profile.vector.shape}, the "
            f"snapshot names {len(facts.names)} features; give one value for each"
        )
    for name, table in (("affinities to", profile.affinity), ("reasons for", profile.reasons)):
        if len(table) not in (0, len(facts.offers)):
            raise RegularsError(
                f"customer {profile.customer_id!r} has {name} {len(table)} offers, the snapshot "
                f"names {len(facts.offers)}; give one row for each, or none"
            )
    vector = np.ascontiguousarray(profile.vector, dtype=np.float64).tobytes()
    attributes, instants = dict[str, bool | float | str](), dict[str, int]()
    for name, value in profile.attributes.items():
        if isinstance(value, datetime):
            instants[name] = (value - EPOCH) // timedelta(microseconds=1)
        else:
            attributes[name] = value
    return msgspec.msgpack.encode(
        _Stored(
            profile.household_id,
            profile.time_zone,
            profile.segments,
            vector,
            profile.redemptions,
            attributes,
            instants,
            profile.counts,
            np.ascontiguousarray(profile.affinity, dtype=np.float32).tobytes(),
            np.ascontiguousarray(profile.reasons, dtype=np.uint8).tobytes(),
            profile.remaining_value,
        )
    )


def _table(stored: bytes, of: type[np.generic], offers: int) -> np.ndarray:
    """Return what is stored of each offer, a row an offer; without rows where nothing is."""
    values = np.frombuffer(stored, dtype=of)
    return values.reshape(offers, -1) if len(values) else values.reshape(0, 0)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the folder's lock, so that nobody sweeps away what another is just writing."""
    with (folder / "publish.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _current(folder: Path) -> str | None:
    try:
        return (folder / POINTER).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None


def _point(folder: Path, version: str) -> None:
    pointer = folder / f"{POINTER}-{uuid.uuid4().hex}"
    with pointer.open("w") as file:
        file.write(version)
        file.flush()
        os.fsync(file.fileno())
    pointer.replace(folder / POINTER)
    sync_folder(folder)


def _versions(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _VERSION.fullmatch(path.name)]


def _next_version(folder: Path, as_of: datetime) -> str:
    # Counted through all days: a number used again would look like the old snapshot to a worker.
    taken = [int(path.name.rpartition(".")[2]) for path in _versions(folder)]
    return f"{as_of.date().isoformat()}.{max(taken, default=0) + 1:04}"


def _sweep(folder: Path, kept: Collection[str | None]) -> None:
    drafts = [*folder.glob("draft-*"), *(p for p in _versions(folder) if p.name not in kept)]
    for left in drafts:
        shutil.rmtree(left)
    for pointer in folder.glob(f"{POINTER}-*"):
        pointer.unlink()
