"""An offer of the lake becomes one of the catalogue, whenever it was written."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from foundation.contracts import OFFERS
from foundation.offer import read_offer

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def row(**changed: Any) -> dict[str, Any]:
    return {
        "offer_id": "o-1", "title": "Coffee", "kind": "amount", "reward": 100.0, "min_spend": 0,
        "scope": [], "channels": [], "placements": [], "stores": [], "valid_from": NOW,
        "valid_to": NOW, "cost": 80, "priority": 0, "combinable": True, **changed,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "lever"), [({}, 1.0), ({"lever": None}, 1.0), ({"lever": 2.0}, 2.0)]
)
def test_an_offer_without_a_lever_weighs_as_it_earns(written: dict[str, Any], lever: float) -> None:
    document = row(
        valid_from=NOW.isoformat(), valid_to=NOW.isoformat(), eligibility=None,
        customer_cap=None, exclusive_group=None, campaign_kind=None, **written,
    )  # fmt: skip

    assert read_offer(document, 0.1).lever == lever


@pytest.mark.parametrize(("lever", "faults"), [(None, 0), (0.5, 0), (2.0, 0), (0.4, 1), (2.1, 1)])
def test_a_lever_out_of_bounds_goes_to_quarantine(lever: float | None, faults: int) -> None:
    frame = pd.DataFrame([row(lever=lever)]).reindex(columns=list(OFFERS.names))
    frame["lever"] = frame["lever"].astype("float64")

    found = [fault for fault in OFFERS.faults(frame) if fault.column == "lever"]

    assert len(found) == faults
