"""The demo keeps its hands off what is not its own."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from foundation.clock import FixedClock
from foundation.contracts import ASSUMPTIONS, PRODUCTS
from foundation.contracts.mapping import Chunk
from foundation.contracts.table import Table
from foundation.errors import RegularsError
from foundation.settings import Settings
from regulars.jobs.demo import prepare
from regulars.jobs.load import load, loaded_sources
from regulars.progress import Progress
from regulars.wiring import House

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class NothingRuns:
    """Stands where the database would be asked for running experiments."""

    def experiments(self) -> list[object]:
        return []


def chunk(table: Table, source: str, **row: object) -> Chunk:
    frame = pd.DataFrame([{**dict.fromkeys(table.names), **row}])
    return Chunk(table, frame, pd.Series([2]), [], source)


def test_data_of_another_week_are_not_laid_over_a_shops_own_rows(
    tmp_path: Path, silent: Progress
) -> None:
    house = House(Settings(home=tmp_path, database_url=None), FixedClock(NOW))
    assumption = {"name": "shift_weeks", "value": "1", "statement": "one week late"}
    chunks = [
        chunk(ASSUMPTIONS, "completejourney", **assumption),
        chunk(PRODUCTS, "/shop/products.csv", product_id="p-1", category="TEA"),
    ]
    load(house.lake, chunks, house.clock, silent)
    version = house.lake.version

    with pytest.raises(RegularsError, match=r"rows of '/shop/products.csv'; set REGULARS_HOME"):
        prepare(house, NothingRuns(), silent)  # pyright: ignore[reportArgumentType]

    assert house.lake.version == version
    assert loaded_sources(house.lake) == {"completejourney", "/shop/products.csv"}
