"""Segment: features as of an instant, who is in which group, and the published snapshot."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import Any, Protocol

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.contracts import SEGMENTS
from foundation.errors import NothingToDo
from foundation.features import Feature, definitions, feature_hash, features_as_of
from foundation.lake import Lake
from foundation.profile import Profile, SnapshotFacts
from foundation.settings import Settings
from regulars.assumptions import assumed
from regulars.jobs.clusters import StoredModel, cluster_customers, store_model
from regulars.jobs.receipts import refresh_receipts, rfm
from regulars.progress import Progress
from segmentation.lifecycle import lifecycle_states

SEED = 7
# Ways in which an offer reaches a customer.
SHOWN = ("sent", "impression", "view")
# Weight of the average redemption rate in an offer's own, in exposures: a new offer starts there.
PRIOR_EXPOSURES = 50


class SnapshotPublisher(Protocol):
    """Writes a snapshot and makes it live."""

    def __call__(
        self,
        profiles: Iterator[Profile],
        *,
        as_of: datetime,
        names: tuple[str, ...],
        feature_hash: str,
    ) -> SnapshotFacts: ...


class Operations(Protocol):
    """What the running service works with, beside the snapshot."""

    def publish_offers(
        self, offers: Sequence[dict[str, Any]], popularity: dict[str, float]
    ) -> bool:
        """Make offers the catalogue's; True when that changed anything."""
        ...

    def told_redemptions(self) -> Iterable[str]:
        """Return the event_ids of all redemptions that the service counts itself."""
        ...


@dataclass(frozen=True)
class SegmentReport:
    """Sizes of the groups of each segmentation, and the snapshot that is live now.

    `clusters` is the model behind the clusters, `silhouette` that of tonight's customers in them,
    `refitted` why the model is new; or `unclustered` says why there are none.
    """

    run_id: str
    customers: int
    rfm: dict[str, int]
    lifecycle: dict[str, int]
    cluster: dict[str, int]
    clusters: StoredModel | None
    refitted: str | None
    silhouette: float | None
    unclustered: str | None
    snapshot: SnapshotFacts
    offers: int


def registry(lake: Lake) -> tuple[Feature, ...]:
    """Return this deployment's feature definitions."""
    return definitions(assumed(lake, "feature_categories", []))


def customer_features(lake: Lake, as_of: datetime) -> pd.DataFrame:
    """Return every known customer's features as of an instant, one row each, by customer_id."""
    known = lake.table("customers").select("customer_id")
    bought = lake.table("purchases").select("customer_id")
    everyone = known.union(bought, distinct=True)
    spine = everyone.mutate(as_of=ibis.literal(as_of).cast("timestamp('UTC')"))
    values = lake.fetch(features_as_of(lake, spine, registry(lake)).order_by("customer_id"))
    return values.to_pandas().drop(columns="as_of").set_index("customer_id")


def segment(
    lake: Lake,
    publish_snapshot: SnapshotPublisher,
    operations: Operations,
    settings: Settings,
    as_of: datetime,
    progress: Progress,
    *,
    refit_clusters: bool = False,
) -> SegmentReport:
    """Segment every customer and publish what the service needs.

    Args:
        refit_clusters: Fit clusters anew, also where the stored ones are young and hold.

    Raises:
        NothingToDo: The lake holds no customers.
    """
    with progress.step("segment") as step:
        step.show("features")
        features = registry(lake)
        values = customer_features(lake, as_of)
        if values.empty:
            raise NothingToDo("the lake holds no customers; load some with 'regulars load'")
        step.show("groups")
        refresh_receipts(lake)
        groups = rfm(lake, settings, values.index, as_of)
        groups["lifecycle"] = lifecycle_states(values)
        clusters = cluster_customers(lake, values, as_of, SEED, refit=refit_clusters)
        groups["cluster"] = clusters.labels
        run_id = _run_id(lake, as_of)
        rows = groups.reset_index().assign(run_id=run_id, as_of=pd.Timestamp(as_of))
        rows["segment_row_id"] = run_id + "|" + rows["customer_id"]
        with lake.write() as write:
            write.merge(SEGMENTS.name, SEGMENTS.to_arrow(rows))
            store_model(write, run_id, clusters)
        step.show("snapshot")
        snapshot = publish_snapshot(
            _profiles(
                lake,
                values[[f.name for f in features]],
                groups,
                _loaded_redemptions(lake, operations.told_redemptions()),
            ),
            as_of=as_of,
            names=tuple(f.name for f in features),
            feature_hash=feature_hash(features),
        )
        offers = _offers(lake)
        operations.publish_offers(offers, _popularity(lake, offers, as_of))
        step.show(f"{len(values):,} customers, snapshot {snapshot.version}")
    return SegmentReport(
        run_id=run_id,
        customers=len(values),
        rfm=_sizes(groups["rfm"]),
        lifecycle=_sizes(groups["lifecycle"]),
        cluster=_sizes(groups["cluster"]),
        clusters=clusters.stored,
        refitted=clusters.refitted,
        silhouette=clusters.silhouette,
        unclustered=clusters.unclustered,
        snapshot=snapshot,
        offers=len(offers),
    )


def _run_id(lake: Lake, as_of: datetime) -> str:
    """Return the instant, numbered where a run of the same one is there: each run stays."""
    named = as_of.isoformat(timespec="seconds")
    runs = lake.table("segments").select("run_id").distinct()
    taken = set(lake.fetch(runs)["run_id"].to_pylist())
    numbered = (f"{named}.{number:03}" for number in count(2))
    return next(run_id for run_id in chain([named], numbered) if run_id not in taken)


def _sizes(labels: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(size) for name, size in labels.value_counts().items()}


def _profiles(
    lake: Lake,
    values: pd.DataFrame,
    groups: pd.DataFrame,
    redemptions: dict[str, dict[str, int]],
) -> Iterator[Profile]:
    known = lake.table("customers").select("customer_id", "household_id", "time_zone")
    facts = {row["customer_id"]: row for row in lake.fetch(known).to_pylist()}
    matrix = values.to_numpy(dtype=np.float64)
    names = groups[["rfm", "lifecycle", "cluster"]].to_dict("records")
    for customer_id, vector, segments in zip(values.index, matrix, names, strict=True):
        fact = facts.get(customer_id, {})
        yield Profile(
            customer_id=customer_id,
            household_id=fact.get("household_id"),
            time_zone=fact.get("time_zone"),
            vector=vector,
            segments={str(k): str(v) for k, v in segments.items()},
            redemptions=redemptions.get(str(customer_id), {}),
        )


def _loaded_redemptions(lake: Lake, told: Iterable[str]) -> dict[str, dict[str, int]]:
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


def _offers(lake: Lake) -> list[dict[str, Any]]:
    rows = lake.fetch(lake.table("offers").order_by("offer_id")).to_pylist()
    for row in rows:
        row["valid_from"] = row["valid_from"].isoformat()
        row["valid_to"] = row["valid_to"].isoformat()
        row["eligibility"] = None if row["eligibility"] is None else json.loads(row["eligibility"])
    return rows


def _popularity(lake: Lake, offers: list[dict[str, Any]], as_of: datetime) -> dict[str, float]:
    """Return each offer's past redemption rate, drawn towards the average where data are few."""
    seen = lake.table("interactions").filter(lambda t: t["at"] < ibis.literal(as_of))
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
