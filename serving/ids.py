"""Ids of decisions and uses."""

import os
import uuid

from foundation.clock import Clock


def new_id(clock: Clock) -> str:
    """Return a version 7 UUID: ordered by time, so that the primary key's index stays compact."""
    milliseconds = int(clock.now().timestamp() * 1000)
    bits = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=bits))
