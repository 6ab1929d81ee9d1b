"""Offers one at a time: written into the lake, then into the live catalogue.

The lake holds what nights, training and reports read; the catalogue what is decided with. The lake
comes first: a run that publishes meanwhile finds there what it must not overwrite. Where this ends
between the two, the same request again does the rest.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd

from adapters.postgres_offers import PostgresOffers
from foundation.contracts import OFFERS
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from foundation.rules import UnknownName, Vocabulary, read_rule
from regulars.jobs.customers import registry
from regulars.jobs.living_segments import active, known_attributes
from regulars.jobs.publish import WITHDRAWN, catalogue_offers, popularity, withdrawn
from segmentation.living import check_groups
from serving.errors import InvalidField


def put_offer(
    lake: Lake, offers: PostgresOffers, row: dict[str, Any], now: datetime
) -> dict[str, Any]:
    """Write an offer, whole, and return it as the catalogue keeps it.

    Args:
        row: Of the offers contract; its rule and its pieces by store decoded.

    Raises:
        InvalidField: It breaks a rule of the contract.
        StoreUnavailable: Somebody else writes into the lake for too long.
    """
    stored = {**row}
    for name in ("eligibility", "store_stock"):
        stored[name] = None if row[name] is None else json.dumps(row[name])
    for fault in OFFERS.faults(pd.DataFrame([stored], dtype=object)):
        raise InvalidField(
            f"offer {row['offer_id']!r}: {fault.column} {fault.value!r} {fault.reason}",
            fault.column,
        )
    with lake.write() as write:
        write.merge(OFFERS.name, OFFERS.from_rows([stored]))
        _withdraw(lake, write.remember, withdrawn(lake) - {row["offer_id"]})
    found = next(one for one in catalogue_offers(lake) if one["offer_id"] == row["offer_id"])
    before = offers.one(row["offer_id"])
    if before != found:
        new = before is None
        offers.put(found, popularity(lake, [found], now)[row["offer_id"]] if new else None, now)
    return found


def withdraw_offer(lake: Lake, offers: PostgresOffers, offer_id: str, now: datetime) -> int:
    """Offer it no more; its row stays for the history. Return how many hold it activated.

    Raises:
        StoreUnavailable: Somebody else writes into the lake for too long.
    """
    with lake.write() as write:
        _withdraw(lake, write.remember, withdrawn(lake) | {offer_id})
    return offers.remove(offer_id, now)


def _withdraw(lake: Lake, remember: Callable[[str, str], None], offer_ids: frozenset[str]) -> None:
    if offer_ids != withdrawn(lake):
        remember(WITHDRAWN, json.dumps(sorted(offer_ids)))


def lake_vocabulary(lake: Lake) -> Vocabulary:
    """Return what the next run will know: every event can be counted, every segment is there."""
    return Vocabulary(
        [feature.name for feature in registry(lake)],
        (*SEGMENTATIONS, *active(lake)),
        known_attributes(lake),
    )


def rule_waits(document: Any, lake: Lake, live: Vocabulary | None) -> str | None:
    """Return what a rule asks for that the live snapshot lacks and the next one has, if anything.

    Args:
        live: What the live snapshot knows; None where there is none.

    Raises:
        InvalidRule: It is none, or asks for what nobody knows.
        InvalidSegment: It asks for a group that there is not.
    """
    check_groups(read_rule(document, lake_vocabulary(lake)))
    if live is None:
        return "no customer snapshot is published; run 'regulars segment'"
    try:
        read_rule(document, live)
    except UnknownName as error:
        return str(error)
    return None
