"""Who may do what: API keys with their scopes, people at the console with their roles.

Only hashes of keys are kept; a key is seen once, when it is made.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

# Each scope stands alone: none includes another.
Scope = Literal["decide", "outcomes", "marketer", "admin"]
SCOPES: tuple[Scope, ...] = ("decide", "outcomes", "marketer", "admin")
# What an app or a till needs.
APP_SCOPES: tuple[Scope, ...] = ("decide", "outcomes")
# Each role may do what those before it may.
Role = Literal["viewer", "marketer", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "marketer", "admin")
PREFIX = "rgl_"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A stored key: its name for people, what it may do, how often and how long.

    `number` tells it where the key itself must not stand. `line` is the same for a key and its
    successors: who asks is one caller over a rotation. `rate` is in requests a second.
    """

    name: str
    scopes: frozenset[str]
    number: int
    line: str
    rate: float | None = None
    expires_at: datetime | None = None

    @property
    def called(self) -> str:
        """How the audit log calls it."""
        return key_called(self.number, self.name)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody at the console."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether what is for a role is for her."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True, slots=True)
class Tries:
    """How often it was tried to sign in, and since when these tries count."""

    number: int
    since: datetime


def key_called(number: int, name: str) -> str:
    """Return how the audit log calls a key: never by itself."""
    return f"key {number} ({name})"


def new_key() -> str:
    """Return a fresh key of 256 random bits."""
    return PREFIX + new_secret()


def new_secret() -> str:
    """Return 256 random bits as text that fits a header and a cookie."""
    return secrets.token_urlsafe(32)


def hash_key(key: str) -> bytes:
    """Return what is stored of a key, or of a session's token.

    One round of SHA-256 is enough: it has 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(key.encode()).digest()
