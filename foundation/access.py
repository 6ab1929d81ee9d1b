"""API keys: who may ask what. Only hashes are kept; a key is seen once, when it is made."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal

Scope = Literal["decide", "outcomes"]
SCOPES: tuple[Scope, ...] = ("decide", "outcomes")
PREFIX = "rgl_"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A stored key: its name for people, and its scopes."""

    name: str
    scopes: frozenset[str]


def new_key() -> str:
    """Return a fresh key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> bytes:
    """Return what is stored of a key.

    One round of SHA-256 is enough: a key has 256 random bits, so there is nothing to guess.
    """
    return hashlib.sha256(key.encode()).digest()


def allowed(keys: dict[bytes, KeyFacts], given: str, scope: Scope) -> bool | None:
    """Return whether a key may do something; None when the key is unknown."""
    found = keys.get(hash_key(given))
    return None if found is None else scope in found.scopes
