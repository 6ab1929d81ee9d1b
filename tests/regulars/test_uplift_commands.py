"""The life of an uplift model by its commands: trained, promoted through the gate, served."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.lmdb_profiles import publish_snapshot
from adapters.postgres_admin import PostgresAdmin
from foundation.access import SCOPES
from foundation.clock import SystemClock
from foundation.contracts import TABLES
from foundation.profile import Profile
from foundation.settings import Settings
from regulars.jobs.experiment import start_experiment
from regulars.jobs.publish import catalogue_offers
from regulars.wiring import House
from tests.deployment import listening
from tests.jobs.uplift_shop import (
    DAY,
    HASH,
    NAMES,
    OFFERS,
    START,
    ZONE,
    design,
    draw_vectors,
    effects,
    offer_row,
    opened,
)

Run = Callable[..., subprocess.CompletedProcess[str]]
# To the service, once it serves.
COME = 200


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A deployment whose customers were shown offers by chance, or none."""
    home = tmp_path_factory.mktemp("uplift")
    with EmbeddedPostgres(home / "pg") as server:
        settings = Settings(
            home=home / "home", database_url=server.url, mlflow_tracking_uri=None, time_zone=ZONE
        )
        yield House(settings, SystemClock())


@pytest.fixture(scope="module")
def run(house: House) -> Run:
    """Run a command as `regulars` does, in a process of its own."""
    own = {
        "REGULARS_HOME": str(house.settings.home),
        "REGULARS_DATABASE_URL": str(house.settings.database_url),
        "REGULARS_TIME_ZONE": ZONE,
        "OMP_NUM_THREADS": "1",
    }
    others = {k: v for k, v in os.environ.items() if not k.startswith("REGULARS_")}

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("regulars")), *arguments],
            capture_output=True, text=True, timeout=300, env=others | own,
        )  # fmt: skip

    return ran


@contextmanager
def administered(house: House) -> Iterator[PostgresAdmin]:
    with house.admin(str(house.settings.database_url)) as admin:
        yield admin


def come(house: House, n: int, seed: int) -> None:
    """Let n more customers come, in weeks of their own."""
    lake = DuckDbLake(house.settings.lake_folder)
    opened(n, lake, design(), seed=seed, start=START + 20 * seed * DAY)


@pytest.mark.slow
def test_a_second_model_is_promoted_on_decisions_neither_saw_and_serves(
    house: House, run: Run
) -> None:
    with administered(house) as admin:
        admin.start_experiment(design(), START)
    come(house, 1_500, seed=3)
    first = run("train", "uplift")
    assert first.returncode == 0, first.stderr
    assert "uplift@1 serves" in first.stdout
    refused = run("promote", "uplift")
    assert (refused.returncode, "has no challenger" in refused.stderr) == (2, True)

    come(house, 3_000, seed=4)
    assert "uplift@2 is the challenger" in run("train", "uplift").stdout
    refused = run("promote", "uplift")
    # Nobody has come since.
    assert refused.returncode == 2
    assert "'uplift@2' is not promoted: it cannot be judged" in refused.stderr

    come(house, 3_000, seed=5)
    promoted = run("promote", "uplift")
    assert promoted.returncode == 0, promoted.stderr
    assert "judged on 3,000 decisions drawn by chance" in promoted.stdout
    assert "holds: value: " in promoted.stdout
    assert "uplift@2" in promoted.stdout.splitlines()[-1]

    served = serve(house)
    assert {one["versions"]["model"] for one in served.values()} == {"uplift@2"}
    # Source: the shop's own effects. Where it shows an offer and did not draw it to learn, that is
    # what she loves; to whom no offer earns it shows none.
    true = effects(draw_vectors(COME, seed=99)[list(served)])
    shown = [one["placements"][0]["offers"] for one in served.values()]
    earned = [true[n, OFFERS.index(o[0]["offer_id"])] if o else 0.0 for n, o in enumerate(shown)]
    assert 0 < sum(not offers for offers in shown) < len(shown) / 2
    assert float(np.mean(earned)) > 1.2 * max(true.mean(axis=0))

    asked = run("policy", "explain", "nothing")
    assert (asked.returncode, "'nothing' is not in the lake" in asked.stderr) == (2, True)
    back = run("rollback", "uplift", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["champion"] == "uplift@1"


def serve(house: House) -> dict[int, dict[str, Any]]:
    """Ask a running service for new customers; returns its answers in the variant of uplift."""
    now, lake = house.clock.now(), DuckDbLake(house.settings.lake_folder)
    live = {"valid_from": now - DAY, "valid_to": now + 30 * DAY}
    with lake.write() as write:
        rows = [offer_row(one, **live) for one in OFFERS]
        write.merge("offers", TABLES["offers"].from_rows(rows))
    vectors = draw_vectors(COME, seed=99)
    publish_snapshot(
        house.settings.snapshot_folder,
        [Profile(f"n-{n}", None, None, vector, {}) for n, vector in enumerate(vectors)],
        as_of=now, names=NAMES, feature_hash=HASH,
    )  # fmt: skip
    with administered(house) as admin:
        admin.publish_offers(catalogue_offers(lake), dict.fromkeys(OFFERS, 0.1))
        admin.stop_experiment(design().key, now - timedelta(hours=1))
        start_experiment(admin, design("uplift", key="targeting", salt="targeting"), now)
        key = admin.make_key("test", SCOPES)
    asked = {"channel": "app", "placements": [{"name": "checkout", "limit": 1}]}
    headers = {"Authorization": f"Bearer {key}"}
    url = str(house.settings.database_url)
    with listening(house, url) as address, httpx.Client(base_url=address, headers=headers) as http:
        answers = [
            http.post("/v1/decisions", json={"customer_id": f"n-{n}", **asked}).json()
            for n in range(COME)
        ]
    return {n: one for n, one in enumerate(answers) if one["experiments"][0]["variant"] == "some"}
