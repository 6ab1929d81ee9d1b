"""The room: what everybody in the office works with."""

import threading

from adapters.postgres_admin import PostgresAdmin
from foundation.clock import Clock
from foundation.lake import Lake
from foundation.rules import Vocabulary
from foundation.settings import Settings
from regulars.wiring import House
from serving.problems import Problem
from serving.profiles import refresh

# A marketer waits no longer for a load or a run that is writing.
LAKE_SECONDS = 10.0


class Room:
    """A deployment, opened as far as a request needs it; safe to share between threads."""

    def __init__(self, house: House, url: str) -> None:
        self.house = house
        self._url = url
        self._opening = threading.Lock()
        self._opened: PostgresAdmin | None = None
        self._profiles = house.profile_store()

    @property
    def settings(self) -> Settings:
        return self.house.settings

    @property
    def clock(self) -> Clock:
        return self.house.clock

    @property
    def admin(self) -> PostgresAdmin:
        """The operational database.

        Raises:
            StoreUnavailable: It does not answer.
        """
        with self._opening:
            if self._opened is None:
                self._opened = PostgresAdmin(self._url)
            return self._opened

    def lake(self) -> Lake:
        """Return the lake for one thread alone.

        Raises:
            Problem: It is not on this machine.
        """
        lake = self.house.open_lake(LAKE_SECONDS)
        if lake.version == 0:
            raise Problem(
                409,
                "no_lake",
                "the lake of this machine is empty; run 'regulars load', or ask the machine whose "
                "jobs fill it",
            )
        return lake

    def vocabulary(self) -> Vocabulary | None:
        """Return what rules may ask of the live snapshot; None where there is none."""
        with self._opening:
            refresh(self._profiles)
            facts = self._profiles.facts()
        return None if facts is None else facts.vocabulary

    def close(self) -> None:
        """Give the database back."""
        if self._opened is not None:
            self._opened.close()
