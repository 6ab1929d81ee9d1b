"""What was last known: catalogue and keys on disk, for a start while the database is away.

Who refused a channel is kept beside them, see last_refusals. They stand in once, for the first
question a process cannot ask its database; after that an outage is told as ever, and what was read
stays live. Keys are kept as the hashes that the database has.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

from adapters.kept_file import KeptFile
from adapters.postgres_journal import PostgresJournal
from experiments.design import Experiment
from foundation.access import KeyFacts
from foundation.decision import Policy
from foundation.errors import StoreUnavailable
from foundation.offer import Offer

Content = TypeVar("Content")


class _Remembered(Generic[Content]):
    """The newest good answer to one question, in this life or an earlier one."""

    def __init__(self, path: Path, content: type[Content]) -> None:
        self._file = KeptFile(path, content)
        self._log = structlog.get_logger("last known")
        self._kept: Content | None = None
        # Whether the source, or the disk in its place, has answered.
        self.answered = False

    async def ask(self, source: Callable[[], Awaitable[Content]]) -> Content:
        """Return the source's answer, the first time what it answered in an earlier life."""
        try:
            found = await source()
        except StoreUnavailable:
            before = None if self.answered else self._file.read()
            if before is None:
                raise
            self.answered = True
            self._log.warning("the database is away", serving=self._file.name)
            return before
        self.answered = True
        if found != self._kept and self._file.write(found):
            self._kept = found
        return found


class _Catalogue(msgspec.Struct, frozen=True, array_like=True):
    version: int
    offers: list[Offer]
    experiments: list[Experiment]
    policy: Policy | None = None


class LastKnownCatalogue:
    """A catalogue's source, see serving.catalogue.CatalogueSource, that is remembered."""

    def __init__(self, folder: Path, source: PostgresJournal) -> None:
        self._source = source
        self._remembered = _Remembered(folder / "catalogue", _Catalogue)

    async def version(self) -> int:
        try:
            return await self._source.version()
        except StoreUnavailable:
            if self._remembered.answered:
                raise
            # Asked for the whole of it next.
            return -1

    async def read(self) -> tuple[int, Sequence[Offer], Sequence[Experiment], Policy | None]:
        async def asked() -> _Catalogue:
            return _Catalogue(*await self._source.read())

        found = await self._remembered.ask(asked)
        return found.version, found.offers, found.experiments, found.policy


class LastKnownKeys:
    """A store of keys, see serving.keys.KeyStore, that is remembered."""

    def __init__(self, folder: Path, source: PostgresJournal) -> None:
        self._source = source
        self._remembered = _Remembered(folder / "keys", dict[bytes, KeyFacts])

    async def keys(self) -> dict[bytes, KeyFacts]:
        return await self._remembered.ask(self._source.keys)

    async def used(self, numbers: Collection[int]) -> None:
        await self._source.used(numbers)
