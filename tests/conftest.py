"""What tests of several files need: a lake of one's own, and the real data loaded once."""

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from rich.console import Console

from adapters.complete_journey import read_complete_journey, weeks_to_yesterday
from adapters.duckdb_lake import DuckDbLake
from foundation.clock import SystemClock
from regulars.jobs.load import load
from regulars.progress import Progress

if TYPE_CHECKING:
    from regulars.wiring import House

# What is late here is the machine that runs many tests at once, not a database.
os.environ.setdefault("REGULARS_DEADLINE_MS", "5000")

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("regulars", deadline=None)
hypothesis.settings.load_profile("regulars")


@pytest.fixture
def lake(tmp_path: Path) -> DuckDbLake:
    """An empty lake."""
    return DuckDbLake(tmp_path / "lake")


@pytest.fixture(scope="session")
def silent() -> Progress:
    """Progress that no one watches."""
    return Progress(Console(quiet=True))


@pytest.fixture(scope="session")
def journey_lake(tmp_path_factory: pytest.TempPathFactory, silent: Progress) -> DuckDbLake:
    """Complete Journey, loaded once a session and moved to end yesterday. Read it, only."""
    clock = SystemClock()
    lake = DuckDbLake(tmp_path_factory.mktemp("journey") / "lake")
    load(lake, read_complete_journey(weeks_to_yesterday(clock.now())), clock, silent)
    return lake


@pytest.fixture(scope="session")
def small_house(tmp_path_factory: pytest.TempPathFactory) -> "House":
    """A small deployment, segmented, trained and published, made once a session.

    `with small_house.database() as url` starts its database. Who changes it, makes their own by
    `small_deployment`.
    """
    # Imported late: MLflow takes seconds, which most tests need not wait for.
    from tests.deployment import copied, house_in, small_deployment

    # The first of the processes that test side by side makes it; each has a copy of its own.
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    made, done = shared / "small", shared / "small.done"
    with (shared / "small.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            small_deployment(made)
            done.touch()
    return copied(house_in(made), tmp_path_factory.mktemp("house") / "small")
