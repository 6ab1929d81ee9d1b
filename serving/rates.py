"""How often a key may ask: a token bucket a key, shared by the workers of one machine.

A bucket is one number in memory that all workers map: the instant at which it is full again (the
generic cell rate algorithm, ITU-T I.371). It is read and written without a lock, so that it costs
no request more than a microsecond; two workers at the very same instant may take one token twice.
"""

import mmap
import time
from pathlib import Path

# Of eight bytes each. Keys are numbered, so that no two share one before so many were made.
BUCKETS = 65_536
SIZE = 8 * BUCKETS
# A bucket holds what its rate fills in this time, and one token at least.
FULL_SECONDS = 1.0
# What adding up hundredths loses.
ROUNDING = 1e-9


def lay_out(file: Path) -> None:
    """Write a file of full buckets, for the workers of one machine to map."""
    file.write_bytes(bytes(SIZE))


class Rates:
    """The buckets of all keys: those in `shared`, or of this process alone."""

    def __init__(self, shared: Path | None = None) -> None:
        if shared is None:
            memory: bytearray | mmap.mmap = bytearray(SIZE)
        else:
            with shared.open("r+b") as file:
                memory = mmap.mmap(file.fileno(), SIZE)
        self._full_at = memoryview(memory).cast("d")

    def wait(self, number: int, rate: float) -> float:
        """Take a token of a key's bucket.

        Args:
            number: The key's.
            rate: Tokens a second.

        Returns:
            0.0 if there was one; else the seconds until there is, and none is taken.
        """
        # One clock for all processes of the machine.
        now = time.monotonic()
        place = number % BUCKETS
        full_at = max(self._full_at[place], now) + 1 / rate
        early = full_at - now - max(FULL_SECONDS, 1 / rate)
        if early > ROUNDING:
            return early
        self._full_at[place] = full_at
        return 0.0
