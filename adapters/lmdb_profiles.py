"""The customer snapshot in LMDB: an immutable file, memory-mapped by every worker.

A snapshot is written into a folder of its own and becomes live when the file CURRENT, replaced
atomically, names it. Readers see the old one or the new one, whole.
"""

import fcntl
import hashlib
import math
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from weakref import WeakValueDictionary

import lmdb
import msgspec

from adapters.durable import replaced, sync_folder
from adapters.stored_profile import decode_facts, decode_profile, encode_facts, encode_profile
from foundation.errors import RegularsError
from foundation.profile import Explanation, Profile, SnapshotFacts
from foundation.rules import AttributeKind
from recommender.next_products import Known, NextProducts, groups_to_ask

POINTER = "CURRENT"
FACTS = b"\x00facts"
PRODUCT, GROUP = b"\x00product", b"\x00group"
LARGEST_KEY = 511
# What is no customer's id begins with 0.
_FIRST_ID = b"\x01"
_KNOWN = msgspec.msgpack.Decoder(Known)
_VERSION = re.compile(r"\d{4}-\d\d-\d\d\.(\d+)")


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
        facts = SnapshotFacts(
            version,
            as_of,
            names,
            feature_hash,
            0,
            tuple(living),
            {name: sorted(found) for name, found in (attributes or {}).items()},
            tuple(counts),
            tuple(offers),
            explanation,
        )
        draft = folder / f"draft-{uuid.uuid4().hex}"
        draft.mkdir()
        try:
            facts = _fill(draft, profiles, facts, next_products or NextProducts())
            draft.rename(folder / version)
            sync_folder(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        _point(folder, version)
        # Workers may still open the one before; older ones go.
        _sweep(folder, {version, before})
    return facts


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

    def facts(self) -> SnapshotFacts | None:
        return None if self._live is None else self._live.facts

    def get(self, customer_id: str) -> Profile | None:
        live = self._live
        if live is None:
            return None
        with live.environment.begin(buffers=True) as read:
            return _profile(read, customer_id, live.facts)

    def sample(self, size: int) -> list[Profile]:
        live = self._live
        if live is None:
            return []
        with live.environment.begin(buffers=True) as read, read.cursor() as cursor:
            return [
                decode_profile(bytes(key).decode(), read.get(key), live.facts)
                for key in _spread(cursor, min(size, live.facts.customers))
            ]

    async def fetch(
        self,
        customer_id: str,
        by: float = math.inf,  # noqa: ARG002
    ) -> Profile | None:
        # The file is mapped into memory: no thread and no loop could be quicker.
        return self.get(customer_id)

    async def fetch_with_basket(
        self,
        customer_id: str,
        basket: Collection[str],
        by: float = math.inf,  # noqa: ARG002
    ) -> tuple[Profile | None, NextProducts]:
        live = self._live
        if live is None:
            return None, NextProducts()
        # Both in one look: to begin another takes as long as to find her.
        with live.environment.begin(buffers=True) as read:
            return _profile(read, customer_id, live.facts), _goods(read, basket)

    async def next_products(self, basket: Collection[str]) -> NextProducts:
        if self._live is None:
            return NextProducts()
        with self._live.environment.begin(buffers=True) as read:
            return _goods(read, basket)

    def newer(self) -> Callable[[], None] | None:
        """See serving.profiles.ProfileStore.

        Raises:
            RegularsError: The newest snapshot is damaged; the one that was live stays live.
        """
        while True:
            version = _current(self._folder)
            if version is None or (self._live is not None and self._live.version == version):
                return None
            try:
                return partial(self._move, _Live.open(self._folder, version))
            except RegularsError:
                # Swept away by newer publications between the look and the opening: look again.
                if _current(self._folder) == version:
                    raise

    def _move(self, live: "_Live") -> None:
        # The old environment stays open while a request reads it, and is closed with it.
        self._live = live

    async def close(self) -> None:
        """See serving.profiles.ProfileStore: the file stays mapped."""


def _profile(read: lmdb.Transaction, customer_id: str, facts: SnapshotFacts) -> Profile | None:
    found = read.get(_key(customer_id))
    return None if found is None else decode_profile(customer_id, found, facts)


def _goods(read: lmdb.Transaction, basket: Collection[str]) -> NextProducts:
    products = _known(read, PRODUCT, basket)
    return NextProducts(products, _known(read, GROUP, groups_to_ask(products)))


def _known(read: lmdb.Transaction, kind: bytes, names: Iterable[str]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for name in names:
        said = read.get(_named(kind, name))
        if said is not None:
            known[name] = _KNOWN.decode(said)
    return known


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
                facts = decode_facts(read.get(FACTS) or b"")
        except (lmdb.Error, msgspec.MsgspecError, OSError, ValueError) as error:
            raise RegularsError(
                f"snapshot {version!r} in {folder} is not whole ({error}); publish it again with "
                "'regulars segment'"
            ) from error
        return _Live(version, environment, facts)


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


@lru_cache(maxsize=10_000)
def _named(kind: bytes, name: str) -> bytes:
    """Return the key of a product or group: no customer's, which has another length."""
    return kind + hashlib.blake2b(name.encode(), digest_size=32).digest()


def _fill(
    folder: Path, profiles: Iterable[Profile], facts: SnapshotFacts, next_products: NextProducts
) -> SnapshotFacts:
    """Write a snapshot's file; return its facts with the number of its customers."""
    customers = 0
    with _open(folder, writing=True) as environment:
        with environment.begin(write=True) as write:
            for profile in profiles:
                key, value = _key(profile.customer_id), encode_profile(profile, facts)
                if not write.put(key, value, overwrite=False):
                    raise RegularsError(
                        f"customer {profile.customer_id!r} comes twice; a snapshot has her once"
                    )
                customers += 1
            for kind, known in (
                (PRODUCT, next_products.products),
                (GROUP, next_products.groups),
            ):
                for name, said in known.items():
                    write.put(_named(kind, name), msgspec.msgpack.encode(said))
            facts = replace(facts, customers=customers)
            write.put(FACTS, encode_facts(facts))
        whole = _bytes(environment)
    with (folder / "data.mdb").open("r+b") as data:
        # Pages that were taken and given back at the end are counted, but not always written.
        data.truncate(max(whole, os.fstat(data.fileno()).st_size))
        os.fsync(data.fileno())
    sync_folder(folder)
    return facts


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
    with replaced(folder / POINTER) as pointer:
        pointer.write(version.encode())


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
