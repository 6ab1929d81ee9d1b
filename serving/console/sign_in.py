"""Signing in at the console: who are you, and how often may somebody guess?

A session is a random token in a cookie, of which only the hash is kept. Tries are counted before
the password is looked at, so that guesses sent all at once count as well.
"""

from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from foundation.access import Tries, User, hash_key, new_secret
from foundation.clock import Clock
from foundation.errors import RegularsError
from foundation.passwords import hash_password, is_password

# A working day, and a long meeting.
SESSION = timedelta(hours=12)
IDLE = timedelta(hours=2)
# So many tries are looked at; then the name, or the address, is locked for so long.
TRIES_OF_NAME = 5
TRIES_OF_ADDRESS = 20
LOCKED = timedelta(minutes=15)
LONGEST_NAME = 200
WRONG = "name or password is wrong"


class SignInRefused(RegularsError):
    """Nobody is let in; the message says no more than a stranger may know."""


class TooManyTries(SignInRefused):
    """Nothing is looked at for a while."""


class Accounts(Protocol):
    """Where people, their sessions and tries are kept; methods block."""

    def password_hash(self, name: str) -> str | None:
        """Return the hash of a user's password; None where there is no such user."""
        ...

    def set_password(self, name: str, password_hash: str, at: datetime) -> None:
        """Change her own password, end all her sessions and forget her tries."""
        ...

    def try_once(self, subject: str, most: int, locked: timedelta, at: datetime) -> Tries:
        """Count a try, at once for all who try; older ones than `locked` count no more.

        The last one of `most` begins the time anew, which those after it do not.
        """
        ...

    def take_back_try(self, subject: str) -> None:
        """Let one try count no more."""
        ...

    def forget_tries(self, subject: str) -> None:
        """Let no try count any more."""
        ...

    def open_session(self, token_hash: bytes, name: str, at: datetime) -> None:
        """Keep a session."""
        ...

    def session(
        self, token_hash: bytes, made_after: datetime, seen_after: datetime, seen_at: datetime
    ) -> User | None:
        """Return whose session it is, if it is neither too old nor idle for too long.

        `seen_at` becomes its last use, where that lies before.
        """
        ...

    def end_session(self, token_hash: bytes) -> None:
        """Forget a session."""
        ...


class SignIn:
    """Lets people in and out; methods block, for the hash of a password takes its time."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    def sign_in(self, name: str, password: str, address: str) -> str:
        """Return the token of a new session.

        Raises:
            SignInRefused: Name or password is wrong.
            TooManyTries: There were too many; even the right password is not looked at.
        """
        name, now = name.strip().lower(), self._clock.now()
        of_address = f"address {network(address)}"
        self._count(of_address, TRIES_OF_ADDRESS, now)
        self._check(name, password, now)
        # An office shares one address: who gets in does not count against the others. Those before
        # stay: an account of one's own is no leave to guess at others'.
        self._accounts.take_back_try(of_address)
        return self._open(name, now)

    def change_password(self, user: User, old: str, new: str) -> str:
        """Change a password, end all sessions and return the token of a new one.

        Raises:
            SignInRefused: The old password is wrong.
            TooManyTries: There were too many.
            RegularsError: The new one is none that can be taken.
        """
        now = self._clock.now()
        self._check(user.name, old, now)
        self._accounts.set_password(user.name, hash_password(new), now)
        return self._open(user.name, now)

    def who(self, token: str, *, seen: bool) -> User | None:
        """Return whose session a token is of; None if it is over.

        Args:
            seen: She asks for something herself, which keeps the session awake.
        """
        now = self._clock.now()
        seen_at = now if seen else now - SESSION
        return self._accounts.session(hash_key(token), now - SESSION, now - IDLE, seen_at)

    def sign_out(self, token: str) -> None:
        """End a session."""
        self._accounts.end_session(hash_key(token))

    def _check(self, name: str, password: str, now: datetime) -> None:
        # No user has such a name, and not every one fits a database.
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise SignInRefused(WRONG)
        subject = f"user {name}"
        self._count(subject, TRIES_OF_NAME, now)
        if not is_password(self._accounts.password_hash(name), password):
            raise SignInRefused(WRONG)
        self._accounts.forget_tries(subject)

    def _count(self, subject: str, most: int, now: datetime) -> None:
        tries = self._accounts.try_once(subject, most, LOCKED, now)
        if tries.number > most:
            left = tries.since + LOCKED - now
            minutes = max(1, -(-left.seconds // 60))
            raise TooManyTries(f"too many tries; try again in {minutes} min")

    def _open(self, name: str, now: datetime) -> str:
        token = new_secret()
        self._accounts.open_session(hash_key(token), name, now)
        return token


def network(address: str) -> str:
    """Return what of an address stays the same for one caller: of IPv6 the first 64 bits."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)
