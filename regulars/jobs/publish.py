"""Publish: what the running service works with, made of a run of the segment job."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS, Explanation, Profile, SnapshotFacts
from foundation.rule_profile import Attribute
from foundation.rules import MEMBER, AttributeKind
from foundation.taken_back import standing, with_taken_back
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.affinity import affinities
from recommender.next_products import NextProducts
from regulars.jobs.living_segments import Refreshed

# Ways in which an offer reaches a customer.
SHOWN = ("sent", "impression", "view")
# Weight of the average redemption rate in an offer's own, in exposures: a new offer starts there.
PRIOR_EXPOSURES = 50
# The lake's note of the offers that were withdrawn.
WITHDRAWN = "withdrawn offers"


class SnapshotPublisher(Protocol):
    """Writes a snapshot and makes it live."""

    def __call__(
        self,
        profiles: Iterator[Profile],
        *,
        as_of: datetime,
        names: tuple[str, ...],
        feature_hash: str,
        living: Collection[str],
        attributes: Mapping[str, Collection[AttributeKind]],
        counts: Collection[str],
        next_products: NextProducts,
        offers: Collection[str],
        explanation: Explanation | None,
    ) -> SnapshotFacts: ...


class Operations(Protocol):
    """What the running service works with, beside the snapshot."""

    def publish_offers(
        self, offers: Sequence[dict[str, Any]], popularity: dict[str, float]
    ) -> bool:
        """Make offers the catalogue's; True when that changed anything."""
        ...

    def audiences(self) -> Sequence[dict[str, Any]]:
        """Return the audiences of running experiments, rules as written."""
        ...

    def told_redemptions(self) -> Iterable[str]:
        """Return the event_ids of all redemptions that the service counts itself."""
        ...


def profiles(
    lake: Lake,
    values: pd.DataFrame,
    groups: pd.DataFrame,
    attributes: Sequence[dict[str, Attribute]],
    refreshed: Refreshed,
    redemptions: Mapping[str, dict[str, int]],
    affinity: np.ndarray,
    reasons: np.ndarray,
    remaining: Sequence[float | None],
) -> Iterator[Profile]:
    """Yield every customer's profile.

    Args:
        values: Her features, in the order of the snapshot's names, by customer_id.
        groups, attributes, refreshed: Hers in the same order.
        redemptions: As from loaded_redemptions.
        affinity: As from live_affinities, in the same order.
        reasons: As from reasons.reasons_of, in the same order; without rows where there are none.
        remaining: As from value.remaining_margins, in the same order.
    """
    known = lake.table("customers").select("customer_id", "household_id", "time_zone")
    facts = {row["customer_id"]: row for row in lake.fetch(known).to_pylist()}
    matrix = values.to_numpy(dtype=np.float64)
    names = groups[list(SEGMENTATIONS)].to_dict("records")
    for place, (customer_id, vector, segments) in enumerate(
        zip(values.index, matrix, names, strict=True)
    ):
        living = {name: MEMBER for name, mask in refreshed.members.items() if mask[place]}
        fact = facts.get(customer_id, {})
        yield Profile(
            customer_id=customer_id,
            household_id=fact.get("household_id"),
            time_zone=fact.get("time_zone"),
            vector=vector,
            segments={str(k): str(v) for k, v in segments.items()} | living,
            attributes=attributes[place],
            counts={
                name: int(times[place]) for name, times in refreshed.times.items() if times[place]
            },
            redemptions=redemptions.get(str(customer_id), {}),
            affinity=affinity[place],
            remaining_value=remaining[place],
            **({"reasons": reasons[place]} if len(reasons) else {}),
        )


def live_offers(offers: Iterable[Mapping[str, Any]], as_of: datetime) -> list[str]:
    """Return the offers of the catalogue that are not over as of an instant."""
    return [o["offer_id"] for o in offers if datetime.fromisoformat(o["valid_to"]) > as_of]


def live_affinities(
    lake: Lake, customers: pd.Index, offers: Sequence[str], as_of: datetime
) -> np.ndarray:
    """Return every customer's affinities to these offers.

    Returns:
        Single precision, shape (len(customers), len(offers), number of affinities).
    """
    asked = pd.DataFrame(
        {
            "customer_id": np.repeat(customers.to_numpy(), len(offers)),
            "offer_id": np.tile(np.array(offers, dtype=object), len(customers)),
            "as_of": pd.Timestamp(as_of),
        }
    )
    return affinities(lake, asked).reshape(len(customers), len(offers), len(AFFINITY_NAMES))


def loaded_redemptions(lake: Lake, told: Iterable[str]) -> dict[str, dict[str, int]]:
    """Count redemptions of capped offers by customer and offer, without those told to the service.

    The service adds what it was told, at any time; an event must not count in both.
    """
    counted = lake.memory(arrow.table({"event_id": arrow.array(told, type=arrow.string())}))
    capped = lake.table("offers").filter(lambda t: t.customer_cap.notnull())
    redeemed = lake.table("interactions").filter(lambda t: t.kind == "redeem")
    loaded = redeemed.anti_join(counted, "event_id").semi_join(capped, "offer_id")
    uses = loaded.group_by("customer_id", "offer_id").aggregate(used=lambda t: t.count())
    found: dict[str, dict[str, int]] = {}
    for row in lake.fetch(uses).to_pylist():
        found.setdefault(row["customer_id"], {})[row["offer_id"]] = row["used"]
    return found


def catalogue_offers(lake: Lake) -> list[dict[str, Any]]:
    """Return the lake's offers as the catalogue keeps them."""
    rows = lake.fetch(lake.table("offers").order_by("offer_id")).to_pylist()
    for row in rows:
        row["valid_from"] = row["valid_from"].isoformat()
        row["valid_to"] = row["valid_to"].isoformat()
        for name in ("eligibility", "store_stock"):
            row[name] = None if row[name] is None else json.loads(row[name])
    return rows


def offered(lake: Lake) -> list[dict[str, Any]]:
    """Return the lake's offers without those that were withdrawn."""
    gone = withdrawn(lake)
    return [offer for offer in catalogue_offers(lake) if offer["offer_id"] not in gone]


def withdrawn(lake: Lake) -> frozenset[str]:
    """Return the offers that were withdrawn; loading them again does not bring them back."""
    return frozenset(json.loads(lake.note(WITHDRAWN) or "[]"))


def publish_catalogue(lake: Lake, run: Lake, operations: Operations, as_of: datetime) -> int:
    """Publish the lake's offers as they are now; return how many.

    A marketer writes an offer into the lake first and then into the catalogue. What she wrote while
    this one read is therefore in the lake by now, and is not to be overwritten by what was before.

    Args:
        run: The lake at the commit that the run reads; popularity is of that.
    """
    while True:
        offers = offered(lake)
        operations.publish_offers(offers, popularity(run, offers, as_of))
        if offered(lake) == offers:
            return len(offers)


def popularity(lake: Lake, offers: list[dict[str, Any]], as_of: datetime) -> dict[str, float]:
    """Return each offer's past redemption rate, drawn towards the average where data are few.

    What was taken back by then was not redeemed.
    """
    now = ibis.literal(as_of)
    told = with_taken_back(lake.table("interactions"))
    seen = standing(told.filter(told["at"] < now), now)
    counts = seen.group_by("offer_id").aggregate(
        shown=seen.customer_id.nunique(where=seen.kind.isin(SHOWN)),
        redeemed=seen.customer_id.nunique(where=seen.kind == "redeem"),
    )
    found = {row["offer_id"]: row for row in lake.fetch(counts).to_pylist()}
    reached = sum(row["shown"] for row in found.values())
    redeemed = sum(row["redeemed"] for row in found.values())
    average = (redeemed + 1) / (max(reached, redeemed) + 2)
    nothing = {"shown": 0, "redeemed": 0}
    return {
        offer["offer_id"]: min(
            1.0, (row["redeemed"] + PRIOR_EXPOSURES * average) / (shown + PRIOR_EXPOSURES)
        )
        for offer in offers
        for row in [found.get(offer["offer_id"], nothing)]
        # Redeemed without a recorded exposure counts as shown: a rate stays at most 1.
        for shown in [max(row["shown"], row["redeemed"])]
    }
