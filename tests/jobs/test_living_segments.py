"""Living segments: versions, order, what was known when, and a refresh that is killed."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from foundation.contracts import CUSTOMERS, OFFERS, PRODUCTS, PURCHASES, SEGMENT_DEFINITIONS
from foundation.errors import NothingToDo
from foundation.features import definitions as features
from foundation.rule_profile import judge
from foundation.rules import InvalidRule, UnknownName, read_rule
from foundation.settings import Settings
from regulars.jobs.living_segments import active, history, newest_sizes, save
from regulars.jobs.membership import membership_known_at, membership_recomputed
from regulars.jobs.movement import movement
from regulars.jobs.preview import Preview
from regulars.jobs.rule_names import rule_names, strangers
from regulars.jobs.runs import all_runs, counting
from regulars.jobs.segment import SegmentReport, segment
from regulars.progress import Progress
from segmentation.living import Draft, InvalidSegment
from tests.deployment import Shelf
from tests.snapshots import opened

T = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = [feature.name for feature in features()]
CUSTOMERS_MADE = 60


def bought(times: int, days: int, **where: list[str]) -> dict[str, Any]:
    count = {"event": "purchase", "where": where, "days": days}
    return {"count": count, "is": ">=", "value": times}


SETTINGS = Settings()
COFFEE = bought(2, 30, category=["COFFEE"])


def line(customer: int, day: float, product: str, n: int = 0, **fields: Any) -> dict[str, Any]:
    return {
        "line_id": f"l-{customer}-{day}-{product}-{n}",
        "customer_id": f"c-{customer:02}",
        "order_id": f"o-{customer}-{day}-{n}",
        "product_id": product,
        "channel": "store",
        "at": T - day * DAY,
        "local_day": 20_573 - int(day),
        "local_hour": 9,
        "quantity": 1.0,
        "amount": 500,
        "discount": 0,
        "offer_discount": 0,
    } | fields


def buy(lake: DuckDbLake, *lines: dict[str, Any]) -> None:
    with lake.write() as write:
        write.merge("purchases", PURCHASES.from_rows(lines))


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    """Sixty customers bought tea 40 days ago; the first ten bought coffee on days 5 and 20 too."""
    people = [
        {"customer_id": f"c-{i:02}", "attributes": '{"vip": true}' if i < 5 else None}
        for i in range(CUSTOMERS_MADE)
    ]
    products = [
        {"product_id": "bean", "category": "COFFEE"},
        {"product_id": "leaf", "category": "TEA"},
    ]
    with lake.write() as write:
        write.merge("customers", CUSTOMERS.from_rows(people))
        write.merge("products", PRODUCTS.from_rows(products))
    buy(lake, *(line(i, 40, "leaf") for i in range(CUSTOMERS_MADE)))
    buy(lake, *(line(i, day, "bean") for i in range(10) for day in (5, 20)))
    return lake


def store(
    lake: DuckDbLake, segment_id: str, rule: Any, status: Any = "active", at: datetime = T - DAY
) -> int:
    draft = Draft(segment_id, segment_id.title(), rule, "ana", None, status)
    return save(lake, draft, NAMES, at).version


def offer(eligibility: Any) -> dict[str, Any]:
    return {
        "offer_id": "o",
        "title": "1.00 off",
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 0,
        "scope": [],
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": T - DAY,
        "valid_to": T + DAY,
        "eligibility": json.dumps(eligibility),
        "cost": 100,
        "priority": 0,
        "combinable": True,
    }


def run(
    lake: DuckDbLake,
    folder: Path,
    silent: Progress,
    at: datetime = T,
    made_at: datetime | None = None,
) -> SegmentReport:
    publish = partial(publish_snapshot, folder / "snapshots")
    settings = Settings(home=folder)
    return segment(lake, publish, Shelf(), settings, at, silent, made_at=made_at)


def ids(*numbers: int) -> tuple[str, ...]:
    return tuple(f"c-{n:02}" for n in numbers)


def test_a_run_refreshes_segments_after_those_they_ask_for_and_publishes_who_is_in(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    # Saved in the wrong order: "a" is refreshed last.
    store(shop, "b-coffee", COFFEE)
    vip = {"attribute": "attributes.vip", "is": "=", "value": True}
    store(shop, "a-vips", {"all": [{"segment": "b-coffee"}, vip]})

    report = run(shop, tmp_path, silent)

    assert report.living == {"b-coffee": 10, "a-vips": 5}
    assert newest_sizes(shop) == report.living
    assert report.refused == {}
    profiles = opened(tmp_path / "snapshots")
    facts = profiles.facts()
    assert facts is not None
    held = [c for i in range(60) if "a-vips" in (p := profiles.get(c := f"c-{i:02}")).segments]  # type: ignore[union-attr]
    assert tuple(held) == ids(*range(5))
    # The same rules, asked of each profile alone.
    for document, size in ((COFFEE, 10), ({"segment": "a-vips"}, 5), ({"not": COFFEE}, 50)):
        decides = judge(read_rule(document, facts.vocabulary))
        found = [
            decides(p.facts(facts.names)) for i in range(60) if (p := profiles.get(f"c-{i:02}"))
        ]
        assert sum(found) == size
    with pytest.raises(UnknownName, match="is not counted like this in the live snapshot"):
        read_rule(bought(2, 31, category=["COFFEE"]), facts.vocabulary)


def test_an_offers_counted_events_are_in_the_snapshot_too(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    with shop.write() as write:
        write.merge("offers", OFFERS.from_rows([offer(bought(1, 7))]))

    run(shop, tmp_path, silent)

    profiles = opened(tmp_path / "snapshots")
    facts, buyer, other = profiles.facts(), profiles.get("c-03"), profiles.get("c-30")
    assert facts is not None
    assert buyer is not None
    assert other is not None
    (name,) = facts.counts
    assert (buyer.counts, other.counts) == ({name: 1}, {})


def test_every_version_stays_with_its_author_and_the_newest_counts(shop: DuckDbLake) -> None:
    assert store(shop, "coffee", COFFEE) == 1
    assert store(shop, "coffee", bought(1, 7, category=["COFFEE"])) == 2
    assert store(shop, "coffee", bought(3, 7, category=["COFFEE"])) == 3

    versions = history(shop, "coffee")

    assert [one.version for one in versions] == [1, 2, 3]
    assert [one.draft.rule["value"] for one in versions] == [2, 1, 3]
    assert {one.draft.author for one in versions} == {"ana"}
    assert active(shop)["coffee"].version == 3
    store(shop, "coffee", COFFEE, "archived")
    assert active(shop) == {}
    with pytest.raises(InvalidSegment, match="'tea' does not exist; there are: coffee"):
        history(shop, "tea")


def test_names_that_nothing_bears_are_told_with_what_may_be_meant(shop: DuckDbLake) -> None:
    rule = {"any": [bought(2, 30, category=["COFEE", "TEA"]), {"not": bought(1, 9, store=["x"])}]}

    assert strangers(shop, COFFEE) == []
    assert strangers(shop, rule) == [
        "no category here is called 'COFEE'; did you mean 'COFFEE'?",
        "no store here is called 'x'",
    ]
    # What was bought is known, whether or not products were loaded.
    buy(shop, line(1, 3, "espresso"))
    assert strangers(shop, bought(1, 9, product=["espresso"])) == []
    known = rule_names(shop)
    assert known["category"] == ["COFFEE", "TEA"]
    assert "attributes.vip" in known["attribute"]
    assert "Champions" in known["rfm"]


def test_what_cannot_be_refreshed_is_not_saved(shop: DuckDbLake) -> None:
    store(shop, "a", COFFEE)
    store(shop, "b", {"segment": "a"})

    with pytest.raises(
        InvalidSegment, match=r"in a circle: (a asks for b asks for a|b asks for a asks for b);"
    ):
        store(shop, "a", {"segment": "b"})
    with pytest.raises(InvalidSegment, match="c asks for c"):
        store(shop, "c", {"not": {"segment": "c"}})
    with pytest.raises(InvalidRule, match=r"rule.segment: 'nobody' is none of a, b"):
        store(shop, "c", {"segment": "nobody"})
    with pytest.raises(InvalidRule, match=r"never a number; compare it with true or false"):
        store(shop, "c", {"attribute": "attributes.vip", "is": "=", "value": 1})
    with pytest.raises(InvalidSegment, match="'a' has no group 'gold'; there are: member"):
        store(shop, "c", {"segment": "a", "in": ["gold"]})
    with pytest.raises(InvalidSegment, match="'a' cannot be archived: 'b' asks for it"):
        store(shop, "a", COFFEE, "archived")
    with pytest.raises(InvalidSegment, match="'rfm' is a segmentation"):
        store(shop, "rfm", COFFEE)
    assert [one.version for one in history(shop, "a")] == [1]


def test_a_rule_that_no_longer_fits_is_refused_with_those_that_ask_for_it_and_the_rest_goes_on(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    store(shop, "coffee", COFFEE)
    store(shop, "vips", {"attribute": "attributes.vip", "is": "=", "value": True})
    store(shop, "others", {"not": {"segment": "vips"}})
    with shop.write() as write:
        # Nobody has the attribute any more.
        nobody = [{"customer_id": f"c-{i:02}"} for i in range(CUSTOMERS_MADE)]
        write.merge("customers", CUSTOMERS.from_rows(nobody))

    report = run(shop, tmp_path, silent)

    assert report.living == {"coffee": 10}
    assert "'attributes.vip' is none of" in report.refused["vips"]
    assert report.refused["others"].startswith("asks for 'vips'")


@pytest.mark.parametrize(
    "hostile",
    [
        {"all": [{"feature": "orders_30d", "is": ">=", "value": 1}] * 1000},
        {"segment": "cluster", "in": ["\x00"]},
        bought(1, 30, category=["\ud800"]),
    ],
)
def test_no_stored_rule_can_stop_a_run(
    shop: DuckDbLake, tmp_path: Path, silent: Progress, hostile: Any
) -> None:
    store(shop, "sound", COFFEE)
    # As an older release, which knew no better, let them in.
    row = {
        "definition_id": "hostile|1",
        "segment_id": "hostile",
        "version": 1,
        "name": "Hostile",
        "rule": json.dumps(hostile),
        "author": "ana",
        "at": T - DAY,
        "status": "active",
    }
    with shop.write() as write:
        write.merge("segment_definitions", SEGMENT_DEFINITIONS.from_rows([row]))
        write.merge("offers", OFFERS.from_rows([offer(hostile)]))

    report = run(shop, tmp_path, silent)

    assert report.living == {"sound": 10}
    assert report.refused.keys() == {"hostile"}
    assert report.refused["hostile"].startswith("rule.")


def test_membership_is_exported_as_it_was_known_and_recomputed_by_what_is_known_today(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    store(shop, "coffee", COFFEE)
    run(shop, tmp_path, silent)
    # Told later, though they happened before T: a late line, and a return of one of two coffees.
    buy(shop, line(20, 3, "bean"), line(20, 4, "bean"))
    back = line(0, 1, "bean", quantity=-1.0, amount=-500, returns_line_id="l-0-5-bean-0")
    buy(shop, back)
    # A run of the same instant, made a week later, knows of them.
    run(shop, tmp_path, silent, made_at=T + 7 * DAY)

    known = membership_known_at(shop, "coffee", T + DAY)
    later = membership_known_at(shop, "coffee", T + 8 * DAY)
    today = membership_recomputed(shop, SETTINGS, "coffee", T)
    before = membership_recomputed(shop, SETTINGS, "coffee", T - 10 * DAY)

    assert known.members == ids(*range(10))
    assert later.members == today.members == ids(*range(1, 10), 20)
    # Ten days earlier each had bought coffee once.
    assert before.members == ()
    with pytest.raises(NothingToDo, match="had no run by 2026-04-30"):
        membership_known_at(shop, "coffee", T - DAY)


def test_who_was_in_a_segment_that_had_ended_is_refused_with_when_and_why(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    store(shop, "coffee", COFFEE)
    store(shop, "vips", {"attribute": "attributes.vip", "is": "=", "value": True})
    run(shop, tmp_path, silent)
    store(shop, "tea", bought(1, 90, category=["TEA"]), at=T + DAY / 2)
    with pytest.raises(NothingToDo, match=r"'tea' was not refreshed .* version 1 was saved after"):
        membership_known_at(shop, "tea", T + DAY / 2)
    store(shop, "coffee", COFFEE, "archived", at=T + DAY / 2)
    with shop.write() as write:
        nobody = [{"customer_id": f"c-{i:02}"} for i in range(CUSTOMERS_MADE)]
        write.merge("customers", CUSTOMERS.from_rows(nobody))
    run(shop, tmp_path, silent, T + DAY)

    assert len(membership_known_at(shop, "coffee", T + DAY / 4).members) == 10
    assert len(membership_known_at(shop, "tea", T + DAY).members) == CUSTOMERS_MADE
    with pytest.raises(NothingToDo, match="'coffee' had been archived since 2026-05-01 12:00 UTC"):
        membership_known_at(shop, "coffee", T + DAY)
    assert len(membership_known_at(shop, "vips", T + DAY / 2).members) == 5
    with pytest.raises(NothingToDo, match=r"not refreshed in run 2026-05-02.*'attributes.vip' is"):
        membership_known_at(shop, "vips", T + DAY)
    store(shop, "coffee", COFFEE, at=T + 2 * DAY)
    with pytest.raises(NothingToDo, match="version 3 was saved after it"):
        membership_known_at(shop, "coffee", T + 2 * DAY)


def test_a_preview_counts_what_can_be_counted_by_hand(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    store(shop, "vips", {"attribute": "attributes.vip", "is": "=", "value": True})
    with pytest.raises(NothingToDo, match="run 'regulars segment', then preview"):
        Preview(shop, SETTINGS.currency)
    run(shop, tmp_path, silent)

    report = Preview(shop, SETTINGS.currency).show(COFFEE)

    assert report.sentence == "bought category COFFEE at least 2 times in the last 30 days"
    assert (report.customers, report.of, report.as_of) == (10, 60, T)
    # Ten bought three times for 5.00, fifty once.
    assert (report.value, report.value_share) == (15_000, 15_000 / 40_000)
    (overlap,) = report.overlaps
    assert (overlap.segment_id, overlap.customers, overlap.both) == ("vips", 5, 5)
    assert (overlap.share_of_this, overlap.share_of_other) == (0.5, 1.0)
    assert report.sample == ids(*range(10))
    nobody = Preview(shop, SETTINGS.currency).show(bought(9, 30))
    assert (nobody.customers, nobody.value, nobody.sample, nobody.distinctions) == (0, 0, (), ())
    # A customer of a rule is also a member by it, whichever way it is evaluated.
    with pytest.raises(InvalidRule, match=r"rule\.feature: 'age' is none of"):
        Preview(shop, SETTINGS.currency).show({"feature": "age", "is": "<", "value": 3})


def test_movement_compares_the_two_newest_runs(
    shop: DuckDbLake, tmp_path: Path, silent: Progress
) -> None:
    store(shop, "coffee", COFFEE)
    store(shop, "vips", {"attribute": "attributes.vip", "is": "=", "value": True})
    run(shop, tmp_path, silent)
    with pytest.raises(NothingToDo, match="movement needs runs of two instants"):
        movement(shop)
    run(shop, tmp_path, silent, T + 400 * DAY)

    report = movement(shop)

    # After 400 days without a purchase everybody is lost.
    lost = [flow for flow in report.migration["lifecycle"] if flow.now == "lost"]
    assert sum(flow.customers for flow in lost) == CUSTOMERS_MADE
    assert {flow.share for flow in lost} == {1.0}
    assert report.drift["lifecycle"].drifted
    assert report.overlap == {"coffee": {"coffee": 0, "vips": 0}, "vips": {"coffee": 0, "vips": 5}}
    # Ten left the segment of coffee lovers, and of the vips nobody.
    moved = {
        name: {(flow.before, flow.now): flow.customers for flow in report.migration[name]}
        for name in ("coffee", "vips")
    }
    assert moved == {
        "coffee": {("member", "not member"): 10, ("not member", "not member"): 50},
        "vips": {("member", "member"): 5, ("not member", "not member"): 55},
    }
    assert report.drift["coffee"].drifted
    assert not report.drift["vips"].drifted
    # An edited rule moves its members by hand; what one run alone refreshed did not move.
    store(shop, "coffee", bought(1, 500, category=["COFFEE"]))
    store(shop, "tea", bought(1, 500, category=["TEA"]))
    run(shop, tmp_path, silent, T + 401 * DAY)
    report = movement(shop)
    assert "changed from version 1 to 2" in report.refused["coffee"]
    assert "coffee" not in report.drift
    entered = {(flow.before, flow.now): flow.customers for flow in report.migration["coffee"]}
    assert entered["not member", "member"] == 10
    assert "did not refresh it" in report.refused["tea"]
    assert "tea" not in report.migration


REFRESH = """
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from rich.console import Console
from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from foundation.settings import Settings
from regulars.jobs.segment import segment
from regulars.progress import Progress
from tests.deployment import Shelf

folder = Path(sys.argv[1])
segment(
    DuckDbLake(folder / "lake"), partial(publish_snapshot, folder / "snapshots"),
    Shelf(), Settings(home=folder), datetime.fromisoformat(sys.argv[2]),
    Progress(Console(quiet=True)),
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("written", ["segments", "memberships", "derived/people"])
def test_a_refresh_killed_at_any_point_leaves_the_old_version_whole(
    shop: DuckDbLake, tmp_path: Path, silent: Progress, written: str
) -> None:
    store(shop, "coffee", COFFEE)
    run(shop, tmp_path, silent)
    before = everything(tmp_path)
    folder = tmp_path / "lake" / written
    old = set(folder.iterdir())
    arguments = [sys.executable, "-c", REFRESH, str(tmp_path), (T + DAY).isoformat()]
    killed = subprocess.Popen(arguments, cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 60
        # Its file of this table has begun to be written, and is in no commit.
        while set(folder.iterdir()) <= old and killed.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.0002)
    finally:
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(30) == -signal.SIGKILL

    assert everything(tmp_path) == before
    # The next run goes on as if nothing had been.
    assert run(DuckDbLake(tmp_path / "lake"), tmp_path, silent, T + DAY).living == {"coffee": 10}


KILLED_LATE = """
import os, signal, sys
from datetime import datetime
from functools import partial
from pathlib import Path
from rich.console import Console
from adapters.duckdb_lake import DuckDbLake
from adapters.lmdb_profiles import publish_snapshot
from foundation.settings import Settings
from regulars.jobs.segment import segment
from regulars.progress import Progress
from tests.deployment import Shelf

folder, after = Path(sys.argv[1]), sys.argv[3]

def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

publish, shelf = partial(publish_snapshot, folder / "snapshots"), Shelf()
if after == "the lake's commit":
    publish = killed
else:
    shelf.publish_offers = killed
segment(
    DuckDbLake(folder / "lake"), publish, shelf, Settings(home=folder),
    datetime.fromisoformat(sys.argv[2]), Progress(Console(quiet=True)),
)
"""


@pytest.mark.parametrize(
    "after", ["the lake's commit", pytest.param("the snapshot", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_run_killed_after_its_commit_stays_in_the_lake_and_the_next_one_heals_what_is_served(
    shop: DuckDbLake, tmp_path: Path, silent: Progress, after: str
) -> None:
    store(shop, "coffee", COFFEE)
    first = run(shop, tmp_path, silent)
    arguments = [sys.executable, "-c", KILLED_LATE, str(tmp_path), (T + DAY).isoformat(), after]
    killed = subprocess.run(arguments, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL

    # Reports know the new run; what is served is whole, of the run before or of the new one.
    lake = DuckDbLake(tmp_path / "lake")
    assert all_runs(lake)[-1].as_of == T + DAY
    assert membership_known_at(lake, "coffee", T + DAY).members == ids(*range(10))
    served = opened(tmp_path / "snapshots").facts()
    assert served.as_of == (T if after == "the lake's commit" else T + DAY)

    again = run(lake, tmp_path, silent, T + DAY)

    assert again.run_id != first.run_id
    healed = opened(tmp_path / "snapshots").facts()
    assert (healed.as_of, healed.version) == (T + DAY, again.snapshot.version)
    # The run made again stands for its instant: nobody is counted twice.
    assert [one.run_id for one in counting(all_runs(lake))] == [first.run_id, again.run_id]
    assert again.living == {"coffee": 10}


def everything(folder: Path) -> tuple[Any, ...]:
    lake = DuckDbLake(folder / "lake")
    preview = Preview(lake, SETTINGS.currency).show(COFFEE)
    facts = opened(folder / "snapshots").facts()
    tables = [lake.fetch(lake.table(name)).to_pylist() for name in ("segments", "memberships")]
    return lake.version, preview, facts, tables
