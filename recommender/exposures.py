"""The training frame: who was shown which offer, what was known then, and whether she answered.

One row an exposure, exposures without history kept. The outcome is a redemption inside the
offer's own attribution window; an exposure whose window is not over is left out and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.clock import live_publication
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.features import Feature, features_as_of
from foundation.lake import Lake
from recommender.offer_features import offer_feature_names, offer_features


@dataclass(frozen=True)
class TrainingFrame:
    """Exposures with features and outcome.

    `rows` has customer_id, offer_id, at, ends (when its window closed), outcome (0 or 1) and
    propensity (NaN where it was not recorded); `matrix` has shape (len(rows), len(names)).
    `censored` counts exposures left out because their window was not over at `observed_until`,
    `unanswerable` those of offers that the lake does not know or that were over when shown.
    """

    rows: pd.DataFrame
    matrix: np.ndarray
    names: tuple[str, ...]
    censored: int
    observed_until: datetime
    unanswerable: int = 0

    def take(self, chosen: np.ndarray) -> "TrainingFrame":
        """Return the rows where `chosen` (booleans, shape (len(rows),)) holds."""
        kept = self.rows[chosen].reset_index(drop=True)
        return replace(self, rows=kept, matrix=self.matrix[chosen])

    @property
    def outcome(self) -> np.ndarray:
        return self.rows["outcome"].to_numpy(dtype=np.float64)


def exposures(
    lake: Lake,
    features: Sequence[Feature],
    observed_until: datetime,
    time_zone: str,
    publish_hour: int,
) -> TrainingFrame:
    """Build the training frame from loaded history.

    Features are those of the publication that would have been live at the exposure, so that a
    model sees in training what it will see when it serves.

    Args:
        observed_until: Outcomes are known up to here; later windows are censored.
        time_zone, publish_hour: When the nightly publication goes live.
    """
    shown = _shown(lake)
    # Nobody can answer inside an empty window; such a row would also lie on both sides of a split.
    answerable = shown["at"] < shown["ends"]
    over = shown["ends"] <= observed_until
    rows = shown[answerable & over].reset_index(drop=True)
    rows["outcome"] = _answered(lake, rows)
    rows["propensity"] = np.nan
    # Distinct instants are few (a campaign is sent at once): look each up only once.
    live = {
        at: live_publication(at.to_pydatetime(), time_zone, publish_hour)
        for at in rows["at"].unique()
    }
    rows["as_of"] = pd.to_datetime(rows["at"].map(live), utc=True).astype("datetime64[us, UTC]")
    customer = _customer_matrix(lake, features, rows)
    offer_names, offer = _offer_matrix(lake, rows["offer_id"])
    # The hour of a letter says when it was posted, not when it was read.
    said = {c: context_features(c, None, time_zone, None) for c in rows["channel"].unique()}
    context = np.array([said[c] for c in rows["channel"]]).reshape(-1, len(CONTEXT_NAMES))
    names = (*(f.name for f in features), *offer_names, *CONTEXT_NAMES)
    matrix = np.hstack([customer, offer, context])
    return TrainingFrame(
        rows,
        matrix,
        names,
        censored=int((answerable & ~over).sum()),
        observed_until=observed_until,
        unanswerable=int((~answerable).sum()),
    )


def _shown(lake: Lake) -> pd.DataFrame:
    sent = lake.table("interactions").filter(lambda t: t.kind == "sent")
    offers = lake.table("offers").select("offer_id", ends="valid_to")
    # An unknown offer has no end; its exposures are counted, so they must not fall out here.
    joined = sent.left_join(offers, "offer_id").select(
        "event_id", "customer_id", "offer_id", "at", "channel", "ends"
    )
    return lake.fetch(joined.order_by("at", "event_id")).to_pandas()


def _answered(lake: Lake, rows: pd.DataFrame) -> np.ndarray:
    keys = arrow.table(
        {
            "row": np.arange(len(rows)),
            "customer_id": arrow.array(rows["customer_id"], type=arrow.string()),
            "offer_id": arrow.array(rows["offer_id"], type=arrow.string()),
            "shown_at": arrow.array(rows["at"], type=arrow.timestamp("us", tz="UTC")),
            "ends": arrow.array(rows["ends"], type=arrow.timestamp("us", tz="UTC")),
        }
    )
    redeemed = lake.table("interactions").filter(lambda t: t.kind == "redeem")
    redeemed = redeemed.select("customer_id", "offer_id", "at")
    inside = lake.memory(keys).join(redeemed, ["customer_id", "offer_id"])
    inside = inside.filter((inside["at"] >= inside.shown_at) & (inside["at"] < inside.ends))
    found = lake.fetch(inside.select("row").distinct())["row"].to_numpy()
    outcome = np.zeros(len(rows), dtype=np.int64)
    outcome[found] = 1
    return outcome


def _customer_matrix(lake: Lake, features: Sequence[Feature], rows: pd.DataFrame) -> np.ndarray:
    pairs = rows[["customer_id", "as_of"]].drop_duplicates()
    spine = lake.memory(
        arrow.table(
            {
                "customer_id": arrow.array(pairs["customer_id"], type=arrow.string()),
                "as_of": arrow.array(pairs["as_of"], type=arrow.timestamp("us", tz="UTC")),
            }
        )
    )
    known: ibis.Table = features_as_of(lake, spine, features)
    values = lake.fetch(known).to_pandas()
    joined = rows[["customer_id", "as_of"]].merge(
        values, on=["customer_id", "as_of"], how="left", validate="many_to_one"
    )
    return joined[[f.name for f in features]].to_numpy(dtype=np.float64)


def _offer_matrix(lake: Lake, offer_ids: "pd.Series[str]") -> tuple[tuple[str, ...], np.ndarray]:
    table = lake.table("offers")
    offers = lake.fetch(
        table.select(
            "offer_id",
            "valid_from",
            "valid_to",
            "reward",
            "min_spend",
            "cost",
            "campaign_kind",
            products=table.scope.length(),
        )
    ).to_pylist()
    names = offer_feature_names([o["campaign_kind"] for o in offers if o["campaign_kind"]])
    vectors = {o.pop("offer_id"): offer_features(names, **o) for o in offers}
    return names, np.array([vectors[i] for i in offer_ids]).reshape(-1, len(names))
