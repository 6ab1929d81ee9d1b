"""A batch of decisions: the service's own, each customer once, whatever kills it."""

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import psycopg
import pytest

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_batches import PostgresBatches
from adapters.postgres_pool import PostgresPool
from foundation.clock import FixedClock, SystemClock
from foundation.consent import ConsentAnswer
from foundation.decision import DecisionRecord
from foundation.errors import RegularsError
from foundation.settings import ContactRules
from regulars.commands.decide import decide
from regulars.wiring import House
from serving.messages import AskedPlacement, DecisionRequest
from serving.service import DecisionService
from tests.deployment import CUSTOMERS_MADE
from tests.kept_decisions import records_in

# Whatever the hour in which the test runs, no hour is quiet.
RULES = '{"day": 1, "week": 3, "quiet_from": 0, "quiet_to": 0}'
NAMES = [f"c-{n:04}" for n in range(CUSTOMERS_MADE)]
SMALL_BLOCKS = (
    "import regulars.jobs.decide as job; job.BLOCK = 8; from regulars.cli import main; main()"
)


@dataclass
class Chain:
    """The small deployment over a database of its own."""

    home: Path
    url: str
    house: House

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("REGULARS_")}
        return clean | {
            "REGULARS_HOME": str(self.home),
            "REGULARS_DATABASE_URL": self.url,
            "REGULARS_CONTACT_POLICY": RULES,
        }

    def command(self, *arguments: object, script: str = SMALL_BLOCKS) -> list[str]:
        return [sys.executable, "-c", script, *map(str, arguments)]

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    def answer(self, *arguments: object) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def consent(self, names: Sequence[str], granted: bool, channel: str = "email") -> None:
        now = SystemClock().now()
        answers = [ConsentAnswer(one, channel, granted, now, "test", "test") for one in names]
        self.house.keep_consents(self.url, answers)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("batch") / "pg") as running:
        PostgresAdmin(running.url).close()
        yield running.url


@pytest.fixture
def chain(server: str, small_house: House, tmp_path: Path) -> Iterator[Chain]:
    home = tmp_path / "home"
    home.mkdir()
    for part in ("lake", "snapshots"):
        shutil.copytree(small_house.settings.home / part, home / part)
    shutil.copy(small_house.settings.home / "mlflow.db", home)
    with small_house.database() as theirs, psycopg.connect(theirs) as connection:
        offers = connection.execute("SELECT document, popularity FROM offers").fetchall()
    admin = PostgresAdmin(server)
    admin.publish_offers([d for d, _ in offers], {d["offer_id"]: p for d, p in offers})
    admin.close()
    changed = {"home": home, "database_url": server, "deadline_ms": 10_000}
    yield Chain(home, server, House(small_house.settings.model_copy(update=changed)))
    with psycopg.connect(server) as connection:
        connection.execute(
            "TRUNCATE offers, decisions, consents, consent_history, contacts, erasures, batches, "
            "batch_decisions"
        )


@pytest.mark.slow
def test_a_batch_keeps_to_consents_and_caps_and_writes_what_it_decided(
    chain: Chain, tmp_path: Path
) -> None:
    file = tmp_path / "sent.parquet"
    chain.consent(NAMES[:100], granted=True)
    asked = ("decide", "--channel", "email", "--all", "--placement", "hero:2", "--out", file)

    told = chain.answer(*asked)

    assert (told["customers"], told["decided"], told["before"]) == (400, 400, 0)
    assert told["refused"] == {"no_consent": 300}
    rows = pd.read_parquet(file)
    assert told["reached"] == rows["customer_id"].nunique() == 100
    assert told["offers"] == len(rows)
    assert set(rows["customer_id"]) <= set(NAMES[:100])
    assert list(rows.columns) == [
        "customer_id", "decision_id", "decided_at", "channel", "placement", "rank", "offer_id",
        "title",
    ]  # fmt: skip
    # Every decision is recorded as an online one is, with the reason where nothing was shown.
    records = {one.customer_id: one for one in records_in(chain.url).values()}
    assert records.keys() == set(NAMES)
    for customer_id, shown in rows.groupby("customer_id"):
        record = records[str(customer_id)]
        assert [one.offer_id for one in record.slates[0].offers] == shown["offer_id"].to_list()
        assert record.propensity_valid
    # The next batch of the day is a new one, and finds them contacted.
    for more, told in (((), "is there already"), (("--resume",), "is unfinished")):
        refused = chain.run(*asked, *more)
        assert refused.returncode == 2
        assert told in refused.stderr
    assert pd.read_parquet(file).equals(rows)
    again = chain.answer(*asked[:-1], tmp_path / "again.parquet")
    assert again["refused"] == {"no_consent": 300, "contact_cap_day": 100}
    assert (again["reached"], again["before"]) == (0, 0)


@pytest.mark.slow
def test_a_batch_that_is_killed_goes_on_and_decides_for_nobody_twice(
    chain: Chain, tmp_path: Path
) -> None:
    file = tmp_path / "sent.csv"
    chain.consent(NAMES, granted=True)
    asked = ("decide", "--channel", "email", "--all", "--placement", "hero:1", "--out", file)
    killed_at: list[int] = []
    for resume in ((), ("--resume",)):
        running = subprocess.Popen(
            chain.command(*asked, *resume),
            env=chain.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        goal = (killed_at or [0])[-1] + 40
        until = time.monotonic() + 200
        while decided(chain) < goal:
            assert running.poll() is None, running.stderr and running.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        killed_at.append(decided(chain))
    assert 0 < killed_at[0] < killed_at[1] < 400
    assert not file.exists()

    refused = chain.run(*asked)
    assert refused.returncode == 2
    assert "add --resume" in refused.stderr
    # What another version wrote or what is damaged is not sent to half of them in silence.
    [(odd, kept)] = chain.rows("SELECT decision_id, packed FROM decisions LIMIT 1")
    with psycopg.connect(chain.url) as connection:
        connection.execute("UPDATE decisions SET packed = '{}' WHERE decision_id = %s", [odd])
    refused = chain.run(*asked, "--resume")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].find(f"decision '{odd}' cannot be read") > 0
    assert not file.exists()
    with psycopg.connect(chain.url) as connection:
        change = "UPDATE decisions SET packed = %s WHERE decision_id = %s"
        connection.execute(change, [kept, odd])
    told = chain.answer(*asked, "--resume")

    assert (told["before"], told["decided"]) == (400, 0)
    assert chain.rows("SELECT count(*), count(DISTINCT customer_id) FROM batch_decisions") == [
        (400, 400)
    ]
    assert chain.rows("SELECT count(*), count(DISTINCT customer_id) FROM decisions") == [(400, 400)]
    assert chain.rows("SELECT max(n) FROM (SELECT count(*) AS n FROM contacts GROUP BY customer_id)"
                      " AS hers") == [(1,)]  # fmt: skip
    assert pd.read_csv(file)["customer_id"].is_unique
    assert told["reached"] == 400


def decided(chain: Chain) -> int:
    return chain.rows("SELECT count(*) FROM batch_decisions")[0][0]


def test_who_refuses_after_she_was_decided_for_is_not_in_the_file(
    chain: Chain, tmp_path: Path
) -> None:
    from rich.console import Console

    from regulars.contacts import contact_policy
    from regulars.jobs.decide import AskedBatch, decide_batch, sent_rows
    from regulars.progress import Progress

    silent, clock = Progress(Console(quiet=True)), SystemClock()
    rules = ContactRules.model_validate_json(RULES)
    settings = chain.house.settings.model_copy(update={"contact_policy": rules})
    chain.consent(NAMES[:10], granted=True)

    async def story() -> list[str]:
        service, pool = House(settings).service(chain.url), PostgresPool(chain.url)
        await service.start()
        asked = AskedBatch("email", None, (AskedPlacement("hero", 1),))
        batches = PostgresBatches(pool)
        report = await decide_batch(
            service, batches, NAMES[:10], asked, clock, silent, resume=False
        )
        await asyncio.to_thread(chain.consent, NAMES[:3], granted=False)
        journal = service._parts.journal
        rows = await sent_rows(report, batches, journal, {}, contact_policy(settings), silent)
        await service.stop()
        await pool.close()
        assert (report.withdrawn, report.reached) == (3, 7)
        return rows["customer_id"].to_pylist()

    assert asyncio.run(story()) == NAMES[3:10]


@pytest.mark.parametrize("channel", ["app", "email"])
def test_batch_and_online_decide_the_same(
    chain: Chain, channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same customer, instant and seed; without caps the first is not in the way of the second.
    monkeypatch.setattr(secrets, "randbits", lambda _: 20261122)
    rules = ContactRules(day=None, week=None, quiet_from=0, quiet_to=0)
    settings = chain.house.settings.model_copy(update={"contact_policy": rules})
    names = [*NAMES[:40], "nobody"]
    chain.consent(NAMES[:30], granted=True)
    clock = FixedClock(SystemClock().now())

    async def story() -> tuple[list[DecisionRecord], list[str]]:
        service: DecisionService = House(settings, clock).service(chain.url)
        pool = PostgresPool(chain.url)
        await service.start()
        await service.batch.models_loaded()
        spots = [AskedPlacement("hero", 2), AskedPlacement("foot", 1)]
        batch = await PostgresBatches(pool).begin("b-1", channel, clock.now())
        made = await service.batch.decide(batch.batch_id, names, channel, spots)
        online = [
            await service.decide(DecisionRequest(one, channel, spots))  # pyright: ignore[reportArgumentType]
            for one in names
        ]
        await service.stop()
        await pool.close()
        return made, [str(one.decision_id) for one in online]

    made, online = asyncio.run(story())
    stored = records_in(chain.url)
    assert len(stored) == 82
    for one, decision_id in zip(made, online, strict=True):
        other = stored[decision_id]
        assert (
            msgspec.structs.replace(other, decision_id=one.decision_id) == stored[one.decision_id]
        )
    assert sum(bool(one.slates[0].offers) for one in made) == (41 if channel == "app" else 30)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"channel": "pigeon"}, "--channel 'pigeon'"),
        ({"everybody": False}, "--segment NAME, or say --all"),
        ({"segment": "gold"}, "--segment NAME, or say --all"),
        ({"placement": ["a"]}, "write hero:3"),
        ({"placement": ["a:21"]}, "1 to 20 offers"),
        ({"placement": ["a:1", "a:2"]}, "named twice"),
        ({"out": Path("x.xls")}, "ending '.xls' is none of .csv"),
    ],
)
def test_bad_input_is_refused_before_anything_is_opened(asked: dict[str, Any], told: str) -> None:
    usual: dict[str, Any] = {
        "channel": "email",
        "placement": ["hero:1"],
        "out": Path("x.csv"),
        "everybody": True,
    }
    with pytest.raises(RegularsError, match=re.escape(told)):
        decide(**(usual | asked))


@pytest.mark.slow
def test_a_customer_is_forgotten_by_day_and_by_night_and_the_search_says_so(chain: Chain) -> None:
    her = NAMES[7]
    chain.consent([her], granted=True)
    chain.answer(
        "decide", "--channel", "email", "--all", "--placement", "a:1", "--out", chain.home / "x.csv"
    )
    found = chain.run("customer", "verify", her)
    assert found.returncode == 1
    for place in ("table decisions", "table consents", "lake customers/", "snapshot 2", "x.csv"):
        assert f"found in {place}" in found.stdout or place == "x.csv", found.stdout
    exported = json.loads(chain.run("customer", "export", her).stdout)
    assert exported["snapshot"]["segments"]
    assert exported["database"].keys() >= {"decisions", "contacts", "consents", "batch_decisions"}

    erased = chain.answer("customer", "erase", her)
    assert erased["rows"]["decisions"] == 1
    (chain.home / "x.csv").unlink()
    assert chain.run("customer", "verify", her).returncode == 1
    night = chain.run("segment", "--json")
    assert night.returncode == 0, night.stderr
    assert json.loads(night.stdout)["customers"] == 399

    searched = chain.run("customer", "verify", her)
    assert searched.returncode == 0, searched.stdout
    assert "is named nowhere" in searched.stdout
    for store in ("database tables: ", "lake files: ", "snapshots: ", "other files in "):
        assert f"searched {store}" in searched.stdout
    # Another is where she was.
    assert chain.run("customer", "verify", NAMES[8]).returncode == 1
