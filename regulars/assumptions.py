"""What stands in for what the data do not say, declared once and shown beside every figure."""

import json
from typing import Any

from foundation.lake import Lake


def assumed(lake: Lake, name: str, otherwise: Any) -> Any:
    """Return an assumption's value, `otherwise` where none is declared."""
    table = lake.table("assumptions")
    rows = lake.fetch(table.filter(table.name == name)).to_pylist()
    return json.loads(rows[0]["value"]) if rows else otherwise


def statements(lake: Lake) -> list[str]:
    """Return every declared assumption as a sentence."""
    rows = lake.fetch(lake.table("assumptions").order_by("name")).to_pylist()
    return [str(row["statement"]) for row in rows]
