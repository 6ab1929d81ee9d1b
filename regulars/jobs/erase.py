"""Erase: what the lake holds of customers who asked to be forgotten goes, or loses their name.

| what stays under her pseudonym | what goes |
| --- | --- |
| purchases, interactions, surveys, decisions: sales, counters and experiments stay right | her |
| without a word she wrote, her features, her basket | identities, consents, groups, values, |
| | forecasts, memberships, what was quarantined of her |

Receipts are made of purchases anew.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pyarrow as arrow
import pyarrow.compute

from foundation.contracts import DECISIONS, TABLES
from foundation.decision import decode_record
from foundation.lake import Lake
from foundation.pseudonym import kept_text, pseudonymous_decision
from regulars.jobs.ingest import decision_row

# Made at run time, so that a checker knows none of its functions.
compute: Any = pyarrow.compute

GONE = ("customers", "identities", "consents", "segments", "forecasts", "values")
RENAMED = ("purchases", "interactions", "surveys")

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
    with lake.write() as write:
        for name in GONE:
            write.rewrite(name, partial(_without, ids=pseudonyms))
        for name in RENAMED:
            write.rewrite(name, partial(_renamed, pseudonyms=pseudonyms))
        write.rewrite("decisions", partial(_decisions, pseudonyms=pseudonyms))
        write.rewrite("memberships", partial(_members, ids=pseudonyms))
        write.rewrite("quarantine", partial(_quarantined, ids=pseudonyms))


def _hers(rows: arrow.Table, ids: Mapping[str, str]) -> Any:
    return compute.is_in(rows["customer_id"], arrow.array(ids, arrow.string()))


def _without(rows: arrow.Table, ids: Mapping[str, str]) -> arrow.Table:
    hers = _hers(rows, ids)
    if "merged_from" in rows.column_names:
        merged = compute.is_in(rows["merged_from"], arrow.array(ids, arrow.string()))
        hers = compute.or_(hers, merged)
    return rows.filter(compute.invert(hers)) if compute.any(hers).as_py() else rows


def _renamed(rows: arrow.Table, pseudonyms: Mapping[str, str]) -> arrow.Table:
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


def _decisions(rows: arrow.Table, pseudonyms: Mapping[str, str]) -> arrow.Table:
    hers = _hers(rows, pseudonyms)
    if not compute.any(hers).as_py():
        return rows
    told = [
        decision_row(
            pseudonymous_decision(decode_record(row["record"]), pseudonyms[row["customer_id"]])
        )
        for row in rows.filter(hers).to_pylist()
    ]
    # In the place where they stood: a day's file stays in the order of its telling.
    changed = iter(told)
    kept = rows.to_pylist()
    return DECISIONS.from_rows(
        [next(changed) if r["customer_id"] in pseudonyms else r for r in kept]
    )


def _members(rows: arrow.Table, ids: Mapping[str, str]) -> arrow.Table:
    lists = rows["members"].to_pylist()
    if not any(not ids.keys().isdisjoint(members) for members in lists):
        return rows
    return _with(rows, "members", [[one for one in named if one not in ids] for named in lists])


def _quarantined(rows: arrow.Table, ids: Mapping[str, str]) -> arrow.Table:
    named = [json.dumps(one, ensure_ascii=False) for one in ids]
    hers = [
        value is not None and (value in ids or any(one in value for one in named))
        for value in rows["value"].to_pylist()
    ]
    return rows.filter(arrow.array([not one for one in hers])) if any(hers) else rows


def _with(rows: arrow.Table, name: str, values: list[Any]) -> arrow.Table:
    place = rows.column_names.index(name)
    field = rows.schema.field(name)
    return rows.set_column(place, field, arrow.array(values, field.type))
