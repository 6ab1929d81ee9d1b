"""Consents: what the lake was told of them, as the answers that hold now."""

from datetime import datetime
from typing import Any

import ibis

from foundation.consent import ConsentAnswer
from foundation.contracts import CONSENTS
from foundation.lake import Lake

WHO = "regulars segment"
SOURCE = "lake"


def loaded_consents(lake: Lake, at: datetime) -> list[ConsentAnswer]:
    """Return each customer's newest answer by channel that the lake holds at an instant."""
    table: Any = lake.table(CONSENTS.name)
    told = table.filter(table["at"] <= ibis.literal(at)).order_by("at", "consent_id")
    rows = lake.fetch(told).to_pylist()
    newest = {(row["customer_id"], row["channel"]): row for row in rows}
    return [
        ConsentAnswer(row["customer_id"], row["channel"], row["granted"], row["at"], WHO, SOURCE)
        for row in newest.values()
    ]
