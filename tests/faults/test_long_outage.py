"""An outage with all that comes along: real workers, killed while database and MLflow are away."""

import time
from pathlib import Path

import httpx
import pytest

from foundation.settings import Settings
from regulars.serve import running
from regulars.wiring import House
from tests.faults.shop import open_shop
from tests.faults.test_kill import free_port, under_load, within

# Workers that were killed import everything anew.
PATIENCE = 120


@pytest.mark.slow
def test_workers_killed_during_an_outage_come_back_and_lose_nothing(tmp_path: Path) -> None:
    with open_shop(tmp_path) as shop:
        settings = Settings(
            home=tmp_path,
            database_url=shop.server.url,
            # Nobody listens there.
            mlflow_tracking_uri="http://127.0.0.1:1",
            deadline_ms=300,
        )
        with (
            running(House(settings), shop.server.url, free_port(), 2, console=False) as up,
            under_load(up.url, shop.key) as load,
        ):
            assert within(PATIENCE, lambda: len(load.decided) > 100)
            shop.server.stop()
            stopped = time.monotonic()
            assert within(PATIENCE, lambda: load.decided_after(stopped + 2) > 100)
            for child in up.children:
                assert child.process is not None
                child.process.kill()
            killed = time.monotonic()
            # They start from what was last known, and find what the dead ones left.
            assert within(PATIENCE, lambda: load.decided_after(killed) > 100)
            assert len(list((tmp_path / "spool").glob("*.spool"))) >= 2
            figures = httpx.get(f"{up.url}/metrics", trust_env=False).text
            assert 'regulars_degraded_total{cause="live_state"}' in figures
            # Decisions wait in their write-ahead files, outcomes in the spool.
            assert 'regulars_spooled_total{kind="outcome"}' in figures
            assert len(list((tmp_path / "spool").glob("*.ahead"))) >= 4
            shop.server.start()
            assert within(PATIENCE, lambda: not list((tmp_path / "spool").glob("*.spool")))
            # What is told from now on goes the usual way.
            told = time.monotonic()
            assert within(PATIENCE, lambda: load.decided_after(told + 1.5) > 50)
        assert set(load.failed) <= {"ReadError", "RemoteProtocolError", "WriteError"}
        assert within(PATIENCE, lambda: not load.lost(shop.server.url))
