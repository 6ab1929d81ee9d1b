"""What every lake keeps its word on, whichever engine is behind it.

A new adapter is one more entry of ADAPTERS.
"""

import gc
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest

from foundation.contracts import INTERACTIONS, OFFERS, PRODUCTS, TABLES
from foundation.errors import RegularsError
from foundation.lake import Lake, LakeWrite, Merged

ADAPTERS = {"duckdb": "adapters.duckdb_lake:DuckDbLake"}

MIDNIGHT = datetime(2026, 6, 10, tzinfo=UTC)

ROOT = Path(__file__).parents[2]


def open_lake(adapter: str, folder: Path) -> Lake:
    module, name = ADAPTERS[adapter].split(":")
    return getattr(importlib.import_module(module), name)(folder)


@pytest.fixture(params=sorted(ADAPTERS))
def adapter(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(adapter: str, folder: Path) -> Lake:
    return open_lake(adapter, folder)


def events(*ids: str, at: datetime = MIDNIGHT, **other: Any) -> arrow.Table:
    same = {"customer_id": "c", "at": at, "channel": "app", "kind": "visit", **other}
    return INTERACTIONS.from_rows([{"event_id": i, **same} for i in ids])


def products(**categories: str) -> arrow.Table:
    return PRODUCTS.from_rows([{"product_id": p, "category": c} for p, c in categories.items()])


def put(lake: Lake, table: str, rows: arrow.Table, **how: Any) -> Merged:
    with lake.write() as write:
        return write.merge(table, rows, **how)


def rows_of(lake: Lake, table: str, key: str) -> dict[str, dict[str, Any]]:
    found = lake.fetch(lake.table(table)).to_pylist()
    assert len({row[key] for row in found}) == len(found), "a key is told once"
    return {row[key]: row for row in found}


def event_ids(lake: Lake) -> set[str]:
    return set(rows_of(lake, "interactions", "event_id"))


def data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".parquet", ".draft"))


# ------------------------------------------------------------------------------------- reading


def test_an_empty_lake_has_every_table_under_its_contract_and_version_0(lake: Lake) -> None:
    found = lake.fetch(lake.table("offers"))

    assert lake.version == 0
    assert found.num_rows == 0
    assert found.schema.types == OFFERS.arrow_schema.types
    assert found.column_names == list(OFFERS.names)
    assert lake.note("cursor") is None


def test_a_table_without_a_contract_is_refused_by_name(lake: Lake) -> None:
    with pytest.raises(RegularsError, match="table 'sales' is no contract; choose one of"):
        lake.table("sales")
    with pytest.raises(RegularsError, match="table 'sales' is no contract"), lake.write() as write:
        write.merge("sales", products(a="A"))


def test_rows_in_memory_join_with_the_lakes_own(lake: Lake) -> None:
    put(lake, "products", products(p1="GROCERY", p2="MEAT"))

    wanted = lake.memory(arrow.table({"product_id": ["p2", "p3"], "n": [2, 3]}))
    joined = wanted.left_join(lake.table("products"), "product_id").order_by("n")

    assert lake.fetch(joined)["category"].to_pylist() == ["MEAT", None]


def test_every_type_comes_back_as_it_went_in(lake: Lake) -> None:
    full = {
        "offer_id": "o1", "title": "Größe „L“\n2", "kind": "amount", "reward": 0.1 + 0.2,
        "min_spend": 2**63 - 1, "scope": ["p1", "007", "p,2"], "channels": [], "placements": ["a"],
        "stores": [], "valid_from": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        "valid_to": datetime(9999, 12, 31, tzinfo=UTC),
        "eligibility": '{"all": [{"days": [1, null]}]}', "total_cap": -(2**62), "customer_cap": 0,
        "budget": 5, "stock": 1, "store_stock": '{"s-1": 2}', "cost": -1,
        "funder": "", "priority": 0, "exclusive_group": " ", "combinable": True,
        "campaign_kind": "A", "attribution_days": 28, "lever": 1.5,
    }  # fmt: skip
    bare = {c.name: None if c.nullable else full[c.name] for c in OFFERS.columns}
    bare |= {"offer_id": "o2", "combinable": False}

    put(lake, "offers", OFFERS.from_rows([full, bare]))

    found = rows_of(lake, "offers", "offer_id")
    assert found == {"o1": full, "o2": bare}
    assert lake.fetch(lake.table("offers")).schema.types == OFFERS.arrow_schema.types


def test_rows_of_before_a_column_was_known_have_null_there(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = replace(
        PRODUCTS, columns=tuple(c for c in PRODUCTS.columns if c.name != "subcategory")
    )
    with monkeypatch.context() as earlier:
        earlier.setitem(TABLES, "products", before)
        put(lake, "products", products(p1="GROCERY").drop_columns(["subcategory"]))
    assert rows_of(lake, "products", "product_id")["p1"]["subcategory"] is None

    put(lake, "products", products(p2="MEAT"))

    assert lake.fetch(lake.table("products")).schema.names == PRODUCTS.arrow_schema.names
    assert set(rows_of(lake, "products", "product_id")) == {"p1", "p2"}


def test_a_missing_required_value_is_refused_and_nothing_is_written(lake: Lake) -> None:
    broken = PRODUCTS.from_rows([{"product_id": "p1", "category": None}])

    with pytest.raises(ValueError, match="null"):
        put(lake, "products", broken)

    assert lake.version == 0


# ------------------------------------------------------------------------------------- merging


def test_an_event_is_added_once_however_often_it_is_told(lake: Lake) -> None:
    assert put(lake, "interactions", events("a", "b")) == Merged(2, 0, 0, ())
    version = lake.version

    assert put(lake, "interactions", events("a", "b")) == Merged(0, 2, 0, ())

    assert lake.version == version == 1
    assert put(lake, "interactions", events("b", "c")) == Merged(1, 1, 0, ())
    assert event_ids(lake) == {"a", "b", "c"}


def test_an_event_told_again_with_other_content_is_a_conflict_at_its_position(lake: Lake) -> None:
    put(lake, "interactions", events("a", "b", value=1.0))

    told = arrow.concat_tables([
        events("new", value=1.0),
        events("b", value=2.0),
        events("a", value=1.0),
        events("a", value=None),
    ])  # fmt: skip
    merged = put(lake, "interactions", told)

    assert merged == Merged(new=1, repeated=1, replaced=0, conflicts=(1, 3))
    found = rows_of(lake, "interactions", "event_id")
    assert {i: row["value"] for i, row in found.items()} == {"a": 1.0, "b": 1.0, "new": 1.0}


def test_within_a_batch_an_events_first_telling_stands(lake: Lake) -> None:
    told = arrow.concat_tables(
        [events("a", value=1.0), events("a", value=1.0), events("a", value=9.0), events("b")]
    )

    assert put(lake, "interactions", told) == Merged(2, 1, 0, (2,))
    assert rows_of(lake, "interactions", "event_id")["a"]["value"] == 1.0


def test_a_record_is_replaced_by_its_newest_telling(lake: Lake) -> None:
    put(lake, "products", products(p1="A", p2="A"))

    merged = put(lake, "products", products(p1="B", p2="A", p3="C"))

    assert merged == Merged(new=1, repeated=1, replaced=1, conflicts=())
    found = rows_of(lake, "products", "product_id")
    assert {p: row["category"] for p, row in found.items()} == {"p1": "B", "p2": "A", "p3": "C"}


def test_within_a_batch_a_records_last_telling_stands_and_the_others_are_counted(
    lake: Lake,
) -> None:
    put(lake, "products", products(p1="A"))
    told = arrow.concat_tables(
        [products(p1="B"), products(p1="C"), products(p1="C"), products(p2="X"), products(p2="Y")]
    )

    # As if each row were told alone: p1 A -> B -> C -> C, p2 X -> Y.
    assert put(lake, "products", told) == Merged(new=1, repeated=1, replaced=3, conflicts=())
    found = rows_of(lake, "products", "product_id")
    assert {p: row["category"] for p, row in found.items()} == {"p1": "C", "p2": "Y"}


def test_a_record_that_loses_a_value_is_replaced_too(lake: Lake) -> None:
    with_brand = PRODUCTS.from_rows([{"product_id": "p", "category": "A", "brand": "x"}])
    put(lake, "products", with_brand)

    assert put(lake, "products", products(p="A")).replaced == 1
    assert rows_of(lake, "products", "product_id")["p"]["brand"] is None


def test_several_merges_of_one_commit_see_each_other(lake: Lake) -> None:
    with lake.write() as write:
        assert write.merge("interactions", events("a")).new == 1
        assert write.merge("interactions", events("a", "b")) == Merged(1, 1, 0, ())

    assert lake.version == 1
    assert event_ids(lake) == {"a", "b"}


def test_no_rows_are_no_commit(lake: Lake) -> None:
    assert put(lake, "interactions", events()) == Merged(0, 0, 0, ())
    assert lake.version == 0


def test_counts_add_up_and_the_result_is_that_of_one_row_at_a_time(
    adapter: str, tmp_path: Path
) -> None:
    rng = random.Random(5)
    together = open_lake(adapter, tmp_path / "together")
    singly = open_lake(adapter, tmp_path / "singly")
    for table, key in (("interactions", "event_id"), ("products", "product_id")):
        for _ in range(2):
            ids = [rng.choice("abcdef") for _ in range(8)]
            values = [rng.choice((1.0, 2.0)) for _ in ids]
            batch = arrow.concat_tables(
                events(i, value=v) if table == "interactions" else products(**{i: str(v)})
                for i, v in zip(ids, values, strict=True)
            )
            merged = put(together, table, batch)
            with singly.write() as write:
                alone = [write.merge(table, batch.slice(n, 1)) for n in range(len(ids))]

            assert merged.new == sum(m.new for m in alone)
            assert merged.repeated == sum(m.repeated for m in alone)
            assert merged.replaced == sum(m.replaced for m in alone)
            assert merged.conflicts == tuple(n for n, m in enumerate(alone) if m.conflicts)
            counted = merged.new + merged.repeated + merged.replaced + len(merged.conflicts)
            assert counted == len(ids)
            assert rows_of(together, table, key) == rows_of(singly, table, key)


def test_rows_by_day_stand_in_a_file_for_each_utc_day(lake: Lake, folder: Path) -> None:
    told = arrow.concat_tables([
        events("late", at=MIDNIGHT - timedelta(microseconds=1)),
        events("early", at=MIDNIGHT),
        events("noon", at=MIDNIGHT + timedelta(hours=12)),
    ])  # fmt: skip

    put(lake, "interactions", told, by_day=True)

    assert [file.parent.name for file in data_files(folder)] == ["day=2026-06-09", "day=2026-06-10"]
    assert event_ids(lake) == {"late", "early", "noon"}
    assert lake.fetch(lake.table("interactions")).column_names == list(INTERACTIONS.names)
    # The partitions are a matter of files: an event of another day is still known.
    assert put(lake, "interactions", told, by_day=True) == Merged(0, 3, 0, ())
    assert put(lake, "interactions", events("noon", at=MIDNIGHT)).conflicts == (0,)


# -------------------------------------------------------------------------- one commit, all of it


def test_a_reader_sees_the_old_lake_until_the_commit_ends(
    lake: Lake, adapter: str, folder: Path
) -> None:
    put(lake, "interactions", events("old"))
    reader = open_lake(adapter, folder)
    with lake.write() as write:
        write.merge("interactions", events("new"))
        write.merge("products", products(p="A"))
        write.remember("cursor", "1")
        for other in (reader, lake):
            assert other.version == 1
            assert event_ids(other) == {"old"}
            assert other.note("cursor") is None

    assert reader.version == 2
    assert event_ids(reader) == {"old", "new"}
    assert reader.note("cursor") == "1"


def test_an_error_in_the_block_leaves_nothing(lake: Lake) -> None:
    put(lake, "products", products(p="A"))
    before = lake.digest(["products", "interactions"])

    def fails_late() -> None:
        with lake.write() as write:
            write.merge("products", products(p="B", q="C"))
            write.merge("interactions", events("a"))
            write.remember("cursor", "1")
            write.clear("products")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_late()

    assert lake.version == 1
    assert lake.note("cursor") is None
    assert lake.digest(["products", "interactions"]) == before
    assert set(rows_of(lake, "products", "product_id")) == {"p"}
    # And it does not stand in the way of the next one.
    assert put(lake, "interactions", events("a")).new == 1


def test_a_cleared_table_is_empty_and_may_be_filled_in_the_same_commit(lake: Lake) -> None:
    put(lake, "interactions", events("old", value=1.0))

    with lake.write() as write:
        write.clear("interactions")
        assert write.merge("interactions", events("old", value=2.0)) == Merged(1, 0, 0, ())
    assert rows_of(lake, "interactions", "event_id")["old"]["value"] == 2.0

    with lake.write() as write:
        write.clear("interactions")
    assert event_ids(lake) == set()


def test_a_note_becomes_true_with_the_rows_it_speaks_of(lake: Lake) -> None:
    with lake.write() as write:
        write.merge("interactions", events("a"))
        write.remember("cursor", "17")

    assert (lake.version, lake.note("cursor")) == (1, "17")
    with lake.write() as write:
        write.remember("cursor", "17")
    assert lake.version == 1, "the same note is no news"
    with lake.write() as write:
        write.remember("cursor", "18")
    assert (lake.version, lake.note("cursor"), event_ids(lake)) == (2, "18", {"a"})


# --------------------------------------------------------------------------------- fingerprints


def test_the_digest_changes_with_the_content_of_its_tables_and_with_nothing_else(
    lake: Lake,
) -> None:
    seen = [lake.digest(["interactions"])]
    put(lake, "interactions", events("a"))
    seen.append(lake.digest(["interactions"]))
    put(lake, "interactions", events("b"))
    seen.append(lake.digest(["interactions"]))
    assert len(set(seen)) == 3

    put(lake, "interactions", events("a", "b"))
    put(lake, "products", products(p="A"))
    with lake.write() as write:
        write.remember("cursor", "1")

    assert lake.digest(["interactions"]) == seen[-1]
    assert lake.digest(["products", "interactions"]) == lake.digest(["interactions", "products"])
    assert lake.digest(["products", "interactions"]) != seen[-1]


def test_writing_the_same_content_anew_changes_neither_version_nor_digest(lake: Lake) -> None:
    put(lake, "interactions", events("a", "b"))
    put(lake, "products", products(p="A", q="B"))
    before = (lake.version, lake.digest(["interactions", "products"]))

    with lake.write() as write:
        write.clear("interactions")
        write.merge("interactions", events("a", "b"))
        write.merge("products", products(p="X"))
        write.merge("products", products(p="A"))

    assert (lake.version, lake.digest(["interactions", "products"])) == before
    assert event_ids(lake) == {"a", "b"}


def test_two_lakes_of_the_same_content_have_one_digest(adapter: str, tmp_path: Path) -> None:
    one, other = (open_lake(adapter, tmp_path / name) for name in ("one", "other"))
    for lake in (one, other):
        put(lake, "interactions", events("a", "b"))

    assert one.digest(["interactions"]) == other.digest(["interactions"])


# ------------------------------------------------------------------------------------- sweeping


def test_a_reader_keeps_what_it_holds_while_newer_commits_come(lake: Lake) -> None:
    put(lake, "products", products(p="0"))
    held = lake.table("products")

    # Each replaces the only file of the table; readers are promised the last five commits.
    for n in range(1, 5):
        put(lake, "products", products(p=str(n)))

    assert lake.fetch(held)["category"].to_pylist() == ["0"]
    assert lake.fetch(lake.table("products"))["category"].to_pylist() == ["4"]


def test_files_of_commits_long_gone_are_swept_away(lake: Lake, folder: Path) -> None:
    for n in range(20):
        put(lake, "products", products(p=str(n)))

    assert lake.version == 20
    assert len(data_files(folder)) == 5


def test_a_pinned_reader_keeps_its_commit_however_many_come_after(
    lake: Lake, adapter: str, folder: Path
) -> None:
    put(lake, "products", products(p="0"))
    pinned = open_lake(adapter, folder).pinned()
    for n in range(1, 20):
        put(lake, "products", products(p=str(n)))

    assert pinned.fetch(pinned.table("products"))["category"].to_pylist() == ["0"]
    assert len(data_files(folder)) == 6

    del pinned
    gc.collect()
    put(lake, "products", products(p="20"))
    assert len(data_files(folder)) == 5


def test_what_is_to_be_forgotten_is_dropped_from_under_its_readers(
    lake: Lake, folder: Path
) -> None:
    put(lake, "products", products(p="0"))
    _held = lake.pinned()
    put(lake, "products", products(p="1"))
    lake.drop_history()

    assert len(data_files(folder)) == 1


# ------------------------------------------------------------------ processes that die, or compete


def script(adapter: str, folder: Path, body: str) -> list[str]:
    """Return the command of a process that opens the lake and does `body`."""
    module, name = ADAPTERS[adapter].split(":")
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        f"from {module} import {name}\n"
        "from foundation.contracts import INTERACTIONS\n"
        "from datetime import datetime, UTC\n"
        "def events(*ids):\n"
        "    return INTERACTIONS.from_rows([{'event_id': i, 'customer_id': 'c', 'kind': 'visit',\n"
        "        'at': datetime(2026, 6, 10, tzinfo=UTC), 'channel': 'app'} for i in ids])\n"
        f"lake = {name}(Path({str(folder)!r}))\n"
    )
    return [sys.executable, "-c", code + body]


Spawn = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def spawn(adapter: str, folder: Path) -> Any:
    running: list[subprocess.Popen[str]] = []

    def start(body: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            script(adapter, folder, body), stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def told(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_writer_killed_before_its_commit_leaves_the_old_lake_and_no_rest(
    lake: Lake, folder: Path, spawn: Spawn
) -> None:
    put(lake, "interactions", events("old"))
    before = data_files(folder)
    process = spawn(
        "with lake.write() as write:\n"
        "    write.merge('interactions', events('lost'))\n"
        "    write.remember('cursor', 'lost')\n"
        "    print('merged', flush=True)\n"
        "    time.sleep(60)\n"
    )
    assert told(process) == "merged"
    assert len(data_files(folder)) > len(before), "it was in the midst of writing"

    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    assert lake.version == 1
    assert event_ids(lake) == {"old"}
    assert lake.note("cursor") is None
    # The dead process's lock is gone with it, and so are, after the next commit, its files.
    assert put(lake, "interactions", events("new")).new == 1
    assert event_ids(lake) == {"old", "new"}
    assert len(data_files(folder)) == len(before) + 1


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_rows_and_note_of_one_commit(
    lake: Lake, spawn: Spawn
) -> None:
    rng = random.Random(1)
    body = (
        "n = int(lake.note('told') or 0)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    with lake.write() as write:\n"
        "        write.merge('interactions', events(*(str(n + i) for i in range(50))))\n"
        "        n += 50\n"
        "        write.remember('told', str(n))\n"
    )
    for _ in range(3):
        process = spawn(body)
        assert told(process) == "ready"
        version = lake.version
        while lake.version == version:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

        count = int(lake.note("told") or 0)
        assert event_ids(lake) == {str(n) for n in range(count)}


def test_two_processes_that_write_at_once_both_land(lake: Lake, spawn: Spawn) -> None:
    bodies = [
        "print('ready', flush=True)\n"
        "for n in range(6):\n"
        "    with lake.write() as write:\n"
        f"        write.merge('interactions', events(f'{name}-{{n}}', f'both-{{n}}'))\n"
        f"        write.remember('{name}', str(n))\n"
        for name in ("left", "right")
    ]
    processes = [spawn(body) for body in bodies]

    assert [process.wait(timeout=60) for process in processes] == [0, 0]

    kinds = ("left", "right", "both")
    assert event_ids(lake) == {f"{kind}-{n}" for kind in kinds for n in range(6)}
    assert (lake.note("left"), lake.note("right")) == ("5", "5")
    assert lake.version == 12


def test_a_writer_waits_for_the_one_before_it_and_builds_on_its_commit(
    lake: Lake, adapter: str, folder: Path, spawn: Spawn
) -> None:
    process = spawn(
        "with lake.write() as write:\n"
        "    write.merge('interactions', events('first'))\n"
        "    print('merged', flush=True)\n"
        "    time.sleep(0.5)\n"
    )
    assert told(process) == "merged"

    merged = put(lake, "interactions", events("first", "second"))

    assert merged == Merged(new=1, repeated=1, replaced=0, conflicts=())
    assert lake.version == 2


def write_and_return(write: LakeWrite) -> str:
    write.merge("interactions", events("a"))
    return json.dumps({"done": True})


def test_a_block_left_by_return_is_a_commit_like_any_other(lake: Lake) -> None:
    def job() -> str:
        with lake.write() as write:
            return write_and_return(write)

    assert job() == '{"done": true}'
    assert event_ids(lake) == {"a"}


def test_a_cursor_parts_what_was_read_from_what_came_since(lake: Lake) -> None:
    assert lake.fetch(lake.added("interactions", None).rows).num_rows == 0
    put(lake, "interactions", events("a", "b"))
    first = lake.added("interactions", None)
    assert (first.whole, lake.fetch(first.rows).num_rows) == (True, 2)

    put(lake, "interactions", events("b", "c"))
    put(lake, "interactions", events("d", at=MIDNIGHT + timedelta(days=3)), by_day=True)
    since = lake.added("interactions", first.cursor)
    assert not since.whole
    assert set(lake.fetch(since.rows)["event_id"].to_pylist()) == {"c", "d"}

    nothing = lake.added("interactions", since.cursor)
    assert (nothing.whole, lake.fetch(nothing.rows).num_rows) == (False, 0)
    assert nothing.cursor == since.cursor


def test_a_cursor_into_a_table_laid_afresh_gives_all_of_it(lake: Lake) -> None:
    put(lake, "interactions", events("a", "b"))
    before = lake.added("interactions", None).cursor
    with lake.write() as write:
        write.clear("interactions")
        write.merge("interactions", events("c", "d", "e"))

    anew = lake.added("interactions", before)

    assert anew.whole
    assert set(lake.fetch(anew.rows)["event_id"].to_pylist()) == {"c", "d", "e"}


def test_a_pinned_lake_never_sees_what_comes_later_and_may_still_write(lake: Lake) -> None:
    put(lake, "interactions", events("a"))
    pinned = lake.pinned()
    put(lake, "interactions", events("b"))
    with pinned.write() as write:
        write.merge("interactions", events("c"))
        write.remember("note", "told")

    assert event_ids(pinned) == {"a"}
    assert pinned.version + 2 == lake.version
    assert pinned.note("note") is None
    assert pinned.added("interactions", None).cursor != lake.added("interactions", None).cursor
    assert event_ids(lake) == {"a", "b", "c"}
