"""Keys that end, follow each other, are revoked, and ask too often: as a service sees them."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import httpx
import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from foundation.access import APP_SCOPES
from foundation.clock import FixedClock, SystemClock
from foundation.errors import RegularsError
from regulars.wiring import House
from serving import keyring as keyring_module
from serving.keyring import Keyring
from serving.rates import Rates
from tests.deployment import listening

HOUR = timedelta(hours=1)
ACTIVATION = {"customer_id": "c-1", "offer_id": "none", "channel": "app"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("keys") / "pg") as server:
        yield server.url


@pytest.fixture(scope="module")
def admin(database: str) -> Iterator[PostgresAdmin]:
    admin = PostgresAdmin(database, who="ana")
    yield admin
    admin.close()


@pytest.fixture(scope="module")
def url(small_house: House, database: str, admin: PostgresAdmin) -> Iterator[str]:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE catalogue SET version = version + 1")
    with listening(small_house, database) as url:
        yield url


def told(url: str, key: str, replay: str | None = None, **changed: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    if replay is not None:
        headers["Idempotency-Key"] = replay
    body = ACTIVATION | changed
    return httpx.post(f"{url}/v1/activations", json=body, headers=headers, trust_env=False)


def test_a_revoked_key_is_refused_within_a_second(url: str, admin: PostgresAdmin) -> None:
    for _ in range(3):
        key, number = admin.keys.make("till", APP_SCOPES)
        assert told(url, key).status_code == 200
        admin.keys.revoke(str(number))
        revoked = time.monotonic()
        while told(url, key).status_code == 200:
            assert time.monotonic() - revoked < 1.0
        assert told(url, key).json()["code"] == "unknown_key"


def test_a_key_ends_when_it_was_to_end(url: str, admin: PostgresAdmin) -> None:
    key, _ = admin.keys.make("stand at the fair", APP_SCOPES, lasts=timedelta(seconds=2))
    made = time.monotonic()
    assert told(url, key).status_code == 200
    while told(url, key).status_code == 200:
        assert time.monotonic() - made < 3.0
    assert time.monotonic() - made > 1.5


def test_a_key_that_was_read_before_an_outage_ends_all_the_same(
    database: str, admin: PostgresAdmin
) -> None:
    key, _ = admin.keys.make("till", APP_SCOPES, lasts=HOUR)
    clock = FixedClock(datetime.now(UTC))

    async def story() -> None:
        pool = PostgresPool(database)
        keyring = Keyring(PostgresJournal(pool), clock, Rates())
        assert await keyring.facts(key)
        await pool.close()
        # Nothing is read any more: only time goes on.
        clock.instant += HOUR
        assert await keyring.facts(key) is None

    asyncio.run(story())


def test_an_old_key_and_its_successor_both_work_until_the_old_one_ends(
    url: str, admin: PostgresAdmin
) -> None:
    old, number = admin.keys.make("shop 7", ["outcomes"], rate=50)
    new, was = admin.keys.rotate("shop 7", timedelta(seconds=3))
    rotated = time.monotonic()
    # The successor works at once, beside the old one.
    assert [told(url, key).status_code for key in (new, old)] == [200, 200]
    while told(url, old).status_code == 200:
        assert time.monotonic() - rotated < 4.0
    assert told(url, new).status_code == 200

    assert was.number == number
    successor = next(key for key in admin.keys.all() if key.number == was.successor)
    assert (successor.name, successor.scopes, successor.rate) == ("shop 7", ("outcomes",), 50)
    assert successor.expires_at is None


def test_who_repeats_a_request_over_a_rotation_gets_the_same_answer(
    url: str, admin: PostgresAdmin
) -> None:
    old, number = admin.keys.make("shop 8", ["outcomes"])
    other, _ = admin.keys.make("shop 9", ["outcomes"])
    first = told(url, old, "receipt-1")
    new, _ = admin.keys.rotate(str(number), HOUR)
    assert told(url, new, "receipt-1").content == first.content
    # Another body under the same name is told apart, and another caller's names are her own.
    assert told(url, new, "receipt-1", customer_id="c-2").status_code == 409
    assert told(url, other, "receipt-1", customer_id="c-2").status_code == 200


def test_a_successor_lasts_as_long_as_the_key_it_follows(admin: PostgresAdmin) -> None:
    _, number = admin.keys.make("shop 10", ["decide"], lasts=24 * HOUR)
    _, old = admin.keys.rotate(str(number), HOUR)
    successor = next(key for key in admin.keys.all() if key.number == old.successor)
    assert successor.expires_at is not None
    assert old.expires_at is not None
    lasts = successor.expires_at - successor.made_at
    assert abs(lasts - 24 * HOUR) < timedelta(minutes=1)
    assert abs(old.expires_at - datetime.now(UTC) - HOUR) < timedelta(minutes=1)
    with pytest.raises(RegularsError, match=f"is followed by key {old.successor} already"):
        admin.keys.rotate(str(number), HOUR)
    with pytest.raises(RegularsError, match="is the name of keys"):
        admin.keys.revoke("shop 10")


def test_an_overlap_never_lengthens_a_keys_life(admin: PostgresAdmin) -> None:
    _, number = admin.keys.make("shop 11", ["decide"], lasts=HOUR)
    before = next(key for key in admin.keys.all() if key.number == number)
    _, after = admin.keys.rotate(str(number), 24 * HOUR)
    assert after.expires_at == before.expires_at


def test_what_is_no_valid_key_cannot_be_rotated_or_revoked(admin: PostgresAdmin) -> None:
    _, number = admin.keys.make("gone", ["decide"])
    admin.keys.revoke("gone")
    for which in ("gone", str(number), "never", "0"):
        with pytest.raises(RegularsError, match="there is no valid key"):
            admin.keys.revoke(which)
        with pytest.raises(RegularsError, match="there is no valid key"):
            admin.keys.rotate(which, HOUR)


def test_who_asks_too_often_is_told_when_to_come_back(url: str, admin: PostgresAdmin) -> None:
    slow, _ = admin.keys.make("slow", APP_SCOPES, rate=0.25)
    free, _ = admin.keys.make("free", APP_SCOPES)
    assert told(url, slow).status_code == 200
    refused = told(url, slow)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_exceeded"
    assert 3 <= int(refused.headers["retry-after"]) <= 4
    assert "0.25 times a second" in refused.json()["detail"]
    # Others are not held up, and what a key may not do at all takes none of its turns.
    assert [told(url, free).status_code for _ in range(20)] == [200] * 20


def test_the_day_of_the_last_use_is_kept_and_seldom_written(
    database: str, admin: PostgresAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_module, "TELL_SECONDS", 0.0)
    used, number = admin.keys.make("used", ["decide"])
    admin.keys.make("unused", ["decide"])

    def last_used(name: str) -> date | None:
        return next(key.last_used for key in admin.keys.all() if key.name == name)

    def row_version() -> str:
        with psycopg.connect(database) as connection:
            rows = connection.execute(
                "SELECT xmin::text FROM api_keys WHERE number = %s", (number,)
            )
            return str(rows.fetchone())

    async def story() -> None:
        pool = PostgresPool(database)
        keyring = Keyring(PostgresJournal(pool), SystemClock(), Rates())
        facts = await keyring.facts(used)
        assert facts is not None
        assert last_used("used") is None
        for _ in range(3):
            keyring.wait(facts)
            await keyring.read()
            versions.add(row_version())
        await pool.close()

    versions = set[str]()
    asyncio.run(story())
    # The database counts days in its own zone.
    assert abs(last_used("used") - datetime.now(UTC).date()) <= timedelta(days=1)
    assert last_used("unused") is None
    assert len(versions) == 1


def test_the_audit_log_says_who_did_what_to_which_key(admin: PostgresAdmin) -> None:
    key, number = admin.keys.make("watched", ["decide"], rate=5)
    _, old = admin.acting("user bea").keys.rotate(str(number), HOUR)
    admin.keys.revoke(str(old.successor))
    subject = f"key {number} (watched)"
    made, rotated = admin.audit.of(subject)
    assert (made.who, made.action, rotated.who, rotated.action) == (
        "ana", "make", "user bea", "rotate",
    )  # fmt: skip
    assert made.after is not None
    assert made.after["scopes"] == ["decide"]
    assert rotated.after is not None
    assert rotated.after["successor"] == old.successor
    (revoked,) = (e for e in admin.audit.newest(1))
    assert (revoked.action, revoked.subject) == ("revoke", f"key {old.successor} (watched)")
    assert key not in str(admin.audit.newest(100))
