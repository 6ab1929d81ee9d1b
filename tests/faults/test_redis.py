"""Redis hangs, dies, forgets: does anybody become a stranger, or wait for it? A real server."""

import asyncio
import time
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import redis

from adapters.redis_profiles import (
    DRAFT_SECONDS,
    FETCH_SECONDS,
    LEFT_BEHIND_SECONDS,
    PATIENCE_SECONDS,
    SNAPSHOTS,
    RedisProfiles,
    drop_old_snapshots,
    publish_snapshot,
    snapshots_with,
)
from foundation.errors import RegularsError, StoreUnavailable
from foundation.profile import Profile, SnapshotFacts
from recommender.next_products import NextProducts
from serving.profiles import refresh
from tests.redis_servers import RedisServer, redis_server, redis_store

NIGHT = datetime(2026, 11, 20, 8, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


def publish(server: RedisServer, profiles: Iterator[Profile]) -> SnapshotFacts:
    return publish_snapshot(server.url, profiles, as_of=NIGHT, names=("one",), feature_hash="91bc")


def everyone(tag: float, n: int = 10) -> Iterator[Profile]:
    for i in range(n):
        yield Profile(f"c-{i}", None, None, np.array([tag]), {})


def opened(server: RedisServer) -> RedisProfiles:
    store = redis_store(server.url)
    refresh(store)
    return store


async def seconds_of(waiting: Awaitable[Any]) -> float:
    """Return how long something takes to fail for want of the store."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        await waiting
    return time.monotonic() - started


def test_a_server_that_hangs_holds_up_a_request_shortly_and_the_loop_not_at_all(
    server: RedisServer,
) -> None:
    publish(server, everyone(1))
    store = opened(server)

    async def story() -> None:
        assert (await store.fetch("c-1")) is not None
        server.hang()
        ticks = 0
        asked = [asyncio.create_task(seconds_of(store.fetch(f"c-{n}"))) for n in range(40)]
        looking = asyncio.create_task(seconds_of(asyncio.to_thread(store.newer)))
        while not all(one.done() for one in asked):
            await asyncio.sleep(0.01)
            ticks += 1
        assert max(await asyncio.gather(*asked)) < FETCH_SECONDS + 0.5
        assert ticks > 5
        assert await looking < 2 * PATIENCE_SECONDS + 0.5
        server.go_on()
        await asyncio.sleep(0.1)
        assert (await store.fetch("c-1")) is not None
        await store.close()

    asyncio.run(story())


def test_a_server_that_is_gone_makes_nobody_a_stranger_and_is_asked_again_when_back(
    server: RedisServer,
) -> None:
    first = publish(server, everyone(1))
    store = opened(server)

    async def story() -> None:
        assert (await store.fetch("c-1")) is not None
        server.kill()
        await seconds_of(store.fetch("c-1"))
        await seconds_of(store.next_products(["milk"]))
        for ask in (lambda: store.get("c-1"), lambda: store.sample(3), store.newer):
            with pytest.raises(StoreUnavailable):
                ask()
        assert store.facts() == first
        server.start()
        found = await store.fetch("c-1")
        assert found is not None
        assert found.vector.tolist() == [1]
        assert refresh(store) is False
        await store.close()

    asyncio.run(story())


def test_a_snapshot_that_is_gone_makes_nobody_a_stranger(server: RedisServer) -> None:
    version = publish(server, everyone(1)).version
    store = opened(server)
    redis.Redis.from_url(server.url).unlink(f"regulars:snapshot:{version}")

    async def story() -> None:
        for ask in (store.fetch("c-1"), store.fetch("stranger"), store.next_products(["milk"])):
            with pytest.raises(StoreUnavailable, match="is gone from Redis"):
                await ask
        await store.close()

    asyncio.run(story())
    for ask in (lambda: store.get("c-1"), lambda: store.sample(3)):
        with pytest.raises(StoreUnavailable, match="is gone from Redis"):
            ask()
    # A reader that starts only now says what to do.
    with pytest.raises(RegularsError, match=r"is not whole .* 'regulars segment'"):
        opened(server)


def test_a_server_that_forgot_everything_gets_a_snapshot_that_looks_new(
    server: RedisServer,
) -> None:
    first = publish(server, everyone(1))
    store = opened(server)
    redis.Redis.from_url(server.url).flushall()
    assert refresh(store) is False

    second = publish(server, everyone(2))

    assert second.version != first.version
    assert refresh(store) is True
    found = store.get("c-1")
    assert found is not None
    assert found.vector.tolist() == [2]


def test_a_request_reads_of_the_snapshot_that_was_live_when_it_asked(server: RedisServer) -> None:
    publish(server, everyone(1))
    store = opened(server)

    async def story() -> None:
        before = [asyncio.create_task(store.fetch(f"c-{n}")) for n in range(5)]
        await asyncio.sleep(0)
        publish(server, everyone(2, 3))
        assert refresh(store)
        after = [asyncio.create_task(store.fetch(f"c-{n}")) for n in range(5)]
        assert [one and one.vector[0] for one in await asyncio.gather(*before)] == [1] * 5
        found = [one and one.vector[0] for one in await asyncio.gather(*after)]
        assert found == [2, 2, 2, None, None]
        await store.close()

    asyncio.run(story())


def test_requests_that_wait_at_the_same_time_share_a_round_trip(server: RedisServer) -> None:
    publish(server, everyone(1, 200))
    store = opened(server)
    client: Any = redis.Redis.from_url(server.url)

    def reads() -> int:
        return client.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]

    async def story() -> None:
        found = await asyncio.gather(*(store.fetch(f"c-{n}") for n in range(200)))
        assert all(one is not None for one in found)
        await store.close()

    before = reads()
    asyncio.run(story())
    assert reads() - before <= 2


def test_what_is_not_live_goes_by_itself(server: RedisServer) -> None:
    client: Any = redis.Redis.from_url(server.url)

    def lasts(version: str) -> int:
        return client.ttl(f"regulars:snapshot:{version}")

    def noticed() -> Iterator[Profile]:
        yield from everyone(4, 1_500)
        drafts = [k.decode() for k in client.scan_iter("regulars:snapshot:*")]
        found = [client.ttl(k) for k in drafts if k.split(":")[2] not in versions]
        # Its customers and the list of them.
        assert len(found) == 2
        assert all(0 < seconds <= DRAFT_SECONDS for seconds in found)
        yield from ()

    versions = [publish(server, everyone(tag)).version for tag in range(3)]
    assert [lasts(v) for v in versions[1:]] == [-1, -1]
    assert 0 < lasts(versions[0]) <= LEFT_BEHIND_SECONDS
    versions.append(publish(server, noticed()).version)
    assert client.lrange(SNAPSHOTS, 0, -1) == [v.encode() for v in versions[:1:-1]]
    assert lasts(versions[-1]) == client.ttl(f"regulars:snapshot:{versions[-1]}:ids") == -1
    assert 0 < lasts(versions[1]) <= LEFT_BEHIND_SECONDS


def test_who_is_forgotten_is_searched_for_and_gone_with_the_older_snapshots(
    server: RedisServer,
) -> None:
    versions = [publish(server, everyone(tag, 3 - tag)).version for tag in range(3)]
    assert snapshots_with(server.url, "c-1") == (sorted(versions), sorted(versions[:2]))

    def meanwhile() -> Iterator[Profile]:
        yield from everyone(4, 1_001)
        drop_old_snapshots(server.url)

    # What is live stays, and so does what is just being written.
    versions.append(publish(server, meanwhile()).version)
    assert snapshots_with(server.url, "c-1") == (sorted(versions[2:]), [versions[3]])
    drop_old_snapshots(server.url)
    assert snapshots_with(server.url, "c-1") == ([versions[3]], [versions[3]])
    client: Any = redis.Redis.from_url(server.url)
    assert client.lrange(SNAPSHOTS, 0, -1) == [versions[3].encode()]
    assert len(client.keys("regulars:snapshot:*")) == 2


def test_an_operator_goes_back_by_naming_the_snapshot_before(server: RedisServer) -> None:
    first = publish(server, everyone(1))
    publish(server, everyone(2))
    store = opened(server)
    client = redis.Redis.from_url(server.url)

    client.lpush(SNAPSHOTS, first.version)

    assert refresh(store)
    assert store.facts() == first
    # Publishing goes on, and takes away none that is the live one or the one before.
    publish(server, everyone(3))
    assert client.ttl(f"regulars:snapshot:{first.version}") == -1


def test_a_snapshot_that_lost_customers_while_it_was_written_never_goes_live(
    server: RedisServer,
) -> None:
    first = publish(server, everyone(1))
    client: Any = redis.Redis.from_url(server.url)

    def robbed() -> Iterator[Profile]:
        yield from everyone(2, 1_000)
        (draft,) = [k for k in client.scan_iter("regulars:snapshot:*:ids") if client.ttl(k) > 0]
        client.unlink(draft.removesuffix(b":ids"))
        yield Profile("last", None, None, np.array([2.0]), {})

    with pytest.raises(RegularsError, match="Redis kept 1 of 1001 customers"):
        publish(server, robbed())

    store = opened(server)
    assert store.facts() == first
    assert len(list(client.scan_iter("regulars:*"))) == 3


def test_a_publisher_whose_server_dies_says_so_and_the_old_one_stays_live(
    server: RedisServer,
) -> None:
    first = publish(server, everyone(1))

    def cut() -> Iterator[Profile]:
        yield from everyone(2, 1_000)
        server.kill()
        yield Profile("last", None, None, np.array([2.0]), {})

    with pytest.raises(StoreUnavailable, match="Redis does not answer"):
        publish(server, cut())

    server.start()
    assert opened(server).facts() == first


def test_a_wrong_address_is_refused_in_a_line_without_its_password() -> None:
    with pytest.raises(RegularsError, match=r"REGULARS_REDIS_URL .* redis://host:6379/0") as caught:
        redis_store("postgres://user:geheim@db")
    assert "geheim" not in str(caught.value)
    with pytest.raises(RegularsError, match="REGULARS_REDIS_URL"):
        publish_snapshot(
            "nowhere", [], as_of=NIGHT, names=(), feature_hash="", next_products=NextProducts()
        )
