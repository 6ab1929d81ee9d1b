"""What stands in for what the data do not say, declared once and shown beside every figure."""

import json
from typing import Any

from foundation.lake import Lake
from segmentation.customer_value import Horizon


def assumed(lake: Lake, name: str, otherwise: Any) -> Any:
    """Return an assumption's value, `otherwise` where none is declared."""
    table = lake.table("assumptions")
    rows = lake.fetch(table.filter(table.name == name)).to_pylist()
    return json.loads(rows[0]["value"]) if rows else otherwise


def margin_rate(lake: Lake) -> float:
    """Return the margin rate where neither line nor product has one: declared, or all of sales."""
    return float(assumed(lake, "margin_rate", 1.0))


def value_horizon(lake: Lake) -> Horizon:
    """Return over which weeks value is counted and how it is discounted: a year and 10 %."""
    return Horizon(
        weeks=float(assumed(lake, "value_weeks", 52)),
        annual_discount=float(assumed(lake, "annual_discount", 0.1)),
    )


def statements(lake: Lake) -> list[str]:
    """Return every assumption that figures rest on as a sentence."""
    rows = lake.fetch(lake.table("assumptions").order_by("name")).to_pylist()
    told = [str(row["statement"]) for row in rows]
    if not any(row["name"] == "margin_rate" for row in rows):
        told.append(
            "no margin_rate is declared: where lines and products have no margin, net sales count "
            "whole"
        )
    return told
