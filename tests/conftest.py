"""What tests of several files need: a lake of one's own, and the real data loaded once."""

from pathlib import Path

import pytest
from rich.console import Console

from adapters.complete_journey import read_complete_journey, weeks_to_yesterday
from adapters.duckdb_lake import DuckDbLake
from foundation.clock import SystemClock
from regulars.jobs.load import load
from regulars.progress import Progress


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
