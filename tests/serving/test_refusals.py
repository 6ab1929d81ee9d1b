"""Are refusals followed, whatever order their answers are committed in, on a real database?"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.last_refusals import LastKnownRefusals
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_customers import PostgresCustomers
from adapters.postgres_pool import PostgresPool
from foundation.consent import ConsentAnswer
from foundation.contact_policy import DEFAULT_CONTACT_POLICY
from serving.refusals import SETTLED_SECONDS, WHOLE_SECONDS, Refusals

BEFORE = "INSERT INTO consent_history (customer_id, channel, granted, at, who, source) "
NOW = "INSERT INTO consents (customer_id, channel, granted, at) "


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("refusals") / "pg") as running:
        PostgresAdmin(running.url).close()
        yield running


@dataclass
class Story:
    url: str
    folder: Path
    pool: PostgresPool
    erased: frozenset[str] = frozenset()
    now: float = 1000.0
    refusals: Refusals = field(init=False)

    @contextmanager
    def slow_refusal(self) -> Iterator[None]:
        """Let c-slow refuse the app, numbered now and committed at the end."""
        with psycopg.connect(self.url) as slow:
            at = datetime.now(UTC)
            slow.execute(NOW + "VALUES ('c-slow', 'app', false, %s)", [at])
            slow.execute(BEFORE + "VALUES ('c-slow', 'app', false, %s, 't', 'app')", [at])
            yield

    def __post_init__(self) -> None:
        self.customers = PostgresCustomers(self.pool)
        self.refusals = self.opened()

    def opened(self) -> Refusals:
        return Refusals(
            self.customers,
            LastKnownRefusals(self.folder),
            DEFAULT_CONTACT_POLICY,
            lambda: self.erased,
            lambda: self.now,
        )

    async def answer(self, customer_id: str, channel: str, granted: bool) -> None:
        answer = ConsentAnswer(customer_id, channel, granted, None, "test", "app")
        await self.customers.answer([answer])

    def closed(self, customer_id: str) -> set[str]:
        return set(self.refusals.uncounted(customer_id).consents)


@pytest.fixture
def tell(
    server: EmbeddedPostgres, tmp_path: Path
) -> Iterator[Callable[[Callable[[Story], Awaitable[None]]], None]]:
    def told(story: Callable[[Story], Awaitable[None]]) -> None:
        async def run() -> None:
            pool = PostgresPool(server.url)
            try:
                await story(Story(server.url, tmp_path, pool))
            finally:
                await pool.close()

        asyncio.run(run())

    yield told
    with psycopg.connect(server.url) as connection:
        connection.execute("TRUNCATE consents, consent_history, erasures")


def test_each_answer_is_followed_both_ways(
    tell: Callable[[Callable[[Story], Awaitable[None]]], None],
) -> None:
    async def story(one: Story) -> None:
        await one.answer("c-1", "app", False)
        await one.answer("c-1", "email", False)
        await one.refusals.read()
        assert one.closed("c-1") == {"app"}
        for granted in (True, False, True):
            # Long after all the others, too.
            one.now += 2 * SETTLED_SECONDS
            await one.refusals.read()
            await one.answer("c-1", "app", granted)
            await one.answer("c-2", "till", not granted)
            await one.refusals.read()
            assert one.closed("c-1") == (set() if granted else {"app"})
            assert one.closed("c-2") == (set() if not granted else {"till"})

    tell(story)


def test_one_that_is_committed_after_others_with_higher_numbers_is_not_missed(
    tell: Callable[[Callable[[Story], Awaitable[None]]], None],
) -> None:
    async def story(one: Story) -> None:
        await one.refusals.read()
        # All have been read twice by then.
        one.now += SETTLED_SECONDS
        await one.refusals.read()
        one.now += 2 * SETTLED_SECONDS
        await one.refusals.read()
        with one.slow_refusal():
            await one.answer("c-quick", "app", False)
            await one.refusals.read()
            one.now += SETTLED_SECONDS / 2
            await one.answer("c-later", "app", False)
            await one.refusals.read()
            assert one.closed("c-later") == {"app"}
        assert one.closed("c-slow") == set()
        await one.refusals.read()
        assert one.closed("c-slow") == {"app"}

    tell(story)


def test_one_under_way_at_the_first_reading_is_found_by_the_second(
    tell: Callable[[Callable[[Story], Awaitable[None]]], None],
) -> None:
    async def story(one: Story) -> None:
        with one.slow_refusal():
            await one.answer("c-quick", "app", False)
            await one.refusals.read()
        one.now += SETTLED_SECONDS
        await one.refusals.read()
        assert one.closed("c-slow") == {"app"}

    tell(story)


def test_who_was_erased_is_forgotten_and_may_refuse_as_a_new_customer(
    tell: Callable[[Callable[[Story], Awaitable[None]]], None],
) -> None:
    async def story(one: Story) -> None:
        for name in ("c-1", "c-2"):
            await one.answer(name, "app", False)
        await one.refusals.read()
        await one.customers.erase("c-1", "test")
        one.erased = await one.customers.erased()
        await one.refusals.read()
        assert (one.closed("c-1"), one.closed("c-2")) == (set(), {"app"})
        kept = LastKnownRefusals(one.folder).read()["app"]
        assert ("c-1" in kept, "c-2" in kept) == (False, True)
        await one.answer("c-1", "app", False)
        await one.refusals.read()
        assert one.closed("c-1") == {"app"}
        # Erased and carried out while this process could not ask: an hour later that is known.
        await one.customers.erase("c-2", "test")
        await one.customers.forgotten(["c-2"])
        one.now += WHOLE_SECONDS
        await one.refusals.read()
        assert one.closed("c-2") == set()

    tell(story)


def test_before_anything_was_read_every_channel_where_she_comes_to_us_is_closed(
    tell: Callable[[Callable[[Story], Awaitable[None]]], None],
) -> None:
    async def story(one: Story) -> None:
        assert one.closed("c-1") == {"app", "store", "till", "web"}
        assert one.refusals.unknown("app")
        assert not one.refusals.unknown("email")
        await one.refusals.read()
        assert one.closed("c-1") == set()
        assert one.refusals.all_known

    tell(story)
