"""The console in a real browser, on a real deployment: does it show what the stores hold?"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page

from adapters.postgres_admin import PostgresAdmin
from experiments.design import Experiment, Variant
from experiments.metric_catalogue import NAMES
from experiments.metric_titles import METRICS
from experiments.report import Report
from experiments.report_words import decision
from foundation.access import APP_SCOPES
from foundation.contracts import DECISIONS
from foundation.settings import Settings
from recommender.response import BASELINE
from regulars.jobs.experiment import start_experiment
from regulars.jobs.measure import simulate_experiment
from regulars.jobs.report import experiment_report
from regulars.progress import Progress
from regulars.serve import running
from regulars.wiring import House
from segmentation.rfm import GROUPS
from serving.console.segments_card import MOODS
from tests.browser.window import SIZE, Window, needs_chromium, opened
from tests.deployment import STATEMENTS, copied

pytestmark = needs_chromium
START_SECONDS = 60


@dataclass
class Deployed:
    """A deployment with a running console, and the experiment that its report is about."""

    house: House
    admin: PostgresAdmin
    url: str
    report: Report
    password: str

    def open(self, window: Window) -> Page:
        return window.open(self.url, "ana", self.password)


@pytest.fixture(scope="module")
def deployed(
    small_house: House, tmp_path_factory: pytest.TempPathFactory, silent: Progress
) -> Iterator[Deployed]:
    """A small deployment served by `regulars serve`'s own processes, its customers simulated."""
    house = copied(small_house, tmp_path_factory.mktemp("console") / "home")
    with house.database() as url, house.admin(url) as admin, ExitStack() as stack:
        app_key = admin.make_key("loyalty app", APP_SCOPES)
        up = stack.enter_context(
            running(house, url, _free_ports(), 1, console=True, app_key=app_key)
        )
        start_experiment(admin, _design("autumn-offers"), house.clock.now())
        measured = simulate_experiment(house, admin, up.url, 3, silent)
        assert up.console_url is not None
        password = admin.users.add("ana", "admin")
        yield Deployed(house, admin, up.console_url, measured.report, password)


@pytest.fixture(scope="module")
def read_window(deployed: Deployed, browser: Browser) -> Iterator[Window]:
    """One window for all who only read: to sign in and draw every card takes seconds."""
    with opened(browser) as window:
        deployed.open(window)
        yield window


@pytest.fixture
def page(read_window: Window) -> Iterator[Page]:
    yield read_window.page
    read_window.page.set_viewport_size(SIZE)
    read_window.page.emulate_media(color_scheme="light")


def _design(key: str) -> Experiment:
    return Experiment(
        key=key,
        salt=key,
        variants=[
            Variant("no-offers", 0.5, policy="none"),
            Variant("offers", 0.5, policy="response"),
        ],
        control="no-offers",
        hypothesis='offers earn more than they cost, "surely" <b>so</b>',
        # Of 400 customers the few who buy most would make the mean too skewed to judge.
        outlier_cap=0.97,
    )


@dataclass
class Bare:
    """A deployment in which nothing was ever run, and its console."""

    house: House
    admin: PostgresAdmin
    url: str
    password: str

    def open(self, window: Window) -> Page:
        return window.open(self.url, "ana", self.password)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    house = House(Settings(home=tmp_path / "home", database_url=None, mlflow_tracking_uri=None))
    with house.database() as url, house.admin(url) as admin:
        port = _free_ports()
        environment = {
            "REGULARS_HOME": str(house.settings.home),
            "REGULARS_DATABASE_URL": url,
        }
        with _console(str(port), environment) as process:
            address = f"http://127.0.0.1:{port}"
            _await(f"{address}/health/live", process)
            yield Bare(house, admin, address, admin.users.add("ana", "admin"))


@contextmanager
def _console(port: str, environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "regulars.console", port],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _await(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        try:
            assert httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"{url} does not answer after {START_SECONDS} s")


def _free_ports() -> int:
    """Return a port that is free, as is the next one."""
    for port in range(8310, 8390, 2):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two neighbouring ports are free from 8310 to 8390")


def test_every_group_has_the_size_and_spend_that_the_lake_holds(
    deployed: Deployed, page: Page
) -> None:
    lake = deployed.house.lake
    segments = lake.fetch(lake.table("segments")).to_pandas()
    lines = lake.fetch(lake.table("purchases")).to_pandas()
    as_of = segments["as_of"].iloc[0]
    year = lines[(lines["at"] < as_of) & (lines["at"] >= as_of - timedelta(days=365))]
    spend = year.groupby("customer_id")["amount"].sum()
    segments["spend"] = segments["customer_id"].map(spend).fillna(0)

    shown = {
        row.get_attribute("data-group"): (
            row.locator(".count").inner_text().strip(),
            row.locator(".money").inner_text().strip(),
        )
        for row in page.locator("table.groups tbody tr").all()
    }
    assert shown == {
        name: (f"{len(rows):,}", f"{rows['spend'].sum() / 100:,.0f}")
        for name, rows in segments.groupby("rfm")
    }
    bars = {
        bar.get_attribute("data-group"): bar.locator(".count").inner_text().strip()
        for bar in page.locator("li[data-group]").all()
    }
    sizes = {**segments["lifecycle"].value_counts(), **segments["cluster"].value_counts()}
    assert bars == {name: f"{size:,}" for name, size in sizes.items()}


def test_groups_are_drawn_and_explained(page: Page) -> None:
    largest = page.locator(".treemap svg text", has_text="Hibernating")
    largest.wait_for()
    said = page.locator("table.groups tbody tr", has_text="Champions").inner_text()
    assert GROUPS["Champions"] in said


def test_every_named_group_has_a_mood() -> None:
    from segmentation.lifecycle import STATES

    assert set(MOODS) == {*GROUPS, *STATES}


def test_champion_is_shown_with_its_auc_beside_the_other_model(
    deployed: Deployed, page: Page
) -> None:
    champion = deployed.house.models.described("champion")
    assert champion is not None
    card = page.locator("section.card", has_text="Which offer for whom")
    assert f"response@{champion.version}" in card.inner_text()
    score = card.locator(f".score[data-model={champion.kind}]")
    assert "champion" in score.inner_text()
    figures = champion.metrics
    for figure in ("auc", "auc_low", "auc_high"):
        assert f"{figures[figure]:.3f}" in score.inner_text()
    assert card.locator(".score").count() == 2
    assert card.locator(f".score[data-model={BASELINE}]").count() == 1
    # The planted signal: who shops often redeems more.
    assert "AUC" in card.locator(".verdict").inner_text()
    assert card.locator("img").evaluate("image => image.naturalWidth") > 100
    assert card.locator("ol.inputs li").count() == 10


def test_the_experiments_differences_are_those_of_its_report(
    deployed: Deployed, page: Page
) -> None:
    effect = deployed.report.metrics["margin"]["offers"]
    assert effect.difference is not None
    assert effect.low is not None
    assert effect.high is not None
    show = deployed.house.settings.currency.show
    shown = page.locator("article[data-metric=margin][data-variant=offers]")
    assert shown.locator(".headline").inner_text().strip().removeprefix("+") == show(
        effect.difference
    )
    assert show(effect.low) in shown.inner_text()
    assert show(effect.high) in shown.inner_text()
    assert "assumed" in shown.inner_text()
    for name, units in deployed.report.units.items():
        assert f"{units:,}" in page.locator(f"li[data-variant={name}]").inner_text()
    orders = deployed.report.metrics["orders"]["offers"]
    assert f"{orders.mean:.4g}" in page.locator("article[data-metric=orders]").inner_text()
    assumed = page.locator(".assumptions").inner_text()
    assert STATEMENTS["margin_rate"][1] in assumed


def test_the_decision_stands_first_and_is_that_of_the_page_and_the_plan(
    deployed: Deployed, page: Page
) -> None:
    verdict = deployed.report.verdict
    assert verdict is not None
    told = decision(deployed.report, _design("autumn-offers"), deployed.house.settings.currency)
    shown = page.locator("section.card .decision").inner_text()
    assert told.headline in shown
    assert verdict.why[1:] in shown
    assert told.worth[0].words in shown


def test_all_experiments_are_listed_and_only_those_that_ended_are_summed(
    deployed: Deployed, page: Page
) -> None:
    row = page.locator("article[data-experiment=autumn-offers]")
    effect = deployed.report.metrics["margin"]["offers"]
    assert effect.difference is not None
    total = effect.difference * deployed.report.units["offers"]
    assert deployed.house.settings.currency.show(total) in row.inner_text()
    # It still runs, so it is listed and not summed.
    card = page.locator("section.card", has_text="What all experiments brought")
    assert "none has ended with figures yet" in card.inner_text()
    assert "there is no holdout" in card.inner_text()


def test_what_a_marketer_wrote_is_text_and_never_markup(page: Page) -> None:
    card = page.locator("section.card", has_text="What the offers earned")
    assert _design("any").hypothesis in card.inner_text()


def test_every_metric_a_plan_may_name_is_worded() -> None:
    assert set(METRICS) == set(NAMES)


def test_footer_says_what_the_figures_were_read_from(deployed: Deployed, page: Page) -> None:
    said = page.locator("footer").inner_text()
    facts = deployed.house.profiles().facts()
    assert facts is not None
    assert facts.version in said
    assert f"Lake version {deployed.house.lake.version}" in said
    assert f"{deployed.admin.count_decisions():,} decisions ingested" in said


def test_nothing_fails_and_nothing_leaves_the_machine(read_window: Window) -> None:
    assert read_window.page.title() == "Regulars console"
    assert read_window.errors == []
    assert read_window.hosts == {"127.0.0.1"}


@pytest.mark.parametrize("width", [400, 768, 1280])
def test_no_window_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_by_day_and_by_night(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    # 4.5 is the contrast that WCAG 2.1 asks of text (AA).
    for tag in ("h1", ".card h2", ".card .soft", ".tag.assumed", "footer p"):
        found = page.locator(tag).first
        assert found.evaluate(_CONTRAST) >= 4.5, tag
    ink = page.locator("h1").evaluate("e => getComputedStyle(e).color.match(/\\d+/g).map(Number)")
    assert (sum(ink) > 3 * 128) == (scheme == "dark")


# Relative luminance and contrast ratio as WCAG 2.1 defines them.
_CONTRAST = """element => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = numbers(colour).slice(0, 3).map(c => {
      c /= 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ink = light(getComputedStyle(element).color);
  let behind = element, paper;
  for (; behind; behind = behind.parentElement) {
    paper = getComputedStyle(behind).backgroundColor;
    if ((numbers(paper)[3] ?? 1) > 0) break;
  }
  const ground = light(paper);
  return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
}"""


@pytest.mark.slow
def test_an_empty_deployment_says_what_to_run(bare: Bare, window: Window) -> None:
    page = bare.open(window)
    commands = page.locator("code").all_inner_texts()
    assert commands == [
        "regulars load SOURCE",
        "regulars segment",
        "regulars train",
        "regulars experiment start FILE",
        "regulars experiment start FILE",
        "regulars segment",
    ]
    assert window.errors == []


@pytest.mark.slow
def test_refusals_are_shown_as_what_they_are(bare: Bare, window: Window) -> None:
    started = start_experiment(bare.admin, _design("torn"), datetime.now(UTC))
    page = bare.open(window)
    card = page.locator("section.card", has_text="What the offers earned")
    assert "has assigned nobody yet" in card.locator(".notice").inner_text()
    assert card.locator(".notice p").evaluate(_CONTRAST) >= 4.5

    with bare.house.lake.write() as write:
        write.merge(DECISIONS.name, _assigned("torn", {"no-offers": 260, "offers": 140}))
    report = experiment_report(bare.house.lake, started.design, datetime.now(UTC))
    # Pearson's chi-square of 260 and 140 on even shares is 36, far beyond 1 in 1000.
    assert not report.healthy
    bare.open(window)
    assert "Sample ratio broken: no-offers 260" in card.locator(".notice").inner_text()
    assert "split broken" in card.inner_text()
    assert card.locator("article").count() == 0

    bare.admin.stop_experiment("torn", datetime.now(UTC))
    stopped = bare.open(window).locator("section.card", has_text="What the offers earned")
    assert "stopped" in stopped.inner_text()
    overview = window.page.locator("section.card", has_text="What all experiments brought")
    # It ended without figures: told, and not summed.
    row = overview.locator("article[data-experiment=torn]").inner_text()
    assert "sample ratio broken" in row
    assert "none has ended with figures yet" in overview.inner_text()


def _assigned(key: str, sizes: dict[str, int]):
    return DECISIONS.from_rows(
        [
            {
                "decision_id": f"{variant}-{i}",
                "customer_id": f"{variant}-{i}",
                "at": datetime.now(UTC),
                "channel": "app",
                "known": False,
                "propensity_valid": True,
                "policy": "none",
                "experiments": json.dumps(
                    [{"key": key, "variant": variant, "unit": f"{variant}-{i}"}],
                    separators=(",", ":"),
                ),
                "slates": "[]",
                "record": "{}",
            }
            for variant, size in sizes.items()
            for i in range(size)
        ]
    )


@pytest.mark.slow
def test_a_marketer_stops_an_experiment_and_the_audit_log_names_her(
    bare: Bare, window: Window
) -> None:
    start_experiment(bare.admin, _design("this-week"), datetime.now(UTC))
    marketer, viewer = (bare.admin.users.add(role, role) for role in ("marketer", "viewer"))
    page = window.open(bare.url, "viewer", viewer)
    assert page.locator("nav.account").inner_text().split() == [
        "viewer", "viewer", "Password", "Sign", "out",
    ]  # fmt: skip
    assert page.get_by_text("Stop this experiment").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")

    page = window.open(bare.url, "marketer", marketer)
    page.get_by_text("Stop this experiment").click()
    page.get_by_role("button", name="Stop it now").click()
    card = page.locator("section.card", has_text="What the offers earned")
    card.locator(".tag", has_text="stopped").wait_for()
    assert page.get_by_text("Audit log").count() == 0
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")

    page = bare.open(window)
    page.get_by_text("Audit log").click()
    row = page.locator("table.audit tbody tr").first.inner_text()
    assert row.split("\t")[1:4] == ["user marketer", "stop", "experiment this-week"]
    assert window.errors == []


@pytest.mark.slow
def test_an_open_page_ends_with_its_session(bare: Bare, window: Window) -> None:
    page = bare.open(window)
    bare.admin.users.remove("ana")
    # Its socket is hung up on, and what the page then asks for is behind the gate.
    page.get_by_text("Connection lost").or_(page.get_by_label("Password")).first.wait_for()
    page.goto(bare.url)
    assert page.url.endswith("/sign-in")


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1280])
def test_forms_are_legible_and_do_not_scroll_sideways(
    bare: Bare, window: Window, width: int
) -> None:
    window.page.set_viewport_size({"width": width, "height": 900})
    page = window.sign_in(bare.url, "ana", "wrong")
    page.get_by_role("alert").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for tag in ("h2", ".notice p", "label", "button", ".soft"):
        assert page.locator(tag).first.evaluate(_CONTRAST) >= 4.5, tag
    assert page.get_by_label("Name").input_value() == "ana"
    # The refusal itself (401) is what the browser's console tells.
    assert [error for error in window.errors if "401" not in error] == []


def test_a_name_that_a_foreign_page_points_here_is_refused(deployed: Deployed) -> None:
    answer = httpx.get(deployed.url, headers={"Host": "evil.example"}, trust_env=False)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("port", "environment", "said"),
    [
        ("8399", {"REGULARS_HOST": "0.0.0.0"}, "in the clear"),
        ("eight", {}, "must be one port"),
    ],
)
def test_bad_input_ends_with_one_clear_line(
    tmp_path: Path, port: str, environment: dict[str, str], said: str
) -> None:
    with _console(port, {"REGULARS_HOME": str(tmp_path), **environment}) as process:
        _, errors = process.communicate(timeout=START_SECONDS)
    assert process.returncode == 2
    assert said in errors
    assert len(errors.splitlines()) == 1
