"""Ids of decisions and uses."""

import hashlib
import os
from datetime import datetime

from foundation.clock import Clock
from foundation.replay import KEPT_HOURS, Replay

_KEPT_MILLISECONDS = KEPT_HOURS * 3_600_000


def new_id(clock: Clock) -> str:
    """Return a version 7 UUID: ordered by time, so that the primary key's index stays compact."""
    return _ordered_id(_milliseconds(clock), os.urandom(10))


def id_of(replay: Replay, clock: Clock) -> str:
    """Return the id of what a named request makes, the same for the same request.

    So it is one thing, also where an outage hides from one worker what another one answered. Its
    time is rounded down to as long as names are kept: a name that is free again makes new ids.
    """
    since = _milliseconds(clock) // _KEPT_MILLISECONDS * _KEPT_MILLISECONDS
    return _ordered_id(since, _drawn(replay, b"id", 10))


def seed_of(replay: Replay) -> int:
    """Return the chance of a named request's decision, 53 bits, the same for the same request."""
    return int.from_bytes(_drawn(replay, b"seed", 8), "big") >> 11


def made_after(decision_id: str, at: datetime) -> bool:
    """Whether an id's time is after another."""
    digits = decision_id.replace("-", "")[:12]
    try:
        return int(digits, 16) > at.timestamp() * 1000
    except ValueError:
        # None of ours.
        return False


def _drawn(replay: Replay, what: bytes, size: int) -> bytes:
    told = replay.digest + replay.name.encode()
    return hashlib.blake2b(told, digest_size=size, person=what).digest()


def _milliseconds(clock: Clock) -> int:
    return int(clock.now().timestamp() * 1000)


def _ordered_id(milliseconds: int, chance: bytes) -> str:
    bits = (milliseconds << 80) | int.from_bytes(chance, "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    # As str(uuid.UUID(int=bits)), at a quarter of its time.
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
