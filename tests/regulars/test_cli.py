"""What the command line answers: one clear line and exit code 2, or with --json one object."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
import structlog

from adapters.embedded_postgres import EmbeddedPostgres
from foundation.access import APP_SCOPES
from regulars import cli, serve
from regulars.commands import telling
from regulars.locks import only_one
from regulars.serve import running
from regulars.wiring import House
from tests.jobs.test_plan import report

DESIGN = """
key: {key}
control: none
# Of 400 customers the few who buy most would make the mean too skewed to judge.
outlier_cap: 0.97
variants:
  - {{name: none, weight: 0.5, policy: none}}
  - {{name: offers, weight: 0.5, policy: response}}
"""


@dataclass
class Said:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """The one JSON object on standard output, nothing beside it."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1
        return json.loads(self.out)


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command as `regulars` does, in this process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def ran(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["regulars", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        written = capfd.readouterr()
        return Said(int(end.value.code or 0), written.out, written.err)

    yield ran
    structlog.reset_defaults()
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("cli") / "pg") as server:
        yield server.url


@pytest.fixture
def home(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty deployment over a running database."""
    for name in [name for name in os.environ if name.startswith("REGULARS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REGULARS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REGULARS_DATABASE_URL", database)
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path, small_house: House) -> Path:
    """The small deployment, copied, without offers in its database yet."""
    home.mkdir()
    for part in ("lake", "snapshots"):
        shutil.copytree(small_house.settings.home / part, home / part)
    shutil.copy(small_house.settings.home / "mlflow.db", home)
    return home


def refused(said: Said) -> str:
    """The one line of a refusal."""
    assert said.code == 2
    assert said.out == ""
    # Progress ends with an empty line where nobody watches.
    lines = said.err.lstrip("\n").splitlines()
    assert len(lines) == 1, said.err
    assert lines[0].startswith("regulars: ")
    return lines[0]


@pytest.mark.usefixtures("home")
class TestBadUse:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["nonsense"], "No such command 'nonsense'; see 'regulars --help'"),
            (["experiment"], "Missing command; see 'regulars experiment --help'"),
            (["experiment", "begin"], "No such command 'begin'; see 'regulars experiment --help'"),
            (["load"], "Missing argument 'source'; see 'regulars load --help'"),
            (["load", "x", "--faster"], "No such option: --faster"),
            (["serve", "--port", "99999"], "'--port'"),
            (["serve", "--port", "0"], "'--port'"),
            (["serve", "--workers", "0"], "'--workers'"),
            (["demo", "--seed", "-1"], "'--seed'"),
            (["simulate", "--seed", "one"], "'--seed'"),
            (["segment", "--as-of", "soon"], "'--as-of'"),
            (["sleepers", "--days", "0"], "'--days'"),
            (["train", "happiness"], "model 'happiness' does not exist"),
            (["promote", "happiness"], "model 'happiness' does not exist"),
            (["rollback", "happiness"], "model 'happiness' does not exist"),
            (["monitor", "happiness"], "model 'happiness' does not exist"),
            (["models", "happiness@1"], "model 'happiness@1' is not registered"),
            (["benchmark", "nonsense"], "benchmark 'nonsense' does not exist"),
            (["experiment", "power", "--unit", "till"], "--unit 'till' is unknown; choose"),
            (["experiment", "power", "--method", "luck"], "--method 'luck' is unknown; choose"),
            (["experiment", "power", "--weights", "a=.5,b=.6"], "weights sum to 1.1"),
            (["experiment", "power", "--out", "a.txt"], "a picture ends in .png"),
            (["experiment", "power", "--audience", "nobody"], "is no living segment"),
            (["experiment", "report", "x", "--html", "x.pdf"], "a page ends in .html"),
            (["experiment", "overview", "--html", "no/x.html"], "does not exist"),
        ],
    )
    def test_is_one_line_that_names_it(self, run: Run, arguments: list[str], told: str) -> None:
        assert told in refused(run(*arguments))

    def test_of_a_long_argument_is_still_one_line(self, run: Run) -> None:
        name = "nonsense-" * 40
        assert name in refused(run("experiment", "report", name))

    def test_shows_markup_as_it_is(self, run: Run) -> None:
        assert "[bold]x[/bold] [/]" in refused(run("experiment", "stop", "[bold]x[/bold] [/]"))


@pytest.mark.usefixtures("home")
class TestBadSettings:
    @pytest.mark.parametrize(
        ("name", "value", "told"),
        [
            ("REGULARS_TIME_ZONE", "Mars/Olympus", "'Mars/Olympus' is no IANA time zone"),
            ("REGULARS_EXPLORATION", "2", "REGULARS_EXPLORATION='2'"),
            ("REGULARS_HOME", "/dev/null/here", "REGULARS_HOME='/dev/null/here'"),
            ("REGULARS_DATABASE_URL", "nonsense", "is no address"),
            ("REGULARS_DATABASE_URL", "postgresql://u:se3cret@h:port/d", "is no address"),
            ("REGULARS_DATABASE_URL", "mysql://u:se3cret@h/d", "names 'mysql'"),
            ("REGULARS_DATABASE_URL", "postgresql://u:se3cret@127.0.0.1:1/d", "does not answer"),
            ("REGULARS_DATABASE_URL", "postgresql://u:se3cret@/d?host=/tmp&wish=1", "wish"),
        ],
    )
    def test_are_one_line_that_names_the_setting_and_no_password(
        self,
        run: Run,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: str,
        told: str,
    ) -> None:
        monkeypatch.setenv(name, value)
        line = refused(run("experiment", "list"))
        assert told in line
        assert "se3cret" not in line

    def test_of_the_host_keep_the_console_from_the_network(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGULARS_HOST", "0.0.0.0")
        said = run("serve", "--port", free_port())
        assert "--no-console" in said.err.splitlines()[-1]
        assert said.code == 2


@pytest.mark.usefixtures("home")
class TestRefusal:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["promote"], "model 'response' has no challenger; run 'regulars train response'"),
            (["rollback"], "model 'response' has no champion; run 'regulars train response'"),
            (["monitor"], "model 'response' has no champion; run 'regulars train response'"),
            (["monitor", "uplift"], "model 'uplift' has no champion; run 'regulars train uplift'"),
            (["experiment", "report", "ghost"], "experiment 'ghost' does not exist"),
            (["experiment", "stop", "ghost"], "experiment 'ghost' does not run"),
            (["experiment", "start", "nowhere.yaml"], "nowhere.yaml: No such file"),
            (["simulate"], "no experiment runs; start one with"),
            (["sleepers"], "there is no run yet; make one with 'regulars segment'"),
            (["load", "purchases.csv"], "source purchases.csv does not exist"),
            (["load", "x.csv", "--mapping", "no.yaml"], "mapping no.yaml: No such file"),
        ],
    )
    def test_of_what_is_not_there_says_what_to_do(
        self, run: Run, arguments: list[str], told: str
    ) -> None:
        assert told in refused(run(*arguments))

    @pytest.mark.parametrize("command", ["segment", "train"])
    def test_of_a_job_without_data_says_what_to_load(self, run: Run, command: str) -> None:
        assert "regulars load" in refused(run(command))

    def test_of_a_design_names_each_broken_rule_in_one_line(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "design.yaml"
        path.write_text(DESIGN.format(key="Winter Latte").replace("0.5", "0.6"))
        line = refused(run("experiment", "start", path))
        assert "lower-case" in line
        assert "sum to 1.2" in line
        path.write_text("key: [unclosed")
        assert "is not YAML" in refused(run("experiment", "start", path))
        path.write_text(DESIGN.format(key="k").replace("response", "telepathy"))
        assert "'telepathy'" in refused(run("experiment", "start", path))

    @pytest.mark.usefixtures("filled")
    @pytest.mark.parametrize(
        ("policy", "registry", "told"),
        [
            ("response", None, None),
            ("uplift", None, "no uplift model is live; train and promote one"),
            ("uplift", "http://127.0.0.1:1", "MLflow does not answer"),
            # A registry that is away holds up nobody who needs no model, or whose answers tell.
            ("response", "http://127.0.0.1:1", None),
            ("random", "http://127.0.0.1:1", None),
        ],
    )
    def test_of_an_experiment_whose_model_is_missing_starts_nothing(
        self,
        run: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        policy: str,
        registry: str | None,
        told: str | None,
    ) -> None:
        if registry is not None:
            monkeypatch.setenv("REGULARS_MLFLOW_TRACKING_URI", registry)
        key = f"by-{policy}-{registry is None}".lower()
        path = tmp_path / "design.yaml"
        path.write_text(DESIGN.format(key=key).replace("response", policy))
        said = run("experiment", "start", path)
        if told is None:
            assert said.code == 0, said.err
            run("experiment", "stop", key)
            return
        line = refused(said)
        assert told in line
        assert f"experiment '{key}': policy 'uplift' of variant 'offers'" in line
        assert key not in run("experiment", "list").out

    @pytest.mark.parametrize("policy", ["response", "uplift"])
    def test_of_an_experiment_before_any_model_starts_nothing(
        self, run: Run, home: Path, tmp_path: Path, policy: str
    ) -> None:
        path = tmp_path / "design.yaml"
        path.write_text(DESIGN.format(key="too-early").replace("response", policy))
        assert f"no {policy} model is live" in refused(run("experiment", "start", path))
        # Nor is a registry laid out for the question.
        assert not (home / "mlflow.db").exists()

    def test_of_a_second_run_of_a_job_names_the_first(self, run: Run, home: Path) -> None:
        home.mkdir()
        for job in ("load", "segment", "train", "ingest"):
            arguments = [job, "completejourney"] if job == "load" else [job]
            with only_one(home / "locks", job):
                assert f"job '{job}' already runs (process " in refused(run(*arguments))

    def test_of_a_taken_port_names_it(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serve, "PORT_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", free_port())) as taken:
            port = taken.getsockname()[1]
            said = run("serve", "--no-console", "--port", port)
        assert said.code == 2
        assert said.err.splitlines()[-1] == (
            f"regulars: port {port} on 127.0.0.1: Address already in use; choose another one "
            "with --port"
        )

    def test_of_a_database_that_a_newer_version_migrated_says_so(
        self, run: Run, database: str
    ) -> None:
        assert run("experiment", "list").code == 0
        with psycopg.connect(database, autocommit=True) as connection:
            ours = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            try:
                assert "'9999'" in refused(run("experiment", "list"))
            finally:
                connection.execute("UPDATE alembic_version SET version_num = %s", ours)

    @pytest.mark.usefixtures("filled")
    def test_of_a_simulation_against_nobody_is_quick(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "design.yaml"
        path.write_text(DESIGN.format(key="against-nobody"))
        assert run("experiment", "start", path).code == 0
        try:
            said = run("simulate", "--url", f"http://127.0.0.1:{free_port()}")
            assert said.code == 2
            assert "start one with 'regulars serve'" in said.err.splitlines()[-1]
            for address in ("nonsense", "ftp://127.0.0.1", "http://[::"):
                said = run("simulate", "--url", address)
                assert said.code == 2
                assert f"address '{address}' is none" in said.err.splitlines()[-1]
        finally:
            run("experiment", "stop", "against-nobody")


class TestJson:
    @pytest.mark.usefixtures("filled")
    @pytest.mark.slow
    def test_is_one_object_of_each_command(self, run: Run, tmp_path: Path) -> None:
        source, mapping = tmp_path / "stores.csv", tmp_path / "stores.yaml"
        source.write_text("id,zone\ns-9,Europe/Vienna\n,Europe/Vienna\n")
        mapping.write_text(
            "table: stores\ncolumns:\n  store_id: id\n  time_zone: zone\n"
            "constants:\n  owner: own\n  participates: true\n"
        )
        loaded = run("load", source, "--mapping", mapping, "--json").answer
        assert loaded["tables"]["stores"]["quarantined"] == 1
        segmented = run("segment", "--json").answer
        assert segmented["customers"] == 400
        assert sum(segmented["rfm"].values()) == 400
        trained = run("train", "--json").answer
        assert trained["alias"] == "challenger"
        assert 0 < trained["auc"]["lightgbm"]["low"] < 1
        assert run("shadow", "--json").answer == {"shadow": trained["model"], "ended": None}
        (shadow,) = run("models", "--json").answer["shadows"]
        assert shadow["shadow"] == trained["model"]
        # No decision is in the lake, and no service runs.
        assert "run 'regulars ingest'" in shadow["refusal"]
        assert shadow["running"] is None
        assert run("models").code == 0
        said = run("policy", "value", "--policy", "response")
        assert said.code == 2
        assert "no decision is in the lake" in said.err.splitlines()[-1]
        promoted = run("promote", "--force", "--json").answer
        assert promoted["champion"] == trained["model"]
        assert "no decision is in the lake" in promoted["gate"]["off_policy"]["refused"]
        assert run("models", "--json").answer["shadows"] == []
        listed = run("models", "--json").answer["models"]
        (champion,) = (m for m in listed if "champion" in m["aliases"])
        assert champion["name"] == trained["model"]
        assert 0 < champion["held_out"]["low"] < champion["held_out"]["value"] < 1
        card = run("models", trained["model"], "--json").answer["card"]
        assert "## Known limits" in card
        watched = run("monitor", "--json").answer
        assert watched["model"] == trained["model"]
        # Nothing was shown since the training.
        assert set(watched["watched"]["refused"]) == {"drift", "offers", "calibration"}
        again = run("rollback", "--json").answer
        assert again["taken_back"] == trained["model"]
        assert [reign["way"] for reign in again["history"]][-1] == "rolled back"
        said = run("rollback")
        assert said.code == 2
        assert "has no champion before it" in said.err.splitlines()[-1]
        made = run("key", "add", "till 4", "--json").answer
        assert made["key"].startswith("rgl_")
        assert made["scopes"] == list(APP_SCOPES)
        ingested = run("ingest", "--json").answer
        assert ingested["decisions"] == 0
        assert ingested["pruned"] == {"decisions": 0, "missing": 0}
        assert "that the lake has held for 90 days" in run("ingest").out

    @pytest.mark.usefixtures("filled")
    def test_of_sleepers_counts_them_since_a_run_of_the_past(self, run: Run) -> None:
        past = (datetime.now(UTC) - timedelta(days=40)).strftime("%Y-%m-%d")
        segmented = run("segment", "--as-of", past, "--json").answer
        assert "without season" in segmented["without_season"]
        assert segmented["transitions"] is None
        found = run("sleepers", "--json").answer
        assert found["run_id"] == segmented["run_id"]
        states = segmented["lifecycle"]
        asleep = states.get("dormant", 0) + states.get("lost", 0)
        assert found["all"]["sleeping"] == asleep
        assert found["all"]["rate"]["low"] < found["all"]["rate"]["high"]
        said = run("sleepers")
        assert said.code == 0
        assert f"of {asleep:,} came back" in said.out

    # Real processes from start to report; each command's own tests are quick.
    @pytest.mark.slow
    def test_of_an_experiment_is_one_object_from_start_to_report(
        self, run: Run, filled: Path, tmp_path: Path, small_house: House, database: str
    ) -> None:
        assert run("segment", "--json").code == 0
        path = tmp_path / "design.yaml"
        path.write_text(DESIGN.format(key="loop"))
        assert run("experiment", "start", path, "--json").answer["key"] == "loop"
        refusal = refused_after_progress(run("experiment", "report", "loop"))
        assert "has assigned nobody yet" in refusal
        settings = small_house.settings.model_copy(update={"home": filled})
        port = free_port()
        with running(House(settings), database, port, 1, console=False) as up:
            simulated = run("simulate", "--url", up.url, "--json").answer
        assert simulated["decisions"] == 400
        effect = simulated["experiment"]
        assert effect["low"] < effect["estimate"] < effect["high"]
        assert effect["sample_ratio_p"] > 0.001
        stopped = run("experiment", "stop", "loop", "--json").answer
        assert stopped["stopped_at"] > "2026"
        listed = run("experiment", "list", "--json").answer["experiments"]
        assert listed[0]["key"] == "loop"
        report = run("experiment", "report", "loop", "--json").answer
        # Threads add what they find in an order of their own: the last bits may differ.
        told = report["metrics"]["margin"]["offers"]["difference"]
        assert told == pytest.approx(effect["estimate"], rel=1e-9)
        assert sum(report["units"].values()) == 400
        assert any("25 % of net sales" in line for line in report["assumptions"])
        page = tmp_path / "loop.html"
        told = run("experiment", "report", "loop", "--html", page)
        assert told.out.splitlines()[-1] == f"written to {page}"
        assert "<h1>loop</h1>" in page.read_text()
        overview = run("experiment", "overview", "--json", "--html", tmp_path / "all.html").answer
        entry = overview["entries"][0]
        assert (entry["key"], entry["ended"], overview["summed"]) == ("loop", True, 1)
        total = report["units"]["offers"] * effect["estimate"]
        assert entry["incremental"]["value"] == pytest.approx(total)
        assert "loop" in (tmp_path / "all.html").read_text()
        spoken = run("experiment", "overview").out
        assert "All 1 experiment(s) that have ended: " in spoken
        # The simulation's key went with it.
        with psycopg.connect(database) as connection:
            kept = "SELECT count(*) FROM api_keys WHERE name = 'simulation' AND revoked_at IS NULL"
            assert connection.execute(kept).fetchone() == (0,)

    @pytest.mark.usefixtures("filled")
    def test_of_power_reads_the_lakes_own_history(self, run: Run, tmp_path: Path) -> None:
        picture, audience = tmp_path / "power.svg", tmp_path / "often.yaml"
        audience.write_text(OFTEN)
        asked = ("experiment", "power", "--weeks", "4", "--relative", ".3", "--out", picture)
        found = run(*asked, "--json").answer
        assert [one["weeks"] for one in found["durations"]] == [1, 2, 3, 4]
        units = [one["units"] for one in found["durations"]]
        assert units == sorted(units)
        assert found["durations"][-1]["minimum_effect"] > 0
        assert "<svg" in picture.read_text()
        few = run("experiment", "power", "--weeks", "4", "--audience", audience, "--json").answer
        assert 0 < few["durations"][-1]["units"] < units[-1]
        # Decimals of money on the command line are minor units in the answer.
        one = run("experiment", "power", "--weeks", "1", "--effect", "1.5", "--json").answer
        assert one["effect"] == 150
        spoken = run("experiment", "power", "--weeks", "2").out
        assert "2 week(s) with about" in spoken
        assert "assumed: margins are unknown" in spoken

    def test_has_null_for_what_is_no_number(self, capsys: pytest.CaptureFixture[str]) -> None:
        telling.print_json({"p": float("nan"), "path": Path("/x")})
        assert capsys.readouterr().out == '{"p":null,"path":"/x"}\n'


class TestAnalyse:
    @pytest.fixture
    def units(self, tmp_path: Path) -> Path:
        path = tmp_path / "units.csv"
        rows = [f"c-{n},{'AB'[n % 2]},{n % 7 + n % 2},{n % 5}" for n in range(400)]
        path.write_text("\n".join(["customer_id,arm,spend,before", *rows]))
        return path

    def test_of_a_file_has_the_figures_in_json_and_in_words(self, run: Run, units: Path) -> None:
        asked = ("--data", units, "--variant", "arm", "--control", "A", "--metric", "spend")
        asked = (*asked, "--covariate", "before", "--weights", "A=.5,B=.5")
        answer = run("experiment", "analyse", *asked, "--json").answer
        assert answer["sample_ratio"]["p"] == 1.0
        assert answer["sample_ratio"]["deviation"] == 0.0
        assert answer["health"]["healthy"] is True
        effect = answer["metrics"]["spend"]["B"]
        assert effect["low"] < effect["difference"] < effect["high"]
        assert effect["relative_low"] < effect["relative"] < effect["relative_high"]
        assert 0 <= effect["p"] <= effect["p_adjusted"] <= 1
        said = run("experiment", "analyse", *asked)
        assert said.code == 0
        assert "welch" in said.out

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"--metric": "spnd"}, "no column 'spnd'; its columns are customer_id, arm"),
            ({"--metric": "spend:avg"}, "choose one of mean"),
            ({"--weights": "A=.5,B"}, "weight 'B' is no variant with its share"),
            ({"--weights": "A=1,B=0"}, "variant 'B' was planned at 0 and got 200 units"),
            ({"--control": "C"}, "control 'C' is no variant"),
            ({"--data": "nothing.csv"}, "nothing.csv is no file"),
        ],
    )
    def test_of_what_cannot_be_is_one_line(
        self, run: Run, units: Path, changed: dict[str, str], told: str
    ) -> None:
        asked = {"--data": units, "--variant": "arm", "--control": "A", "--metric": "spend"}
        options = [part for pair in {**asked, **changed}.items() for part in pair]
        assert told in refused(run("experiment", "analyse", *options))


def refused_after_progress(said: Said) -> str:
    assert said.code == 2
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_help_is_shown_without_loading_the_heavy_libraries() -> None:
    script = (
        "import sys\nsys.argv = ['regulars', *sys.argv[1:]]\nfrom regulars.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = ('mlflow', 'lightgbm', 'duckdb', 'ibis', 'pandas', 'numpy', 'sklearn',\n"
        "             'fastapi', 'uvicorn', 'sqlalchemy', 'nicegui', 'psycopg', 'pyarrow')\n"
        "    print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    for arguments in ([], ["--help"], ["experiment", "--help"], ["nonsense"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
        )
        assert done.stderr.splitlines()[-1] == "[]"
        assert done.returncode == (2 if arguments == ["nonsense"] else 0)
        assert ("Usage: regulars" in done.stdout) == (arguments != ["nonsense"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


LIVING = """
id: coffee
name: Coffee lovers
author: ana
rule: {count: {event: purchase, where: {category: [COFFEE]}, days: 90}, is: ">=", value: 3}
"""

OFTEN = """
id: often
name: Often here
author: ana
rule: {feature: orders_90d, is: ">=", value: 10}
"""


class TestPlan:
    """A campaign among the small deployment's customers, of offers with known effects."""

    @pytest.fixture
    def crowned(self, filled: Path, small_house: House, run: Run) -> House:
        """Its offers published, and an uplift model of two of them serving."""
        assert run("segment", "--json").code == 0
        house = House(small_house.settings.model_copy(update={"home": filled}))
        facts = house.profiles().facts()
        assert facts is not None
        known = report(
            {"live-bakery": 70.0, "live-coffee": 30.0},
            {"live-bakery": 2.0, "live-coffee": 2.0},
            facts.names,
            facts.feature_hash,
        )
        house.uplift.crown(house.uplift.register(known, "d"))
        return house

    @pytest.mark.usefixtures("crowned")
    def test_is_told_counted_and_written(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Source: by hand, 70 less 20 for a letter; live-coffee earns 10. The lower bound is that of
        # the best of two offers and none: a normal quantile at .025 / 3.
        # Nobody has answered whether she wants e-mail: here all may be written to, at any hour.
        monkeypatch.setenv("REGULARS_CONTACT_POLICY", '{"outbound": []}')
        monkeypatch.setenv("REGULARS_CONTACTS", '{"mail": {"cost": 0.1}, "email": {"cost": 0.2}}')
        file = tmp_path / "plan.parquet"
        asked = ("plan", "--channel", "email", "--contacts", 100)

        found = run(*asked, "--out", file, "--json").answer

        assert (found["considered"], found["reached"], found["sent"]) == (400, 100, 100)
        assert found["value"] == pytest.approx(100 * 50)
        assert found["earned"]["low"] == pytest.approx(5000 - 2.393980 * 100 * 2)
        (limit,) = found["limits"]
        assert (limit["kind"], limit["used"], limit["limit"]) == ("contact", 100, 100)
        assert limit["price"] == pytest.approx(50, rel=0.02)
        assert found["refused"]["live-basket"] == "not_learned"
        rows = pd.read_parquet(file)
        assert list(rows.columns) == ["customer_id", "offer_id", "channel", "expected_margin"]
        assert rows["customer_id"].is_unique
        assert set(rows["expected_margin"]) == {0.5}
        said = run(*asked)
        assert "one more contact would earn about 0.50 USD" in said.out
        assert "  plan " in said.err

        dear = {"email": {"cost": 0.7}}
        monkeypatch.setenv("REGULARS_CONTACTS", json.dumps(dear))
        nobody = run(*asked, "--json").answer
        assert (nobody["sent"], nobody["value"], nobody["limits"]) == (0, 0, [])
        assert "nobody is expected to earn more than she costs" in run(*asked).out

    @pytest.mark.usefixtures("crowned")
    def test_keeps_to_the_budget_the_chances_of_redemption_take(self, run: Run) -> None:
        found = run("plan", "--channel", "app", "--budget", "5.00", "--json").answer

        (limit,) = found["limits"]
        assert limit["kind"] == "budget"
        assert 480 < limit["used"] <= limit["limit"] == 500
        # A redemption costs 1.00, so the budget is that of as many expected redemptions.
        assert sum(one["uses"] for one in found["offers"]) == pytest.approx(limit["used"] / 100)

    @pytest.mark.usefixtures("filled")
    def test_without_a_model_of_uplift_says_how_to_get_one(self, run: Run) -> None:
        said = run("plan", "--channel", "email")

        assert said.code == 2
        assert "no uplift model serves" in said.err
        assert "'regulars train uplift'" in said.err

    @pytest.mark.usefixtures("home")
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--channel", "pigeon"], "--channel 'pigeon' is no channel; choose one of store, app"),
            (["--channel", "email", "--budget", "much"], "--budget: amount 'much' is not a number"),
            (["--channel", "email", "--budget", "-1"], "--budget -1 is below 0"),
            (["--channel", "email", "--out", "plan.xls"], "ending '.xls' is none of .csv"),
            ([], "Missing option '--channel'"),
        ],
    )
    def test_refuses_in_one_line(self, run: Run, arguments: list[str], told: str) -> None:
        assert told in refused(run("plan", *arguments))


class TestSegments:
    def test_are_previewed_saved_refreshed_and_exported(
        self, run: Run, filled: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "coffee.yaml"
        file.write_text(LIVING)

        preview = run("segments", "preview", file, "--json").answer
        saved = run("segments", "save", file, "--json").answer
        run("segment", "--json")
        exported = run("segments", "export", "coffee", "--json").answer

        assert 0 < preview["customers"] < preview["of"] == 400
        assert (saved["version"], exported["version"]) == (1, 1)
        # The night between the two runs moves the window by seconds at most.
        assert abs(len(exported["members"]) - preview["customers"]) <= 2
        told = run("segments", "history", "coffee").out
        assert told.startswith("v1, ")
        assert "Coffee lovers" in run("segments", "list").out
        assert run("segments", "movement", "--json").answer["overlap"]["coffee"]["coffee"] > 0

    def test_are_exported_and_extended_by_look_alikes_into_files(
        self, run: Run, filled: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "often.yaml"
        file.write_text(OFTEN)
        run("segments", "save", file)
        run("segment", "--json")
        members = run("segments", "export", "often", "--json").answer["members"]
        for ending, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
            exported, alike = tmp_path / f"often{ending}", tmp_path / f"alike{ending}"
            run("segments", "export", "often", "--out", exported)
            report = run("segments", "lookalikes", "often", "--size", 40, "--out", alike, "--json")

            assert read(exported)["customer_id"].tolist() == members
            rows = read(alike)
            ranked = report.answer["found"]["ranked"]
            assert rows["customer_id"].tolist() == [one["customer_id"] for one in ranked]
            assert rows["score"].tolist() == pytest.approx([one["score"] for one in ranked])
            assert rows["rank"].tolist() == list(range(1, 41))
            assert set(rows["segment_id"]) == {"often"}
            as_of = pd.to_datetime(rows["as_of"], utc=True)
            assert set(as_of) == {pd.Timestamp(report.answer["as_of"])}
            assert not set(rows["customer_id"]) & set(members)
        assert {"orders_90d", "orders_365d", "recency_days"} <= set(
            report.answer["found"]["left_out"]
        )
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    def test_look_alikes_of_a_group_are_printed_with_the_held_out_lift_beside(
        self, run: Run, filled: Path
    ) -> None:
        said = run("segments", "lookalikes", "rfm=Champions", "--size", 5)

        assert said.code == 0, said.err
        assert len(said.out.splitlines()) == 5
        assert "held-out lift" in said.err
        assert "left out, as the rule asks for them: recency_days" in said.err

    def test_look_alikes_and_files_that_cannot_be_are_refused_in_one_line(
        self, run: Run, filled: Path, tmp_path: Path
    ) -> None:
        def alike(segment: str, *options: object) -> str:
            return refused(run("segments", "lookalikes", segment, "--size", 5, *options))

        assert "ending '.xlsx' is none of .csv, .parquet" in alike("a", "--out", "a.xlsx")
        assert "does not exist; make it first" in alike("a", "--out", tmp_path / "no" / "a.csv")
        assert "segment 'tea' does not exist" in alike("tea")
        assert "'age' is none of rfm, lifecycle, cluster" in alike("age=30")
        assert "nobody is in 'Kings'; there are: " in alike("rfm=Kings")
        assert "at least 50 are needed" in alike("lifecycle=no purchase")
        assert "ending '' is none of" in refused(
            run("segments", "export", "tea", "--out", tmp_path / "tea")
        )

    def test_that_do_not_fit_are_refused_in_one_line(
        self, run: Run, filled: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "bad.yaml"
        file.write_text(LIVING.replace("purchase", "bought"))

        assert "rule.count.event: 'bought' is none of purchase" in refused(
            run("segments", "save", file)
        )
        assert "segment 'tea' does not exist" in refused(run("segments", "history", "tea"))
        assert "segment 'tea' does not exist" in refused(run("segments", "export", "tea"))


@pytest.mark.usefixtures("home")
class TestAccess:
    def test_keys_are_made_listed_rotated_and_revoked(self, run: Run) -> None:
        asked = ("key", "add", "till 9", "--scope", "outcomes", "--days", "30", "--rate", "50")
        made = run(*asked, "--json").answer
        assert (made["name"], made["scopes"]) == ("till 9", ["outcomes"])
        number = made["number"]
        rotated = run("key", "rotate", "till 9", "--overlap-hours", "2", "--json").answer
        assert (rotated["old"], rotated["scopes"]) == (number, ["outcomes"])
        assert rotated["key"] != made["key"]
        ends = datetime.fromisoformat(rotated["old_ends"])
        assert abs(ends - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
        refused(run("key", "revoke", "till 9"))
        assert run("key", "revoke", number, "--json").answer == {
            "number": number, "name": "till 9",
        }  # fmt: skip
        listed = {one["number"]: one for one in run("key", "list", "--json").answer["keys"]}
        assert (listed[number]["valid"], listed[number]["successor"]) == (False, rotated["number"])
        assert (listed[rotated["number"]]["valid"], listed[rotated["number"]]["rate"]) == (True, 50)
        spoken = run("key", "list").out
        assert f"{rotated['number']} till 9: outcomes, 50 a second; valid until " in spoken
        assert "never used" in spoken
        for key in (made["key"], rotated["key"]):
            assert key not in spoken
        entries = run("audit", "--last", "3", "--json").answer["entries"]
        assert [one["action"] for one in entries] == ["revoke", "rotate", "make"]
        assert f"revoke key {number} (till 9)" in run("audit").out

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("key", "add", "x", "--scope", "all"), "--scope 'all': choose of decide, outcomes"),
            (("key", "add", "x", "--rate", "0"), "--rate 0: give requests a second above 0"),
            (("key", "add", "x", "--rate", "nan"), "--rate nan"),
            (("key", "add", "x", "--days", "0"), "--days 0: give days above 0"),
            (("key", "add", " "), "key name ' ' must have 1 to 100 printable characters"),
            (("key", "rotate", "nobody's"), 'there is no valid key "nobody\'s"'),
            (("key", "rotate", "x", "--overlap-hours", "-1"), "'--overlap-hours'"),
            (("user", "add", "x", "--role", "king"), "--role 'king': choose one of viewer"),
            (("user", "add", "a b"), "user name 'a b' must begin with"),
            (("user", "password", "nobody"), "user 'nobody' does not exist"),
            (("user", "remove", "nobody"), "user 'nobody' does not exist"),
        ],
    )
    def test_what_cannot_be_is_refused_in_one_line(
        self, run: Run, arguments: tuple[str, ...], told: str
    ) -> None:
        assert told in refused(run(*arguments))

    def test_users_are_added_listed_renewed_and_removed(self, run: Run) -> None:
        added = run("user", "add", "Ana", "--role", "marketer", "--json").answer
        assert len(added["password"]) == 22
        spoken = run("user", "password", "ana").out
        assert "console user ana, password: " in spoken
        assert added["password"] not in spoken
        listed = run("user", "list", "--json").answer["users"]
        assert [(one["name"], one["role"]) for one in listed if one["name"] == "ana"] == [
            ("ana", "marketer")
        ]
        assert "ana: marketer" in run("user", "list").out
        assert run("user", "remove", "ana", "--json").answer == {"name": "ana"}
        assert "ana" not in run("user", "list").out

    def test_a_console_does_not_ask_for_passwords_in_the_clear(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REGULARS_HOST", "0.0.0.0")
        told = refused_after_progress(run("serve", "--port", free_port()))
        assert "passwords would cross the network in the clear" in told
        assert "REGULARS_PROXIES" in told

    @pytest.mark.parametrize("value", ["proxy.example", '["proxy.example"]', '["*"]'])
    def test_proxies_are_addresses(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("REGULARS_PROXIES", value)
        assert "REGULARS_PROXIES" in refused(run("key", "list"))
