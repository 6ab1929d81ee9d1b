"""The event index in the lake: written with each run, read by whoever counts one more event."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.compute

from foundation.counted_events import Source, kept_lines, told_interactions
from foundation.errors import NothingToDo
from foundation.event_index import EventIndex, day_before
from foundation.lake import Lake, LakeWrite

# Made at run time, so that a checker knows none of its functions.
compute: Any = pyarrow.compute

# Columns of codes; a product's own fields follow from its code.
CODED: dict[Source, tuple[str, ...]] = {
    "purchase": ("product", "store", "channel"),
    "interaction": ("kind", "offer", "channel", "touchpoint"),
}
ONE: dict[Source, str] = {"purchase": "order_id", "interaction": "event_id"}
OF_PRODUCT = ("category", "subcategory", "brand")


def write_event_index(
    lake: Lake, write: LakeWrite, customers: Sequence[str], as_of: datetime
) -> None:
    """Derive the index of both sources' events before an instant.

    Args:
        customers: All ids, in the order of the people table.
    """
    sources: dict[Source, Any] = {
        "purchase": kept_lines(lake, as_of),
        "interaction": told_interactions(lake, as_of),
    }
    places = arrow.array(customers, arrow.string())
    for source, events in sources.items():
        values = {name: _values(lake, events, name) for name in CODED[source]}
        for name, coded in values.items():
            write.derive(f"{source}_{name}", coded.to_reader())
        wanted = events.select("customer_id", ONE[source], "at", *CODED[source])
        ordered = lake.stream(wanted.order_by("customer_id", ONE[source]))
        known = {name: values[name][name].combine_chunks() for name in CODED[source]}
        write.derive(
            f"{source}_index",
            arrow.RecordBatchReader.from_batches(
                _schema(source), _coded(ordered, source, places, known, as_of)
            ),
        )


def read_event_index(lake: Lake, source: Source, customers: int) -> EventIndex:
    """Return one source's index as the newest run left it.

    Raises:
        NothingToDo: There was no run yet.
    """
    stored = _stored(lake, f"{source}_index")

    # One at a time: a table of all would be held twice.
    def column(name: str) -> np.ndarray:
        return lake.fetch(stored.select(name))[name].to_numpy()

    day, one = column("day"), column("one")
    starts = np.flatnonzero(np.diff(one, prepend=-1, append=-1))
    codes = np.empty((len(CODED[source]), len(day)), dtype=np.int32)
    fields: dict[str, tuple[int, list[str | None]]] = {}
    for number, coded in enumerate(CODED[source]):
        codes[number] = column(coded)
        values = lake.fetch(_stored(lake, f"{source}_{coded}"))
        for name in values.column_names:
            fields[name] = (number, [None, *values[name].to_pylist()])
    return EventIndex(customers, starts, column("place")[starts[:-1]], day, codes, fields)


def _stored(lake: Lake, name: str) -> Any:
    found = lake.derived(name)
    if found is None:
        raise NothingToDo("no event is indexed yet; run 'regulars segment'")
    return found


def _values(lake: Lake, events: Any, name: str) -> arrow.Table:
    """Return the values of a field by code; a product's with its own fields."""
    names = (name, *OF_PRODUCT) if name == "product" else (name,)
    known = events.filter(events[name].notnull()).select(*names).distinct()
    return lake.fetch(known.order_by(name))


def _schema(source: Source) -> arrow.Schema:
    types = {"place": arrow.int32(), "one": arrow.int32(), "day": arrow.uint16()}
    return arrow.schema(types | dict.fromkeys(CODED[source], arrow.int32()))


def _coded(
    ordered: arrow.RecordBatchReader,
    source: Source,
    places: arrow.Array,
    values: dict[str, arrow.Array],
    as_of: datetime,
) -> Generator[arrow.RecordBatch]:
    schema = _schema(source)
    last, ones = ("", ""), -1
    for told in ordered:
        # Who only ever had an offer sent, and is in no list of customers, is nobody's member.
        batch = told.filter(compute.is_in(told["customer_id"], value_set=places))
        if batch.num_rows == 0:
            continue
        ids, one = batch["customer_id"], batch[ONE[source]]
        place = compute.index_in(ids, value_set=places)
        begins = np.ones(batch.num_rows, dtype=np.int32)
        begins[1:] = compute.or_(
            compute.not_equal(ids[1:], ids[:-1]), compute.not_equal(one[1:], one[:-1])
        ).to_numpy(zero_copy_only=False)
        # A batch may end within an order.
        begins[0] = (ids[0].as_py(), one[0].as_py()) != last
        numbers = np.cumsum(begins, dtype=np.int32) + np.int32(ones)
        last, ones = (ids[-1].as_py(), one[-1].as_py()), int(numbers[-1])
        at = batch["at"].cast(arrow.timestamp("us", tz="UTC")).cast(arrow.int64()).to_numpy()
        codes = [
            # From 1; 0 is unknown.
            compute.add(compute.fill_null(compute.index_in(batch[name], value_set=known), -1), 1)
            for name, known in values.items()
        ]
        columns = [place, arrow.array(numbers), arrow.array(day_before(at, as_of)), *codes]
        yield arrow.RecordBatch.from_arrays(columns, schema=schema)
