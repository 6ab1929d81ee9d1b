"""The lake's decisions as they were recorded, and the zones of the customers they were for."""

from collections.abc import Iterator
from typing import Any

from foundation.decision import DecisionRecord, decode_record
from foundation.lake import Lake


def decision_records(lake: Lake, decisions: Any = None) -> Iterator[DecisionRecord]:
    """Yield decisions in the order of time.

    Args:
        decisions: Some rows of the lake's table of them; all where it is left out.
    """
    asked = lake.table("decisions") if decisions is None else decisions
    for batch in lake.stream(asked.order_by("at", "decision_id").select("record")):
        for text in batch["record"]:
            yield decode_record(text.as_py())


def time_zones(lake: Lake) -> dict[str, str | None]:
    """Return each customer's own time zone, None where she has none."""
    rows = lake.fetch(lake.table("customers").select("customer_id", "time_zone")).to_pydict()
    return dict(zip(rows["customer_id"], rows["time_zone"], strict=True))
