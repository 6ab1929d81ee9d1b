"""Segment: features as of an instant, who is in which group, and the published snapshot."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from foundation.contracts import FORECASTS, PURCHASES, RECEIPTS, SEGMENTS
from foundation.errors import NothingToDo, RegularsError
from foundation.features import Feature, feature_hash
from foundation.lake import Lake
from foundation.offer import read_offer
from foundation.people import people_table, vocabulary_of
from foundation.profile import SEGMENTATIONS, Explanation, SnapshotFacts
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.registry import RESPONSE, ModelRegistry
from regulars.jobs.clusters import StoredModel, store_model
from regulars.jobs.customers import (
    SEED,
    customer_attributes,
    customer_features,
    customer_groups,
    registry,
)
from regulars.jobs.forecast_churn import ChurnForecast, forecast_churn, forecast_rows
from regulars.jobs.lifecycle import Transitions, transitions
from regulars.jobs.living_segments import labels, refresh, store_memberships, with_members
from regulars.jobs.next_products import find_next_products, write_complements
from regulars.jobs.preview import write_preview
from regulars.jobs.publish import (
    Operations,
    SnapshotPublisher,
    live_affinities,
    live_offers,
    loaded_redemptions,
    offered,
    profiles,
    publish_catalogue,
)
from regulars.jobs.reasons import goods_of, reasons_of
from regulars.jobs.receipts import CURSOR, refresh_receipts
from regulars.jobs.value import (
    Valuation,
    remaining_margins,
    valuation,
    worth_of,
    write_values,
)
from regulars.progress import Progress, Step
from segmentation.churn import churn_features
from segmentation.registry import ChurnRegistry
from segmentation.value_registry import ValueRegistry


@dataclass(frozen=True)
class ChurnSummary:
    """Churn of the active customers: how many are expected to leave, and what is at risk.

    `at_risk` holds, by segmentation or living segment and group, customers, value, at_risk, low,
    high (minor units) and share; `assumed` says what the value is.
    """

    model: str
    days: int
    customers: int
    expected: float
    at_risk: dict[str, dict[str, dict[str, float]]]
    assumed: str


@dataclass(frozen=True)
class SegmentReport:
    """Sizes of the groups of each segmentation, and the snapshot that is live now.

    `living` are sizes of living segments; `refused` says why one of them was not refreshed.
    `transitions` are between lifecycle states, since the newest run of an earlier instant.
    `complements` counts pairs of products that are bought together more often than by chance, or
    `without_next_products` says why none were looked for.
    `clusters` is the model behind the clusters, `silhouette` that of tonight's customers in them,
    `refitted` why the model is new; or `unclustered` says why there are none.
    """

    run_id: str
    customers: int
    rfm: dict[str, int]
    lifecycle: dict[str, int]
    without_season: str | None
    transitions: Transitions | None
    cluster: dict[str, int]
    clusters: StoredModel | None
    refitted: str | None
    silhouette: float | None
    unclustered: str | None
    snapshot: SnapshotFacts
    offers: int
    living: dict[str, int]
    refused: dict[str, str]
    value: dict[str, Any] | None = None
    unvalued: str | None = None
    churn: ChurnSummary | None = None
    unforecast: str | None = None
    complements: int = 0
    without_next_products: str | None = None
    unexplained: str | None = None


@dataclass(frozen=True)
class Champions:
    """Where the models that look ahead are; without a champion their figures are left out."""

    values: ValueRegistry | None = None
    churn: ChurnRegistry | None = None
    response: ModelRegistry | None = None


def segment(
    lake: Lake,
    publish_snapshot: SnapshotPublisher,
    operations: Operations,
    settings: Settings,
    as_of: datetime,
    progress: Progress,
    champions: Champions = Champions(),
    made_at: datetime | None = None,
    refit_clusters: bool = False,
) -> SegmentReport:
    """Segment every customer, look ahead with the champions, and publish what the service needs.

    Args:
        made_at: When this run is made; as_of when left out. A run of a past instant knows what was
            loaded since, and must not pass for what was known then.
        refit_clusters: Fit clusters anew, also where the stored ones are young and hold.

    Raises:
        NothingToDo: The lake holds no customers.
    """
    with progress.step("segment") as step:
        step.show("receipts")
        lake, writing = _up_to_date(lake), lake
        step.show("features")
        features = registry(lake)
        values = customer_features(lake, as_of)
        if values.empty:
            raise NothingToDo("the lake holds no customers; load some with 'regulars load'")
        vectors = values[[feature.name for feature in features]]
        step.show("groups")
        found = customer_groups(lake, settings, values, as_of, RECEIPTS.name, refit_clusters)
        groups = found.rows
        moved = transitions(lake, groups["lifecycle"], as_of)
        step.show("living segments")
        attributes = customer_attributes(lake, values.index)
        people = people_table(vectors, groups[list(SEGMENTATIONS)], attributes)
        offers = offered(lake)
        rules = [offer["eligibility"] for offer in offers if offer["eligibility"] is not None]
        rules.extend(operations.audiences())
        refreshed = refresh(lake, people, rules, as_of)
        priced = groups[list(SEGMENTATIONS)].join(labels(refreshed, values.index))
        value, unvalued = _value(lake, champions.values, priced, as_of, settings.zone, step)
        worth, statement = worth_of(values, value)
        forecast, unforecast = _forecast(values, priced, worth, champions.churn, features, as_of)
        step.show("next products")
        bought_with = find_next_products(lake, as_of)
        run_id = _run_id(writing, as_of)
        made_at = made_at or as_of
        made = {"run_id": run_id, "as_of": pd.Timestamp(as_of), "made_at": pd.Timestamp(made_at)}
        rows = groups.reset_index().assign(**made)
        rows["segment_row_id"] = run_id + "|" + rows["customer_id"]
        with writing.write() as write:
            write.merge(SEGMENTS.name, SEGMENTS.to_arrow(rows))
            if forecast is not None:
                told = forecast_rows(forecast, made)
                write.merge(FORECASTS.name, FORECASTS.to_arrow(told))
            if value:
                write_values(write, value, made)
            store_memberships(
                write,
                values.index.to_numpy(),
                refreshed,
                run_id=run_id,
                as_of=as_of,
                at=made_at,
            )
            store_model(write, run_id, found.clusters)
            write_complements(write, bought_with, run_id, as_of)
            write_preview(lake, write, with_members(people, refreshed), as_of)
        step.show("snapshot")
        redemptions = loaded_redemptions(lake, operations.told_redemptions())
        live = live_offers(offers, as_of)
        scopes = {offer["offer_id"]: offer["scope"] for offer in offers}
        affinity = live_affinities(lake, values.index, live, as_of)
        explanation, reasons, unexplained = _reasons(
            lake, champions.response, offers, live, features, vectors, affinity, step
        )
        snapshot = publish_snapshot(
            profiles(
                lake,
                vectors,
                groups,
                attributes,
                refreshed,
                redemptions,
                affinity,
                reasons,
                remaining_margins(lake, value, values.index),
            ),
            as_of=as_of,
            names=tuple(feature.name for feature in features),
            feature_hash=response_hash(features),
            living=refreshed.members.keys(),
            attributes=vocabulary_of(people.column_names).attributes,
            counts=refreshed.times.keys(),
            next_products=bought_with.served.with_offers([scopes[one] for one in live]),
            offers=live,
            explanation=explanation,
        )
        published = publish_catalogue(writing, lake, operations, as_of)
        step.show(f"{len(values):,} customers, snapshot {snapshot.version}")
    return SegmentReport(
        run_id=run_id,
        customers=len(values),
        rfm=_sizes(groups["rfm"]),
        lifecycle=_sizes(groups["lifecycle"]),
        without_season=found.without_season,
        transitions=moved,
        cluster=_sizes(groups["cluster"]),
        clusters=found.clusters.stored,
        refitted=found.clusters.refitted,
        silhouette=found.clusters.silhouette,
        unclustered=found.clusters.unclustered,
        snapshot=snapshot,
        offers=published,
        living=refreshed.sizes,
        refused=dict(refreshed.refused),
        value=value.told() if value else None,
        unvalued=unvalued,
        churn=None if forecast is None else _summary(forecast, statement),
        unforecast=unforecast,
        complements=bought_with.pairs,
        without_next_products=bought_with.refused,
        unexplained=unexplained,
    )


def _up_to_date(lake: Lake) -> Lake:
    """Return the lake at one commit whose receipts hold all its purchases.

    What is loaded while the run goes on waits for the next one, as a whole.
    """
    while True:
        refresh_receipts(lake)
        pinned = lake.pinned()
        if pinned.note(CURSOR) == pinned.added(PURCHASES.name, None).cursor:
            return pinned


def _value(
    lake: Lake,
    models: ValueRegistry | None,
    priced: pd.DataFrame,
    as_of: datetime,
    zone: ZoneInfo,
    step: Step,
) -> tuple[Valuation | None, str | None]:
    """Return what customers will bring, or none and why: segments do not wait for a model."""
    try:
        champion = models.champion() if models else None
        if models is None or champion is None:
            return None, None
        step.show(f"value by {champion.name}")
        return valuation(lake, models, champion, priced, as_of, zone, SEED), None
    except RegularsError as error:
        return None, f"no values: {error}"


def _forecast(
    values: pd.DataFrame,
    priced: pd.DataFrame,
    worth: "pd.Series[float]",
    models: ChurnRegistry | None,
    features: Sequence[Feature],
    as_of: datetime,
) -> tuple[ChurnForecast | None, str | None]:
    """Return the churn forecast, or none and why."""
    try:
        champion = models.champion() if models else None
        if champion is None:
            return None, None
        fingerprint = feature_hash(churn_features(features))
        return forecast_churn(values, priced, worth, champion, fingerprint, as_of), None
    except RegularsError as error:
        return None, f"no churn forecast: {error}"


def _reasons(
    lake: Lake,
    models: ModelRegistry | None,
    offers: Sequence[dict[str, Any]],
    live: Sequence[str],
    features: Sequence[Feature],
    vectors: pd.DataFrame,
    affinity: np.ndarray,
    step: Step,
) -> tuple[Explanation | None, np.ndarray, str | None]:
    """Return why offers suit customers, or nothing and why: a snapshot does not wait for it."""
    nothing = np.empty((0, 0, 0), dtype=np.uint8)
    try:
        described = models.described("champion") if models else None
        model = models.load("champion") if models and described else None
        if model is None or described is None or not live:
            return None, nothing, None
        step.show("reasons")
        name = f"{RESPONSE}@{described.version}"
        if model.feature_hash != response_hash(features):
            raise RegularsError(
                f"model {name!r} was trained on other features than this snapshot has; run "
                "'regulars train response'"
            )
        by_id = {row["offer_id"]: read_offer(row, 0.0) for row in offers}
        goods = goods_of(lake, live)
        told, reasons = reasons_of(
            model,
            [feature.name for feature in features],
            vectors.to_numpy(dtype=np.float64),
            [by_id[offer_id] for offer_id in live],
            affinity,
            goods,
        )
        return Explanation(name, told, tuple(goods)), reasons, None
    except RegularsError as error:
        return None, nothing, f"no reasons: {error}"


def _summary(forecast: ChurnForecast, statement: str) -> ChurnSummary:
    rows = forecast.rows
    return ChurnSummary(
        model=str(rows["model"].iloc[0]),
        days=int(rows["horizon_days"].iloc[0]),
        customers=len(rows),
        expected=float(rows["value"].sum()),
        at_risk={
            name: {
                str(group): {str(k): float(v) for k, v in row.items()}
                for group, row in found.to_dict("index").items()
            }
            for name, found in forecast.at_risk.items()
        },
        assumed=statement,
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
