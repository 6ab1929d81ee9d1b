"""A profile store that is away: strangers are not made, scarce offers not shown, nobody waits."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from adapters.redis_profiles import publish_snapshot
from foundation.profile import Profile
from serving.messages import AskedContext, AskedLine, AskedPlacement, DecisionRequest
from serving.profile_reads import FAILURES, ProfileReads
from serving.profiles import refresh
from tests.redis_servers import RedisServer, redis_server, redis_store


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        people = [Profile(f"c-{n}", None, None, np.array([1.0]), {}) for n in range(9)]
        night = datetime(2026, 11, 20, tzinfo=UTC)
        publish_snapshot(server.url, people, as_of=night, names=("one",), feature_hash="91bc")
        yield server


def asked(customer_id: str, *, basket: bool = False) -> DecisionRequest:
    lines = [AskedLine("milk", 1, 2.5)] if basket else None
    return DecisionRequest(
        customer_id, "app", [AskedPlacement("checkout", 1)], AskedContext(basket=lines)
    )


def test_who_could_not_be_read_is_not_who_is_unknown(server: RedisServer) -> None:
    async def story() -> None:
        store = redis_store(server.url)
        refresh(store)
        reads = ProfileReads(store)
        now = asyncio.get_running_loop().time
        for basket in (False, True):
            found, read = await reads.of(asked("c-1", basket=basket), now() + 2)
            assert found is not None
            assert read
            assert await reads.of(asked("stranger", basket=basket), now() + 2) == (None, True)
        server.hang()
        started = now()
        assert await reads.of(asked("c-1", basket=True), started + 0.05) == (None, False)
        # The request's own deadline, not the store's longer one.
        assert now() - started < 0.2
        server.go_on()
        await store.close()

    asyncio.run(story())


def test_a_store_that_fails_again_and_again_is_left_alone_and_asked_again_later(
    server: RedisServer,
) -> None:
    async def story() -> None:
        store = redis_store(server.url)
        refresh(store)
        reads = ProfileReads(store)
        now = asyncio.get_running_loop().time
        server.hang()
        for _ in range(FAILURES):
            assert await reads.of(asked("c-1"), now() + 0.01) == (None, False)
        started = time.perf_counter()
        for _ in range(100):
            assert await reads.of(asked("c-1"), now() + 5) == (None, False)
        assert time.perf_counter() - started < 0.5
        server.go_on()
        for _ in range(100):
            found, read = await reads.of(asked("c-1"), now() + 2)
            if read:
                break
            await asyncio.sleep(0.05)
        assert found is not None
        await store.close()

    asyncio.run(story())
