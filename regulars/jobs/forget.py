"""Forget: the night carries out what customers asked for by day, in the lake and the snapshots."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from foundation.lake import Lake
from regulars.jobs.erase import erase_in_lake


@dataclass(frozen=True)
class Erasures:
    """Who is to be forgotten.

    `pending` forgets them in the database once more and returns their pseudonyms, `forgotten` drops
    their last trace there, `drop_old_snapshots` all snapshots but the live one.
    """

    pending: Callable[[], dict[str, str]]
    forgotten: Callable[[Sequence[str]], None]
    drop_old_snapshots: Callable[[], None]


@contextmanager
def forgetting(lake: Lake, erasures: Erasures) -> Generator[None]:
    """Forget customers in the lake and, once the block has published a snapshot, for good."""
    pseudonyms = erasures.pending()
    erase_in_lake(lake, pseudonyms)
    yield
    if pseudonyms:
        # Older commits and snapshots still hold them.
        lake.drop_history()
        erasures.drop_old_snapshots()
        erasures.forgotten(list(pseudonyms))
