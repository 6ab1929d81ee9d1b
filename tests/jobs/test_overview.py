"""Does the overview report every experiment by its own plan, and say why where it cannot?"""

from datetime import timedelta

import msgspec
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.postgres_admin import StoredExperiment
from experiments.design import Variant, content_hash
from experiments.holdout import HELD_OUT, HOLDOUT, REACHED, holdout_design
from experiments.programme_page import programme_page
from experiments.programme_words import entry_lines, programme_lines
from foundation.money import Currency
from regulars.jobs.overview import overview, report_of
from tests.jobs.test_report import START, UNTIL, decided, design, line, put

USD = Currency("USD")


def stored(plan, stopped: bool = False, locked: str | None = None) -> StoredExperiment:
    return StoredExperiment(
        plan,
        locked or content_hash(plan),
        START - timedelta(days=1),
        START + timedelta(days=20) if stopped else None,
    )


def trial(lake: DuckDbLake, key: str, variants: tuple[str, str], gain: int) -> None:
    """Sixty customers in each variant, who spend 100 to 700; the second gain so much more."""
    people = [(v, n, f"c-{key}-{v}-{n}") for v in variants for n in range(60)]
    put(lake, "decisions", *(decided(f"d-{c}", c, v, key=key) for v, _, c in people))
    spent = (
        line(f"l-{c}", c, 100 + 10 * n + (gain if v == variants[1] else 0), margin=None)
        for v, n, c in people
    )
    put(lake, "purchases", *spent)


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    put(lake, "products", {"product_id": "p-plain", "category": "COFFEE", "margin_rate": 1.0})
    trial(lake, "won", ("off", "on"), 400)
    trial(lake, "even", ("off", "on"), 0)
    trial(lake, HOLDOUT, (HELD_OUT, REACHED), 200)
    return lake


def test_each_is_reported_by_its_plan_and_only_ended_ones_are_summed(shop: DuckDbLake) -> None:
    found = overview(
        shop,
        [
            stored(design(key="now", salt="now")),
            stored(design(key="forged", salt="forged"), stopped=True, locked="another"),
            stored(design(key="won", salt="won"), stopped=True),
            stored(design(key="even", salt="even"), stopped=True),
            stored(msgspec.structs.replace(holdout_design(0.5))),
        ],
        UNTIL,
    )
    entries = {entry.key: entry for entry in found.entries}
    assert set(entries) == {"now", "forged", "won", "even"}
    assert "assigned nobody" in str(entries["now"].refused)
    assert "changed outside Regulars" in str(entries["forged"].refused)
    # 60 customers, 4.00 more each; the others no more.
    assert entries["won"].incremental.value == pytest.approx(60 * 400)
    assert (found.summed, found.left_out) == (2, 1)
    assert found.incremental.value == pytest.approx(60 * 400)
    assert found.holdout.value == pytest.approx(60 * 200)
    rows = {row.key: row for row in entry_lines(found, USD)}
    assert rows["won"].words == "+240.00 USD"
    assert rows["now"].state == "running"
    holdout, ended = programme_lines(found, USD)
    assert holdout.words == "+120.00 USD"
    assert "1 that ended without figures are left out" in ended.note


def test_the_page_holds_every_experiment_and_no_markup_of_theirs(shop: DuckDbLake) -> None:
    plan = design(key="won", salt="won", variants=[Variant("off", 0.5), Variant("on", 0.5)])
    found = overview(shop, [stored(plan, stopped=True)], UNTIL)
    evil = msgspec.structs.replace(found.entries[0], why="<script>alert(1)</script>")
    page = programme_page(msgspec.structs.replace(found, entries=[evil]), UNTIL, USD)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "+240.00 USD" in page
    assert "not known: there is no holdout" in page


def test_reports_that_somebody_keeps_are_taken(shop: DuckDbLake) -> None:
    asked: list[str] = []

    def kept(one: StoredExperiment):
        asked.append(one.design.key)
        return report_of(shop, one, UNTIL)

    overview(shop, [stored(design(key="even", salt="even"))], UNTIL, kept)
    assert asked == ["even"]
