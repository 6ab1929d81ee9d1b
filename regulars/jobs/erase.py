"""Erase: what the lake holds of customers who asked to be forgotten goes, or loses their name.

| what stays under her pseudonym | what goes |
| --- | --- |
| purchases, interactions, surveys, decisions: sales, counters and experiments stay right | her |
| without a word she wrote, her features, her basket | identities, consents, groups, values, |
| | forecasts, memberships, what was quarantined of her |

Receipts are made of purchases anew. Ids of events, receipts and answers that quote her id lose that
part, hers and those of others alike, so that what refers to them still does.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import pyarrow as arrow
import pyarrow.compute

from foundation.contracts import DECISIONS, TABLES
from foundation.decision import decode_record
from foundation.lake import Lake
from foundation.pseudonym import Quoted, kept_text, pseudonymous_decision
from regulars.jobs.ingest import decision_row

# Made at run time, so that a checker knows none of its functions.
compute: Any = pyarrow.compute

GONE = ("customers", "identities", "consents", "segments", "forecasts", "values")
# Columns whose ids may quote a customer's, by table; the first is the table's key.
RENAMED = {
    "purchases": ("line_id", "order_id", "returns_line_id"),
    "interactions": ("event_id", "decision_id", "order_id"),
    "surveys": ("response_id",),
}

Change = Callable[[arrow.Table], arrow.Table]


def rows_about(lake: Lake, customer_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the lake's rows about a customer, by table; of memberships her segments by run."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, contract in TABLES.items():
        table: Any = lake.table(name)
        if "customer_id" in contract.names:
            rows = lake.fetch(table.filter(table.customer_id == customer_id)).to_pylist()
        elif name == "memberships":
            hers = table.filter(table.members.contains(customer_id))
            rows = lake.fetch(hers.drop("members")).to_pylist()
        else:
            continue
        if rows:
            found[name] = rows
    return found


def erase_in_lake(lake: Lake, pseudonyms: Mapping[str, str]) -> None:
    """Forget customers in every table, in one commit; what was before it is still on disk."""
    if not pseudonyms:
        return
    quoted = Quoted(pseudonyms)
    with lake.write() as write:
        for name in GONE:
            write.rewrite(name, partial(_without, ids=pseudonyms))
        for name, columns in RENAMED.items():
            unquoted = partial(_unquoted, columns=columns, quoted=quoted, ids=pseudonyms)
            write.rewrite(name, partial(_renamed, unquoted=unquoted, pseudonyms=pseudonyms))
        write.rewrite("decisions", partial(_decisions, quoted=quoted, pseudonyms=pseudonyms))
        write.rewrite("memberships", partial(_members, ids=pseudonyms))
        write.rewrite("quarantine", partial(_quarantined, quoted=quoted, ids=pseudonyms))


def _hers(rows: arrow.Table, ids: Mapping[str, str]) -> Any:
    return compute.is_in(rows["customer_id"], arrow.array(ids, arrow.string()))


def _without(rows: arrow.Table, ids: Mapping[str, str]) -> arrow.Table:
    hers = _hers(rows, ids)
    if "merged_from" in rows.column_names:
        merged = compute.is_in(rows["merged_from"], arrow.array(ids, arrow.string()))
        hers = compute.or_(hers, merged)
    return rows.filter(compute.invert(hers)) if compute.any(hers).as_py() else rows


def _quoting(rows: arrow.Table, column: str, ids: Mapping[str, str]) -> list[int]:
    """Return the rows in which a customer may be quoted; who looks closer decides.

    An id of digits alone is in nearly every receipt's: it is looked for in her own rows.
    """
    may = _hers(rows, ids)
    words = [re.escape(one) for one in ids if not one.isdecimal()]
    if words:
        may = compute.or_(may, compute.match_substring_regex(rows[column], "|".join(words)))
    may = compute.and_(may, compute.is_valid(rows[column]))
    return compute.indices_nonzero(compute.fill_null(may, False)).to_pylist()


def _unquoted(
    rows: arrow.Table, columns: Sequence[str], quoted: Quoted, ids: Mapping[str, str]
) -> arrow.Table:
    """Return rows whose ids quote nobody who is to be forgotten; the same ones where none did."""
    for column in columns:
        places = _quoting(rows, column, ids)
        if not places:
            continue
        values, owners = rows[column].to_pylist(), rows["customer_id"].to_pylist()
        told = {place: quoted.replaced(values[place], owners[place]) for place in places}
        changed = {place: one for place, one in told.items() if values[place] != one}
        if changed:
            rows = _with(rows, column, [changed.get(n, one) for n, one in enumerate(values)])
            if column == columns[0]:
                # Told again since the database forgot her: it is there already.
                there = set(values)
                again = {place for place, one in changed.items() if one in there}
                if again:
                    rows = rows.take([n for n in range(len(values)) if n not in again])
    return rows


def _renamed(rows: arrow.Table, unquoted: Change, pseudonyms: Mapping[str, str]) -> arrow.Table:
    rows = unquoted(rows)
    hers = _hers(rows, pseudonyms)
    if not compute.any(hers).as_py():
        return rows
    names = [pseudonyms.get(one, one) for one in rows["customer_id"].to_pylist()]
    rows = _with(rows, "customer_id", names)
    if "touchpoint" in rows.column_names:
        places = zip(rows["touchpoint"].to_pylist(), hers.to_pylist(), strict=True)
        rows = _with(rows, "touchpoint", [None if of_her else place for place, of_her in places])
    if "text" in rows.column_names:
        texts = zip(rows["text"].to_pylist(), hers.to_pylist(), strict=True)
        rows = _with(rows, "text", [kept_text(text) if of_her else text for text, of_her in texts])
    return rows


def _decisions(rows: arrow.Table, quoted: Quoted, pseudonyms: Mapping[str, str]) -> arrow.Table:
    places = _quoting(rows, "decision_id", pseudonyms)
    if not places:
        return rows
    kept = rows.to_pylist()
    # In the place where they stood: a day's file stays in the order of its telling.
    for place in places:
        record = decode_record(kept[place]["record"])
        own = quoted.replaced(record.decision_id, record.customer_id)
        told = msgspec.structs.replace(record, decision_id=own)
        if record.customer_id in pseudonyms:
            told = pseudonymous_decision(told, pseudonyms[record.customer_id])
        if told != record:
            kept[place] = decision_row(told)
    return DECISIONS.from_rows(kept)


def _members(rows: arrow.Table, ids: Mapping[str, str]) -> arrow.Table:
    lists = rows["members"].to_pylist()
    if not any(not ids.keys().isdisjoint(members) for members in lists):
        return rows
    return _with(rows, "members", [[one for one in named if one not in ids] for named in lists])


def _quarantined(rows: arrow.Table, quoted: Quoted, ids: Mapping[str, str]) -> arrow.Table:
    named = [json.dumps(one, ensure_ascii=False) for one in ids]
    hers = [
        value is not None
        and (
            value in ids
            or any(one in value for one in named)
            or quoted.replaced(value, _owner(value)) != value
        )
        for value in rows["value"].to_pylist()
    ]
    return rows.filter(arrow.array([not one for one in hers])) if any(hers) else rows


def _owner(value: str) -> str:
    """Return the customer that a row of JSON is about, nothing where it is none."""
    try:
        document = json.loads(value)
    except ValueError:
        return ""
    return str(document.get("customer_id")) if isinstance(document, dict) else ""


def _with(rows: arrow.Table, name: str, values: list[Any]) -> arrow.Table:
    place = rows.column_names.index(name)
    field = rows.schema.field(name)
    return rows.set_column(place, field, arrow.array(values, field.type))
