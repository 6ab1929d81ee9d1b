"""Who is forgotten is named nowhere in the lake, and every sum stays what it was."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as arrow
import pytest
from pyarrow import parquet

from adapters.duckdb_lake import DuckDbLake
from adapters.traces import Traces, search_lake
from experiments.report import Report
from foundation.contracts import QUARANTINE, TABLES
from foundation.decision import (
    Assignment,
    Context,
    DecisionRecord,
    Policy,
    Versions,
    decode_record,
    encode,
)
from foundation.pseudonym import PREFIX, new_pseudonym
from regulars.jobs.candidates import everyone
from regulars.jobs.consents import loaded_consents
from regulars.jobs.customers import customer_features
from regulars.jobs.erase import RENAMED, erase_in_lake, rows_about
from regulars.jobs.ingest import decision_row
from regulars.jobs.receipts import refresh_receipts
from regulars.jobs.report import experiment_report
from tests.jobs.test_report_whole import DAY, PEOPLE, START, event, line, plan, put, segmented

HER, OTHER = "c-001", "c-003"


def decision(customer_id: str, variant: str) -> dict[str, Any]:
    record = DecisionRecord(
        decision_id=f"d-{customer_id}", customer_id=customer_id, at=START, channel="app",
        placements=[], context=Context("s-1"), known=True, vector=[3.0], affinity=b"12",
        assignments=[Assignment("latte", variant, customer_id)], policy=Policy("response"),
        scores={}, refusals={}, slates=[], seed=1, propensity_valid=True, causes=[],
        versions=Versions(1, None, None),
    )  # fmt: skip
    return decision_row(record)


@pytest.fixture
def shop(lake: DuckDbLake) -> DuckDbLake:
    """A house in which one customer has left something in every table."""
    offer = {
        "offer_id": "o-1", "title": "80 off", "kind": "amount", "reward": 80.0, "min_spend": 0,
        "scope": [], "channels": [], "placements": [], "stores": [], "valid_from": START,
        "valid_to": START + 60 * DAY, "cost": 80, "priority": 0, "combinable": True,
    }  # fmt: skip
    put(lake, "offers", offer)
    put(lake, "customers", *({"customer_id": c} for c, _ in PEOPLE))
    put(lake, "decisions", *(decision(c, v) for c, v in PEOPLE))
    put(lake, "segments", *segmented(START - DAY, set()))
    put(lake, "purchases", *(line(c, START + DAY, 900 + n) for n, (c, _) in enumerate(PEOPLE)))
    put(lake, "interactions", event("e-1", HER, "redeem", START + DAY, text="I am Ana"))
    put(lake, "interactions", event("e-2", OTHER, "redeem", START + DAY, text="I am Bea"))
    for c in (HER, OTHER):
        identity = {"claim_id": f"i-{c}-1", "kind": "card", "value": "4711", "customer_id": c}
        put(lake, "identities", {**identity, "at": START})
        answer = {"consent_id": f"a-{c}-1", "customer_id": c, "channel": "email"}
        put(lake, "consents", {**answer, "granted": True, "at": START})
        survey = {"response_id": f"s-{c}-1", "customer_id": c, "instrument": "nps", "score": 9.0}
        put(lake, "surveys", {**survey, "at": START, "scale": 10.0, "text": "Ana here"})
    # A merge: her card was another's before.
    merged = {"claim_id": "i-3", "kind": "card", "value": "4712", "customer_id": "c-005"}
    put(lake, "identities", {**merged, "at": START, "merged_from": HER})
    members = {"membership_id": "m-1", "run_id": "r", "segment_id": "gold", "version": 1}
    put(lake, "memberships", {**members, "as_of": START, "at": START, "members": [OTHER, HER]})
    for n, value in enumerate((f'{{"customer_id":"{HER}","at":"soon"}}', HER, OTHER)):
        put(
            lake, QUARANTINE.name,
            {
                "fault_id": f"f-{n}", "source": "x.csv", "table": "purchases", "source_line": n + 1,
                "column": "at", "value": value, "reason": "no time", "at": START,
            },
        )  # fmt: skip
    refresh_receipts(lake)
    return lake


def reported(lake: DuckDbLake) -> Report:
    return experiment_report(lake, plan(segments=[]), START + 21 * DAY)


def named(folder: Path, customer_id: str) -> list[str]:
    told = Traces()
    search_lake(told, customer_id, folder)
    return told.found


def test_a_forgotten_customer_is_named_in_no_file(shop: DuckDbLake, tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    tables = {one.split("/")[0].split()[1] for one in named(folder, HER)}
    assert tables == {
        "customers", "identities", "consents", "segments", "purchases", "interactions", "surveys",
        "decisions", "memberships", "quarantine", "receipts",
    }  # fmt: skip
    before = len(named(folder, OTHER))

    erase_in_lake(shop, {HER: new_pseudonym()})
    refresh_receipts(shop)
    # A reader may be at an older commit, until the run that forgets her is over.
    assert named(folder, HER)
    shop.drop_history()

    assert named(folder, HER) == []
    assert len(named(folder, OTHER)) == before
    assert rows_about(shop, HER) == {}
    assert rows_about(shop, OTHER).keys() >= {"customers", "purchases", "memberships"}


def test_digits_in_a_record_are_hers_only_where_they_name_her(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    folder.mkdir()
    rows = {
        "record": ['{"customer_id":"2","offers":["1029"],"drawn":1029}', '{"customer_id":"1029"}'],
        "experiments": ['[{"key":"k","unit":"1029"}]', '[{"key":"1029","unit":"2"}]'],
    }
    parquet.write_table(arrow.table(rows), folder / "decisions.parquet")
    told = Traces()
    search_lake(told, "1029", folder)
    places = [f"lake decisions.parquet column {name}: 1" for name in ("record", "experiments")]
    assert (told.found, told.coincidences) == (places, places)


def test_sums_and_experiments_stay_what_they_were(shop: DuckDbLake) -> None:
    before, rows = reported(shop), {n: shop.fetch(shop.table(n)).num_rows for n in TABLES}

    pseudonym = new_pseudonym()
    erase_in_lake(shop, {HER: pseudonym})
    refresh_receipts(shop)

    after = reported(shop)
    assert after.metrics == before.metrics
    assert after.healthy
    counted = {n: shop.fetch(shop.table(n)).num_rows for n in TABLES}
    gone = {"customers": 1, "consents": 1, "identities": 2, "segments": 1, "quarantine": 2}
    assert counted == {name: count - gone.get(name, 0) for name, count in rows.items()}
    [row] = shop.fetch(
        shop.table("decisions").filter(lambda t: t.customer_id == pseudonym)
    ).to_pylist()
    kept = decode_record(row["record"])
    assert (kept.vector, kept.affinity, kept.known, row["known"]) == (None, None, False, False)
    assert kept.assignments == [Assignment("latte", "on", pseudonym)]
    assert msgspec.json.decode(row["experiments"])[0]["unit"] == pseudonym
    words = shop.fetch(shop.table("interactions").order_by("event_id"))["text"].to_pylist()
    assert words == [None, "I am Bea"]


LONGER = "c-001-b"


@pytest.fixture
def quoting(shop: DuckDbLake) -> DuckDbLake:
    """The house, whose callers made ids of events, receipts and answers out of customers' ids."""
    for customer, name in ((HER, HER), (OTHER, OTHER), (LONGER, LONGER), (OTHER, "c-0012")):
        receipt = {"order_id": f"{name}/r", "at": START + 3 * DAY}
        bought = line(customer, START + 3 * DAY, 500, name)
        back = line(customer, START + 4 * DAY, -500, name)
        put(
            shop, "purchases",
            {**bought, **receipt, "line_id": f"{name}/r/1"},
            {**back, "order_id": f"{name}/back", "line_id": f"{name}/back/1",
             "returns_line_id": f"{name}/r/1"},
        )  # fmt: skip
        told = {"order_id": f"{name}/r", "decision_id": f"d-{customer}"}
        put(shop, "interactions", event(f"app_{name}:1", customer, "view", START + 3 * DAY, **told))
        survey = {"response_id": f"{name}.2", "customer_id": customer, "instrument": "nps"}
        put(shop, "surveys", {**survey, "score": 9.0, "at": START, "scale": 10.0})
    # Somebody else brought her, by an event and a decision of its own.
    put(shop, "interactions", event(f"brought:{HER}", OTHER, "view", START, decision_id=f"x-{HER}"))
    put(shop, "decisions", decision(OTHER, "on") | {"decision_id": f"x-{HER}"} | recorded(OTHER))
    told = {"source": "outcomes", "table": "interactions", "source_line": 1, "column": "at"}
    for n, who in enumerate((HER, LONGER, OTHER)):
        value = msgspec.json.encode({"event_id": f"app_{who}:7", "customer_id": None}).decode()
        fault = {"fault_id": f"q-{n}", "value": value, "reason": "no time", "at": START}
        put(shop, QUARANTINE.name, told | fault)
    refresh_receipts(shop)
    return shop


def recorded(customer_id: str) -> dict[str, Any]:
    record = decode_record(decision(customer_id, "on")["record"])
    return {"record": encode(msgspec.structs.replace(record, decision_id=f"x-{HER}")).decode()}


JOINS = {
    "events of decisions": ("interactions", "decision_id", "decisions", "decision_id"),
    "events of receipts": ("interactions", "order_id", "receipts", "order_id"),
    "returns of lines": ("purchases", "returns_line_id", "purchases", "line_id"),
}


def joined(lake: DuckDbLake) -> dict[str, int]:
    """How many rows of one table find theirs in another."""

    def values(table: str, column: str) -> list[Any]:
        return lake.fetch(lake.table(table).select(column))[column].to_pylist()

    found: dict[str, int] = {}
    for name, (table, column, other, key) in JOINS.items():
        there = set(values(other, key))
        found[name] = sum(one in there for one in values(table, column) if one is not None)
    return found


def test_ids_that_quote_her_lose_that_part_and_still_find_each_other(
    quoting: DuckDbLake, tmp_path: Path
) -> None:
    folder = tmp_path / "lake"
    quoting.drop_history()
    before, told = joined(quoting), named(folder, HER)
    assert min(before.values()) >= 4
    for column in ("line_id", "returns_line_id", "order_id", "event_id", "decision_id"):
        assert any(one.split(":")[0].endswith(f"column {column}") for one in told), column
    others = {who: named(folder, who) for who in (LONGER, "c-0012")}
    rows = {name: quoting.fetch(quoting.table(name)).num_rows for name in RENAMED}

    pseudonym = new_pseudonym()
    erase_in_lake(quoting, {HER: pseudonym})
    refresh_receipts(quoting)
    quoting.drop_history()

    assert named(folder, HER) == []
    assert joined(quoting) == before
    assert {n: quoting.fetch(quoting.table(n)).num_rows for n in RENAMED} == rows
    # Whose id begins alike, or holds hers, is where she was: also her quarantined row.
    assert {who: len(named(folder, who)) for who in others} == {
        who: len(found) for who, found in others.items()
    }
    events = set(quoting.fetch(quoting.table("interactions"))["event_id"].to_pylist())
    assert {
        f"app_{pseudonym}:1",
        f"brought:{pseudonym}",
        f"app_{LONGER}:1",
        "app_c-0012:1",
    } <= events
    for row in quoting.fetch(quoting.table("decisions")).to_pylist():
        assert decode_record(row["record"]).decision_id == row["decision_id"]


def test_an_event_told_again_before_the_night_is_in_the_lake_once(quoting: DuckDbLake) -> None:
    pseudonym = new_pseudonym()
    # The database forgot her by day, and what it told of her since came in under the pseudonym.
    by_day = event(f"late:{pseudonym}", pseudonym, "view", START + 5 * DAY)
    put(quoting, "interactions", by_day, event(f"late:{HER}", HER, "view", START + 5 * DAY))
    erase_in_lake(quoting, {HER: pseudonym})
    events = quoting.fetch(quoting.table("interactions"))["event_id"].to_pylist()
    assert events.count(f"late:{pseudonym}") == 1
    assert len(set(events)) == len(events)


def test_digits_that_are_her_id_are_taken_out_of_her_own_rows_alone(lake: DuckDbLake) -> None:
    put(lake, "interactions", event("7-view-1", "7", "view", START))
    put(lake, "interactions", event("8-view-7", "8", "view", START))
    pseudonym = new_pseudonym()
    erase_in_lake(lake, {"7": pseudonym})
    events = set(lake.fetch(lake.table("interactions"))["event_id"].to_pylist())
    assert events == {f"{pseudonym}-view-1", "8-view-7"}


def test_what_stays_is_no_customer(shop: DuckDbLake) -> None:
    erase_in_lake(shop, {HER: new_pseudonym()})
    names = {*everyone(shop), *customer_features(shop, START + 2 * DAY).index}
    assert len(names) == len(PEOPLE) - 1
    assert not any(one.startswith(PREFIX) for one in names)


def test_nobody_to_forget_is_no_commit(shop: DuckDbLake) -> None:
    version = shop.version
    erase_in_lake(shop, {})
    erase_in_lake(shop, {"nobody": new_pseudonym()})
    assert shop.version == version


def test_an_event_told_again_after_it_is_still_the_same_one(shop: DuckDbLake) -> None:
    pseudonym = new_pseudonym()
    erase_in_lake(shop, {HER: pseudonym})
    again = event("e-1", pseudonym, "redeem", START + DAY)
    with shop.write() as write:
        merged = write.merge("interactions", TABLES["interactions"].from_rows([again]))
    assert (merged.new, merged.repeated, merged.conflicts) == (0, 1, ())


def test_consents_of_the_lake_are_each_ones_newest_answer_by_then(lake: DuckDbLake) -> None:
    hour = timedelta(hours=1)
    answers = [(START, True), (START + hour, False), (START + 2 * hour, True)]
    hers = {"customer_id": HER, "channel": "email"}
    for n, (at, granted) in enumerate(answers):
        put(lake, "consents", {**hers, "consent_id": f"a-{n}", "granted": granted, "at": at})
    [found] = loaded_consents(lake, START + hour)
    assert (found.granted, found.at, found.source) == (False, START + hour, "lake")
    assert loaded_consents(lake, START - hour) == []
