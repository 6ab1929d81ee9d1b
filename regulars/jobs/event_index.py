"""The event index in the lake: written with each run, read by whoever counts one more event."""

from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any, TypeAlias

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
# From 1, in the order in which values were met.
Codes: TypeAlias = dict[str, int]
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
    place = np.arange(len(customers), dtype=np.int32)
    ids = arrow.array(customers, arrow.string())
    places = lake.memory(arrow.table({"customer_id": ids, "place": place}))
    for source, events in sources.items():
        # Who only ever had an offer sent, and is in no list of customers, is nobody's member.
        placed = events.inner_join(places, "customer_id")
        wanted = placed.select("place", ONE[source], "at", *CODED[source])
        ordered = lake.stream(wanted.order_by("place", ONE[source]))
        known: dict[str, Codes] = {name: {} for name in CODED[source]}
        write.derive(
            f"{source}_index",
            arrow.RecordBatchReader.from_batches(
                _schema(source), _coded(ordered, source, known, as_of)
            ),
        )
        for name, codes in known.items():
            write.derive(f"{source}_{name}", _values(lake, name, codes).to_reader())


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
    edge = one.dtype.type(-1)
    starts = np.flatnonzero(np.diff(one, prepend=edge, append=edge))
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


def _values(lake: Lake, name: str, codes: Codes) -> arrow.Table:
    """Return the values of a field by code; a product's with its own fields."""
    values = arrow.table({name: arrow.array(codes, arrow.string())})
    if name != "product":
        return values
    code = np.arange(values.num_rows, dtype=np.int32)
    coded: Any = lake.memory(values.append_column("code", arrow.array(code)))
    products = lake.table("products").select(*OF_PRODUCT, product="product_id")
    told = coded.left_join(products, "product").order_by("code")
    return lake.fetch(told.select("product", *OF_PRODUCT))


def _schema(source: Source) -> arrow.Schema:
    types = {"place": arrow.int32(), "one": arrow.int32(), "day": arrow.uint16()}
    return arrow.schema(types | dict.fromkeys(CODED[source], arrow.int32()))


def _coded(
    ordered: arrow.RecordBatchReader,
    source: Source,
    known: dict[str, Codes],
    as_of: datetime,
) -> Generator[arrow.RecordBatch]:
    schema = _schema(source)
    last, ones = (-1, ""), -1
    for batch in ordered:
        place, one = batch["place"].to_numpy(), batch[ONE[source]]
        begins = np.ones(batch.num_rows, dtype=np.int32)
        begins[1:] = np.diff(place) != 0
        begins[1:] |= compute.not_equal(one[1:], one[:-1]).to_numpy(zero_copy_only=False)
        # A batch may end within an order.
        begins[0] = (place[0], one[0].as_py()) != last
        numbers = np.cumsum(begins, dtype=np.int32) + np.int32(ones)
        last, ones = (int(place[-1]), one[-1].as_py()), int(numbers[-1])
        at = batch["at"].cast(arrow.timestamp("us", tz="UTC")).cast(arrow.int64()).to_numpy()
        codes = [_numbered(batch[name], codes) for name, codes in known.items()]
        columns = [batch["place"], arrow.array(numbers), arrow.array(day_before(at, as_of)), *codes]
        yield arrow.RecordBatch.from_arrays(columns, schema=schema)


def _numbered(values: Any, codes: Codes) -> np.ndarray:
    """Return the code of each value, after numbering the new ones; 0 is unknown."""
    found = values.dictionary_encode()
    numbers = [codes.setdefault(value, len(codes) + 1) for value in found.dictionary.to_pylist()]
    # What is unknown is -1, and so the last.
    return np.array([*numbers, 0], dtype=np.int32)[found.indices.fill_null(-1).to_numpy()]
