"""Repeated requests: the same Idempotency-Key gets the same answer again and does nothing twice."""

import hashlib
from typing import Any

import msgspec

from foundation.decision import DecisionRecord

# So long a till may be away from the net and still repeat itself; then its name is free again.
KEPT_HOURS = 72


class Replay(msgspec.Struct, frozen=True):
    """A request that may come again: its name (whose, where, under which key), and what it asks."""

    name: str
    digest: bytes


class Answered(msgspec.Struct, frozen=True):
    """A decision that was asked for under a name, with the answer in JSON that it got."""

    replay: Replay
    record: DecisionRecord
    answer: str


def digest(told: Any) -> bytes:
    """Return what tells one content from another."""
    encoded = msgspec.json.encode(told, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=16).digest()
