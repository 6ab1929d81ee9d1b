"""Who is let in at the console, for how long, and how often may somebody guess?"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from argon2 import PasswordHasher

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from foundation import passwords
from foundation.access import User
from foundation.clock import FixedClock
from foundation.errors import RegularsError
from serving.console.sign_in import (
    IDLE,
    LOCKED,
    SESSION,
    TRIES_OF_ADDRESS,
    TRIES_OF_NAME,
    SignIn,
    SignInRefused,
    TooManyTries,
    network,
)

HOME, CAFE = "192.0.2.7", "198.51.100.9"
NEW = "ein neuer langer Satz mit Wald"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("sign-in") / "pg") as server:
        yield server.url


@dataclass
class Door:
    """A console's door with one user, and a clock to turn."""

    admin: PostgresAdmin
    clock: FixedClock
    sign_in: SignIn
    password: str

    def opens(self, password: str, address: str = HOME, name: str = "ana") -> bool:
        try:
            self.sign_in.sign_in(name, password, address)
        except SignInRefused:
            return False
        return True


@pytest.fixture
def door(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    # Real hashes, only made quicker to make; tests/foundation/test_passwords.py has the slow ones.
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", quick)
    monkeypatch.setattr(passwords, "_NOBODY", quick.hash("nobody"))
    admin = PostgresAdmin(database, who="root")
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM users")
        connection.execute("DELETE FROM sign_in_tries")
    clock = FixedClock(datetime(2026, 11, 22, 9, tzinfo=UTC))
    password = admin.users.add("ana", "marketer")
    yield Door(admin, clock, SignIn(admin.users, clock), password)
    admin.close()


def test_the_right_password_opens_and_every_other_does_not(door: Door) -> None:
    token = door.sign_in.sign_in(" Ana ", door.password, HOME)
    assert door.sign_in.who(token, seen=True) == User("ana", "marketer")
    for name, password in (
        ("ana", "wrong"),
        ("ana", ""),
        ("bea", door.password),
        ("", ""),
        ("a\x00", "b"),
        ("a" * 999, ""),
    ):
        with pytest.raises(SignInRefused, match="name or password is wrong"):
            door.sign_in.sign_in(name, password, HOME)
    for stranger in ("", token[:-1], token + "A", "'; DROP TABLE users; --", "\x00"):
        assert door.sign_in.who(stranger, seen=True) is None


def test_only_hashes_of_passwords_and_tokens_are_kept(door: Door, database: str) -> None:
    token = door.sign_in.sign_in("ana", door.password, HOME)
    with psycopg.connect(database) as connection:
        tables = ("users", "sessions", "sign_in_tries", "audit_log")
        selects = (f"SELECT {name}::text FROM {name}" for name in tables)  # noqa: S608
        kept = "".join(str(connection.execute(s.encode()).fetchall()) for s in selects)
    assert "$argon2id$" in kept
    assert door.password not in kept
    assert token not in kept
    assert token.encode().hex() not in kept


def test_a_name_is_locked_after_so_many_wrong_tries_from_anywhere(door: Door) -> None:
    for n in range(TRIES_OF_NAME):
        assert not door.opens("wrong", f"203.0.113.{n}")
    with pytest.raises(TooManyTries, match="try again in 15 min"):
        door.sign_in.sign_in("ana", door.password, HOME)
    # Trying on meanwhile does not lengthen it, nor does it help.
    door.clock.instant += LOCKED - timedelta(seconds=1)
    assert not door.opens(door.password)
    door.clock.instant += timedelta(seconds=1)
    assert door.opens(door.password)


def test_the_lock_begins_with_the_last_try_not_the_first(door: Door) -> None:
    for _ in range(TRIES_OF_NAME - 1):
        assert not door.opens("wrong")
    door.clock.instant += LOCKED - timedelta(minutes=1)
    assert not door.opens("wrong")
    door.clock.instant += LOCKED - timedelta(minutes=1)
    assert not door.opens(door.password)
    door.clock.instant += timedelta(minutes=1)
    assert door.opens(door.password)


def test_getting_in_forgets_the_wrong_tries_of_the_name(door: Door) -> None:
    for _ in range(3):
        for _ in range(TRIES_OF_NAME - 1):
            assert not door.opens("wrong")
        assert door.opens(door.password)


def test_an_address_is_locked_whatever_names_it_tries(door: Door) -> None:
    for n in range(TRIES_OF_ADDRESS):
        assert not door.opens("wrong", name=f"guess-{n}")
    with pytest.raises(TooManyTries):
        door.sign_in.sign_in("ana", door.password, HOME)
    assert door.opens(door.password, CAFE)
    door.clock.instant += LOCKED
    assert door.opens(door.password, HOME)


def test_an_account_of_ones_own_does_not_buy_more_guesses(door: Door) -> None:
    guesses = 0
    for n in range(3 * TRIES_OF_ADDRESS):
        if not door.opens(door.password):
            break
        assert not door.opens("wrong", name=f"guess-{n}")
        guesses += 1
    assert guesses == TRIES_OF_ADDRESS


def test_an_office_that_signs_in_from_one_address_is_never_locked(door: Door) -> None:
    assert all(door.opens(door.password) for _ in range(TRIES_OF_ADDRESS + 5))


def test_guesses_sent_all_at_once_are_counted_as_well(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()
    stored = door.admin.users.password_hash

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(door.admin.users, name)

        def password_hash(self, name: str) -> str | None:
            looked.append(name)
            return stored(name)

    sign_in = SignIn(Watched(), door.clock)

    def guess(n: int) -> None:
        with pytest.raises(SignInRefused):
            sign_in.sign_in("ana", f"guess {n}", f"203.0.113.{n}")

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(guess, range(16)))
    assert len(looked) == TRIES_OF_NAME


def test_unknown_names_are_counted_like_known_ones(door: Door) -> None:
    said = list[str]()
    for n in range(TRIES_OF_NAME + 1):
        with pytest.raises(SignInRefused) as refused:
            door.sign_in.sign_in("nobody", "wrong", f"203.0.113.{n}")
        said.append(str(refused.value))
    assert said[:-1] == ["name or password is wrong"] * TRIES_OF_NAME
    assert said[-1].startswith("too many tries")


def test_a_session_ends_after_a_day_of_work_however_awake(door: Door) -> None:
    token = door.sign_in.sign_in("ana", door.password, HOME)
    for _ in range(int(SESSION / timedelta(hours=1)) - 1):
        door.clock.instant += timedelta(hours=1)
        assert door.sign_in.who(token, seen=True)
    door.clock.instant += timedelta(hours=1)
    assert door.sign_in.who(token, seen=True) is None


def test_a_session_that_nobody_uses_ends_sooner(door: Door) -> None:
    token = door.sign_in.sign_in("ana", door.password, HOME)
    door.clock.instant += IDLE - timedelta(seconds=1)
    # An open page asks by itself, which is no use.
    assert door.sign_in.who(token, seen=False)
    door.clock.instant += timedelta(seconds=1)
    assert door.sign_in.who(token, seen=True) is None


def test_signing_out_ends_this_session_alone(door: Door) -> None:
    here, there = (door.sign_in.sign_in("ana", door.password, HOME) for _ in range(2))
    door.sign_in.sign_out(here)
    assert door.sign_in.who(here, seen=True) is None
    assert door.sign_in.who(there, seen=True)


def test_a_changed_password_ends_every_other_session(door: Door) -> None:
    before = door.sign_in.sign_in("ana", door.password, HOME)
    with pytest.raises(SignInRefused):
        door.sign_in.change_password(User("ana", "marketer"), "wrong", NEW)
    with pytest.raises(RegularsError, match="15 to 200 characters"):
        door.sign_in.change_password(User("ana", "marketer"), door.password, "short")
    assert door.sign_in.who(before, seen=True)
    after = door.sign_in.change_password(User("ana", "marketer"), door.password, NEW)
    assert door.sign_in.who(before, seen=True) is None
    assert door.sign_in.who(after, seen=True)
    assert not door.opens(door.password)
    assert door.opens(NEW)


def test_guessing_at_the_old_password_is_locked_too(door: Door) -> None:
    user = User("ana", "marketer")
    for _ in range(TRIES_OF_NAME):
        with pytest.raises(SignInRefused):
            door.sign_in.change_password(user, "wrong", NEW)
    with pytest.raises(TooManyTries):
        door.sign_in.change_password(user, door.password, NEW)


def test_who_is_removed_or_gets_a_new_password_is_out(door: Door) -> None:
    token = door.sign_in.sign_in("ana", door.password, HOME)
    for _ in range(TRIES_OF_NAME + 1):
        door.opens("wrong")
    renewed = door.admin.users.renew_password("Ana")
    assert door.sign_in.who(token, seen=True) is None
    # A new password also lifts the lock.
    token = door.sign_in.sign_in("ana", renewed, HOME)
    door.admin.users.remove("ana")
    assert door.sign_in.who(token, seen=True) is None
    assert not door.opens(renewed)
    for ask in (door.admin.users.remove, door.admin.users.renew_password):
        with pytest.raises(RegularsError, match="user 'ana' does not exist"):
            ask("ana")


def test_a_first_admin_is_made_once_where_there_is_nobody(door: Door) -> None:
    assert door.admin.users.add_first("admin") is None
    door.admin.users.remove("ana")
    password = door.admin.users.add_first("admin")
    assert password is not None
    assert door.opens(password, name="admin")
    assert door.admin.users.add_first("admin") is None
    assert [(user.name, user.role) for user in door.admin.users.all()] == [("admin", "admin")]


@pytest.mark.parametrize("name", ["", " ", "ana marie", "-ana", "a" * 101, "an\na", "<b>"])
def test_what_is_no_name_is_refused(door: Door, name: str) -> None:
    with pytest.raises(RegularsError, match="must begin with a letter or digit"):
        door.admin.users.add(name, "viewer")


def test_names_are_the_same_in_capitals(door: Door) -> None:
    with pytest.raises(RegularsError, match="user 'ana' exists"):
        door.admin.users.add("ANA", "admin")


def test_changes_of_users_are_in_the_audit_log(door: Door) -> None:
    door.sign_in.change_password(User("ana", "marketer"), door.password, NEW)
    door.admin.users.remove("ana")
    newest = door.admin.audit.newest(3)
    assert [(e.who, e.action, e.subject) for e in newest] == [
        ("root", "remove", "user ana"),
        ("user ana", "password", "user ana"),
        ("root", "add", "user ana"),
    ]


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("192.0.2.7", "192.0.2.7"),
        # RFC 4291: one network hands a caller any of 2^64 addresses.
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", "unknown"),
        ("evil.example", "unknown"),
    ],
)
def test_callers_are_told_apart_by_what_they_cannot_change(address: str, same: str) -> None:
    assert network(address) == same
