"""Does what marketers ask leave decisions alone? The service's own processes, real SIGKILLs."""

import stat
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from foundation.access import SCOPES
from regulars.serve import running
from regulars.wiring import OFFICE, House
from regulars_client import Client, OfferTerms
from tests.deployment import copied
from tests.faults.test_kill import free_port, under_load, within

OFFER = {
    "title": "One off coffee",
    "kind": "amount",
    "reward": 1.0,
    "cost": 1.0,
    "valid_from": "2026-01-01T00:00:00Z",
    "valid_to": "2099-01-01T00:00:00Z",
}


@pytest.mark.slow
def test_a_killed_office_is_away_for_marketers_alone_and_comes_back(
    small_house: House, tmp_path: Path
) -> None:
    house = copied(small_house, tmp_path / "home")
    with (
        house.database() as url,
        house.admin(url) as admin,
        running(house, url, free_port(), 2, console=False) as up,
    ):
        key = admin.make_key("planner", SCOPES)
        headers = {"Authorization": f"Bearer {key}"}
        office = next(child for child in up.children if child.name == "office")

        def ask(method: str, path: str, body: Any = None, **more: str) -> httpx.Response:
            return httpx.request(
                method,
                f"{up.url}{path}",
                json=body,
                headers=headers | more,
                timeout=60,
                trust_env=False,
            )

        def answers() -> bool:
            return ask("GET", "/v1/offers").status_code == 200

        assert within(120, answers)
        place = Path(office.environment[OFFICE])
        # Nobody else of this machine comes past the check of keys.
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        with under_load(up.url, key) as load:
            assert within(40, lambda: len(load.decided) > 100)
            written = ask("POST", "/v1/offers", {"offer_id": "latte", **OFFER})
            assert written.status_code == 201, written.text

            assert office.process is not None
            frozen = psutil.Process(office.process.pid)
            frozen.suspend()
            # One waits for an office that does nothing, and hears of its end at once.
            waiting: list[httpx.Response] = []
            thread = threading.Thread(target=lambda: waiting.append(ask("GET", "/v1/offers/latte")))
            thread.start()
            time.sleep(0.5)
            frozen.kill()
            killed = time.monotonic()
            thread.join()
            assert time.monotonic() - killed < 5
            assert (waiting[0].status_code, waiting[0].json()["code"]) == (503, "office_stopped")
            away = ask("PUT", "/v1/offers/mocha", OFFER, **{"Idempotency-Key": "m-1"})
            assert (away.status_code, away.json()["code"]) == (503, "office_away")
            assert away.headers["retry-after"]
            assert within(40, lambda: load.decided_after(killed) > 100)
        assert load.failed == {}
        assert load.unrecorded == 0
        assert load.longest < 5
        assert within(120, answers)
        again = ask("PUT", "/v1/offers/mocha", OFFER, **{"Idempotency-Key": "m-1"})
        assert again.status_code == 200, again.text
        # What was written before is there, and the client finds both.
        with Client(up.url, key, seconds=20.0) as client:
            found = {one.offer_id: one.terms for one in client.marketing.offers().offers}
            assert isinstance(found["latte"], OfferTerms)
            assert {"latte", "mocha"} <= set(found)
    assert not place.parent.exists()
