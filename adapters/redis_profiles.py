"""The customer snapshot in Redis: one for all nodes of a deployment.

A snapshot is a hash of its own that nothing changes once it is live, with a list of its customers
beside it; the list SNAPSHOTS names the live one first and the one before it second. What a
publisher writes expires unless it becomes live, and so does what is older: a reader that was left
behind still reads its own for a while.

Redis may lose all of it, in which case versions must not come again for other customers: they end
in chance, not in a number that is counted.
"""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as RetryLater
from redis.backoff import NoBackoff
from redis.retry import Retry

from adapters.stored_profile import decode_facts, decode_profile, encode_facts, encode_profile
from foundation.errors import RegularsError, StoreUnavailable
from foundation.profile import Explanation, Profile, SnapshotFacts
from foundation.rules import AttributeKind
from recommender.next_products import Known, NextProducts, groups_to_ask

SNAPSHOTS = "regulars:snapshots"
FACTS = b"facts"
# Read with every customer: where it is missing the snapshot is gone, not she.
WHOLE = b"whole"
CUSTOMER, PRODUCT, GROUP = b"c:", b"p:", b"g:"

CHUNK = 1_000
# A publisher that died leaves its draft this long; one that lives renews it with every chunk.
DRAFT_SECONDS = 600
# How long a snapshot is still read after two newer ones have come.
LEFT_BEHIND_SECONDS = 900

# A request waits this long for a profile, a job or a look for newer snapshots longer.
FETCH_SECONDS = 0.25
PATIENCE_SECONDS = 2.0
PUBLISH_PATIENCE_SECONDS = 30.0

# A version and fields of its hash; what lies there, None where the whole snapshot is gone.
Asked = tuple[str, tuple[bytes, ...]]
Found = tuple[bytes | None, ...] | None
Read = Callable[[Sequence[Asked]], Awaitable[Sequence[Found]]]
Share = Callable[[Read], Callable[[Asked], Awaitable[Found]]]


def publish_snapshot(
    url: str,
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
    """Write a snapshot and make it live; of two publications the one that ends last stays so.

    Args:
        url: Of Redis: redis://, rediss:// or unix://.
        living, attributes, counts, next_products, offers, explanation: As of
            adapters.lmdb_profiles.publish_snapshot.

    Raises:
        RegularsError: A vector has another length than `names`, an affinity another than
            `offers`, a customer comes twice, or Redis dropped what was written.
        StoreUnavailable: Redis does not answer; what was live stays so.
    """
    facts = SnapshotFacts(
        f"{as_of.date().isoformat()}.{secrets.token_hex(4)}",
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
    # Nothing is sent twice: a customer written again would look like one who comes twice.
    with _answering(), _client(url, PUBLISH_PATIENCE_SECONDS, tries=1) as client:
        try:
            facts = _fill(client, profiles, facts, next_products or NextProducts())
        except BaseException:
            # What cannot be taken away now expires.
            with suppress(redis.RedisError):
                client.unlink(_hash(facts.version), _ids(facts.version))
            raise
        # Whatever comes of it, this is not taken back: readers may have moved to it already.
        with client.pipeline() as flip:
            flip.persist(_hash(facts.version))
            flip.persist(_ids(facts.version))
            flip.lpush(SNAPSHOTS, facts.version)
            flip.execute()
        # It is live; what stays behind now goes with the next one.
        with suppress(redis.RedisError):
            _let_old_ones_go(client)
    return facts


def drop_old_snapshots(url: str) -> None:
    """Remove every snapshot but the live one; who reads an older one moves on within a second.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with _answering(), _client(url, PUBLISH_PATIENCE_SECONDS) as client:
        live: Any = client.lindex(SNAPSHOTS, 0)
        with client.pipeline() as write:
            for version in _whole_ones(client):
                if live is not None and version != live.decode():
                    write.lrem(SNAPSHOTS, 0, version)
                    write.unlink(_hash(version), _ids(version))
            write.execute()


def snapshots_with(url: str, customer_id: str) -> tuple[list[str], list[str]]:
    """Return the snapshots that were searched for a customer, and those that hold her.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    with _answering(), _client(url, PATIENCE_SECONDS) as client:
        versions = _whole_ones(client)
        field: Any = _field(CUSTOMER, customer_id)
        return versions, [one for one in versions if client.hexists(_hash(one), field)]


class RedisProfiles:
    """The live snapshot; see serving.profiles.ProfileStore."""

    def __init__(self, url: str, share: Share) -> None:
        """
        Args:
            share: Lets requests that wait at the same time share one round trip.

        Raises:
            RegularsError: The address is none.
        """
        self._url = url
        self._live: SnapshotFacts | None = None
        self._shared = share(self._read)
        self._waiting = _client(url, PATIENCE_SECONDS)
        self._requests: redis.asyncio.Redis | None = None

    def facts(self) -> SnapshotFacts | None:
        return self._live

    def get(self, customer_id: str) -> Profile | None:
        live = self._live
        if live is None:
            return None
        found = self._fields(live, [_field(CUSTOMER, customer_id)])[0]
        return None if found is None else decode_profile(customer_id, found, live)

    def sample(self, size: int) -> list[Profile]:
        live = self._live
        if live is None or live.customers == 0:
            return []
        size = min(size, live.customers)
        with _answering(), self._waiting.pipeline(transaction=False) as asked:
            for place in range(size):
                asked.lindex(_ids(live.version), place * (live.customers - 1) // max(size - 1, 1))
            ids: list[bytes | None] = asked.execute()
        there = [one for one in ids if one is not None]
        found = self._fields(live, [CUSTOMER + one for one in there])
        if len(there) < size or None in found:
            raise _gone(live.version)
        return [
            decode_profile(one.decode(), value, live)
            for one, value in zip(there, found, strict=True)
        ]

    async def fetch(self, customer_id: str, by: float = math.inf) -> Profile | None:
        profile, _ = await self.fetch_with_basket(customer_id, (), by)
        return profile

    async def fetch_with_basket(
        self, customer_id: str, basket: Collection[str], by: float = math.inf
    ) -> tuple[Profile | None, NextProducts]:
        live = self._live
        if live is None:
            return None, NextProducts()
        names = list(set(basket))
        goods = (_field(PRODUCT, name) for name in names)
        found, *said = await self._one(live, (_field(CUSTOMER, customer_id), *goods), by)
        profile = None if found is None else decode_profile(customer_id, found, live)
        return profile, await self._spoken(live, _known(names, said), by)

    async def next_products(self, basket: Collection[str]) -> NextProducts:
        live = self._live
        if live is None:
            return NextProducts()
        names = list(set(basket))
        said = await self._one(live, tuple(_field(PRODUCT, name) for name in names))
        return await self._spoken(live, _known(names, said))

    async def _spoken(
        self, live: SnapshotFacts, products: dict[str, Known], by: float = math.inf
    ) -> NextProducts:
        groups = list(groups_to_ask(products))
        if not groups:
            return NextProducts(products)
        said = await self._one(live, tuple(_field(GROUP, name) for name in groups), by)
        return NextProducts(products, _known(groups, said))

    def newer(self) -> Callable[[], None] | None:
        """See serving.profiles.ProfileStore.

        Raises:
            StoreUnavailable: Redis does not answer.
            RegularsError: The newest snapshot is not whole.
        """
        with _answering():
            while True:
                first: Any = self._waiting.lindex(SNAPSHOTS, 0)
                version = None if first is None else first.decode()
                if version is None or (self._live is not None and self._live.version == version):
                    return None
                found: Any = self._waiting.hget(_hash(version), FACTS.decode())
                try:
                    return partial(self._move, decode_facts(found or b""))
                except (msgspec.MsgspecError, ValueError) as error:
                    # Gone by newer publications between the two looks: look again.
                    if self._waiting.lindex(SNAPSHOTS, 0) == first:
                        raise RegularsError(
                            f"snapshot {version!r} in Redis is not whole ({error}); publish it "
                            "again with 'regulars segment'"
                        ) from error

    def _move(self, live: SnapshotFacts) -> None:
        self._live = live

    async def close(self) -> None:
        """See serving.profiles.ProfileStore."""
        self._waiting.close()
        requests, self._requests = self._requests, None
        if requests is not None:
            await requests.aclose()

    async def _one(
        self, live: SnapshotFacts, fields: tuple[bytes, ...], by: float = math.inf
    ) -> Sequence[bytes | None]:
        """Return what lies in fields of a snapshot, read together with what others ask now."""
        try:
            patience = asyncio.get_running_loop().time() + FETCH_SECONDS
            async with asyncio.timeout_at(min(by, patience)):
                found = await self._shared((live.version, fields))
        except TimeoutError as error:
            raise StoreUnavailable("Redis does not answer in time; try again") from error
        if found is None:
            raise _gone(live.version)
        return found

    async def _read(self, asked: Sequence[Asked]) -> Sequence[Found]:
        """Return what each asked for, by a round trip for each version: there is mostly one."""
        if self._requests is None:
            self._requests = redis.asyncio.Redis.from_url(
                self._url,
                socket_connect_timeout=FETCH_SECONDS,
                socket_timeout=FETCH_SECONDS,
                retry=RetryLater(NoBackoff(), 1, (redis.ConnectionError,)),
            )
        found: dict[Asked, Found] = {}
        with _answering():
            for version in {version for version, _ in asked}:
                mine = [one for one in asked if one[0] == version]
                fields = [field for _, wanted in mine for field in wanted]
                reading: Any = self._requests.hmget(_hash(version), [WHOLE, *fields])
                whole, *values = await reading
                rest = iter(values)
                for one in mine:
                    there = tuple(islice(rest, len(one[1])))
                    found[one] = there if whole is not None else None
        return [found[one] for one in asked]

    def _fields(self, live: SnapshotFacts, fields: Sequence[bytes]) -> list[bytes | None]:
        with _answering():
            reading: Any = self._waiting.hmget(_hash(live.version), [WHOLE, *fields])
        whole, *values = reading
        if whole is None:
            raise _gone(live.version)
        return values


def _fill(
    client: redis.Redis, profiles: Iterable[Profile], facts: SnapshotFacts, goods: NextProducts
) -> SnapshotFacts:
    """Write a draft of a snapshot; return its facts with the number of its customers."""
    place, ids = _hash(facts.version), _ids(facts.version)
    customers, rest = 0, iter(profiles)
    while chunk := list(islice(rest, CHUNK)):
        with client.pipeline(transaction=False) as write:
            for profile in chunk:
                field = _field(CUSTOMER, profile.customer_id)
                write.hsetnx(place, field, encode_profile(profile, facts))  # pyright: ignore[reportArgumentType]
            write.rpush(ids, *(profile.customer_id for profile in chunk))
            write.expire(place, DRAFT_SECONDS)
            write.expire(ids, DRAFT_SECONDS)
            new = write.execute()
        for profile, was_new in zip(chunk, new, strict=False):
            if not was_new:
                raise RegularsError(
                    f"customer {profile.customer_id!r} comes twice; a snapshot has her once"
                )
        customers += len(chunk)
    facts = replace(facts, customers=customers)
    said = {_field(PRODUCT, name): one for name, one in goods.products.items()}
    said |= {_field(GROUP, name): one for name, one in goods.groups.items()}
    with client.pipeline(transaction=False) as write:
        for field, one in said.items():
            write.hset(place, field, msgspec.msgpack.encode(one))  # pyright: ignore[reportArgumentType]
        write.hset(place, mapping={FACTS: encode_facts(facts), WHOLE: b"1"})
        write.expire(place, DRAFT_SECONDS)
        write.hlen(place)
        write.llen(ids)
        *_, fields, listed = write.execute()
    # Not what a server short of memory took away, nor what expired under a source that stood still.
    if (fields, listed) != (customers + len(said) + 2, customers):
        raise RegularsError(
            f"Redis kept {fields - len(said) - 2} of {customers} customers of a new snapshot; give "
            "it memory for three snapshots and the policy noeviction, and publish again"
        )
    return facts


def _whole_ones(client: redis.Redis) -> list[str]:
    """Return the versions in Redis, without those that are still being written."""
    keys = [key.decode() for key in client.scan_iter(_hash("*"))]
    versions = [key.removeprefix(_hash("")) for key in keys if not key.endswith(":ids")]
    whole: Any = WHOLE
    return sorted(one for one in versions if client.hexists(_hash(one), whole))


def _let_old_ones_go(client: redis.Redis) -> None:
    """Let snapshots expire that are neither the live one nor the one before it."""
    listed: Any = client.lrange(SNAPSHOTS, 0, -1)
    kept = set(listed[:2])
    with client.pipeline() as write:
        for version in set(listed[2:]) - kept:
            write.expire(_hash(version.decode()), LEFT_BEHIND_SECONDS)
            write.expire(_ids(version.decode()), LEFT_BEHIND_SECONDS)
            write.lrem(SNAPSHOTS, 0, version)
        write.execute()


def _known(names: Sequence[str], said: Iterable[bytes | None]) -> dict[str, Known]:
    return {
        name: msgspec.msgpack.decode(one, type=Known)
        for name, one in zip(names, said, strict=True)
        if one is not None
    }


def _hash(version: str) -> str:
    return f"regulars:snapshot:{version}"


def _ids(version: str) -> str:
    return f"regulars:snapshot:{version}:ids"


def _field(kind: bytes, name: str) -> bytes:
    return kind + name.encode()


def _client(url: str, seconds: float, *, tries: int = 2) -> redis.Redis:
    """Return a client that waits this long, and opens a connection anew that was found broken."""
    try:
        return redis.Redis.from_url(
            url,
            socket_connect_timeout=min(seconds, PATIENCE_SECONDS),
            socket_timeout=seconds,
            retry=Retry(NoBackoff(), tries - 1, (redis.ConnectionError,)),
        )
    except ValueError as error:
        # Without the address: it may hold a password.
        raise RegularsError(
            "setting REGULARS_REDIS_URL is no address of Redis; write it like "
            "redis://host:6379/0, rediss://… with TLS, or unix:///path/redis.sock"
        ) from error


@contextmanager
def _answering() -> Generator[None]:
    """Turn what Redis fails of into StoreUnavailable."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailable(
            f"Redis does not answer ({type(error).__name__}: {error}); try again"
        ) from error


def _gone(version: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"snapshot {version!r} is gone from Redis; if no newer one comes, publish with "
        "'regulars segment'"
    )
