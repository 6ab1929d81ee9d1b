"""The training frame: who was shown which offer, what was known then, and whether she answered.

One row an exposure, exposures without history kept. The outcome is a redemption inside the
offer's own attribution window, not taken back in it; an exposure whose window is not over is left
out and counted. This file reads loaded history; recommender/recorded_exposures.py reads our own
decisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import ibis
import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.clock import live_publication
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.errors import RegularsError
from foundation.features import Feature, features_as_of
from foundation.lake import Lake
from foundation.taken_back import TAKEN_BACK
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.affinity import affinities
from recommender.offer_features import is_offer_feature, offer_feature_names, offer_features

Source = Literal["history", "decision"]


@dataclass(frozen=True)
class TrainingFrame:
    """Exposures with inputs and outcome.

    `rows` has customer_id, offer_id, at, channel, ends (when its window closed), source,
    decision_id, outcome and activated (0 or 1), bought_before (whether she had bought anything
    that was known then) and, where they were recorded, propensity (of the slot), slate_propensity
    (NaN elsewhere) and propensity_valid. `matrix` has shape (len(rows), len(names)). `censored`
    counts exposures left out because their window was not over at `observed_until`,
    `unanswerable` those of offers that the lake does not know or that were over when shown,
    `outdated` those of decisions whose inputs were recorded under other definitions.
    """

    rows: pd.DataFrame
    matrix: np.ndarray
    names: tuple[str, ...]
    censored: int
    observed_until: datetime
    unanswerable: int = 0
    outdated: int = 0

    def take(self, chosen: np.ndarray) -> "TrainingFrame":
        """Return the rows where `chosen` (booleans, shape (len(rows),)) holds."""
        kept = self.rows[chosen].reset_index(drop=True)
        return replace(self, rows=kept, matrix=self.matrix[chosen])

    def beside(self, other: "TrainingFrame") -> "TrainingFrame":
        """Return the rows of both in the order of time; both must have the same inputs."""
        assert self.names == other.names  # noqa: S101  one call made both
        filled = [frame for frame in (self, other) if len(frame.rows)]
        rows = pd.concat([f.rows for f in filled], ignore_index=True) if filled else self.rows
        matrix = np.vstack([self.matrix, other.matrix])
        order = rows["at"].argsort(kind="stable").to_numpy()
        return replace(
            self,
            rows=rows.iloc[order].reset_index(drop=True),
            matrix=matrix[order],
            censored=self.censored + other.censored,
            unanswerable=self.unanswerable + other.unanswerable,
            outdated=self.outdated + other.outdated,
        )

    def columns(self, names: Sequence[str]) -> np.ndarray:
        """Return the inputs by name, shape (len(rows), len(names)).

        A kind of campaign that the lake knows no longer is all zeros, as when serving.

        Raises:
            RegularsError: An input is not known here.
        """
        place = {name: at for at, name in enumerate(self.names)}
        unknown = [n for n in names if n not in place and not is_offer_feature(n)]
        if unknown:
            raise RegularsError(
                f"a model asks for {', '.join(unknown)}, which these exposures do not have; run "
                "'regulars train response'"
            )
        nothing = np.zeros(len(self.rows))
        return np.column_stack(
            [self.matrix[:, place[name]] if name in place else nothing for name in names]
        )

    @property
    def outcome(self) -> np.ndarray:
        return self.rows["outcome"].to_numpy(dtype=np.float64)

    @property
    def recorded(self) -> int:
        """Count the exposures of our own decisions."""
        return int((self.rows["source"] == "decision").sum())


def exposures(
    lake: Lake,
    features: Sequence[Feature],
    observed_until: datetime,
    time_zone: str,
    publish_hour: int,
) -> TrainingFrame:
    """Build the training frame from loaded history.

    Inputs are those of the publication that would have been live at the exposure, so that a
    model sees in training what it will see when it serves.

    Args:
        observed_until: Outcomes are known up to here; later windows are censored.
        time_zone, publish_hour: When the nightly publication goes live.
    """
    shown = with_window(lake, _shown(lake))
    # Nobody can answer inside an empty window; such a row would also lie on both sides of a split.
    answerable = shown["at"] < shown["ends"]
    over = shown["ends"] <= observed_until
    rows = shown[answerable & over].reset_index(drop=True)
    rows = rows.assign(
        source="history",
        decision_id=None,
        propensity=np.nan,
        slate_propensity=np.nan,
        propensity_valid=False,
    )
    # Distinct instants are few (a campaign is sent at once): look each up only once.
    live = {
        at: live_publication(at.to_pydatetime(), time_zone, publish_hour)
        for at in rows["at"].unique()
    }
    rows["as_of"] = pd.to_datetime(rows["at"].map(live), utc=True).astype("datetime64[us, UTC]")
    rows = with_history(lake, _with_outcomes(lake, rows))
    customer = _customer_matrix(lake, features, rows)
    offer_names, offer = offer_matrix(lake, rows["offer_id"])
    # The hour of a letter says when it was posted, not when it was read.
    said = {c: context_features(c, None, time_zone, None) for c in rows["channel"].unique()}
    context = np.array([said[c] for c in rows["channel"]]).reshape(-1, len(CONTEXT_NAMES))
    return TrainingFrame(
        rows.drop(columns="as_of"),
        np.hstack([customer, offer, affinities(lake, rows).astype(np.float64), context]),
        input_names(features, offer_names),
        censored=int((answerable & ~over).sum()),
        observed_until=observed_until,
        unanswerable=int((~answerable).sum()),
    )


def input_names(features: Sequence[Feature], offer_names: Sequence[str]) -> tuple[str, ...]:
    """Return the inputs of a response model in the order that training and serving keep."""
    return (*(f.name for f in features), *offer_names, *AFFINITY_NAMES, *CONTEXT_NAMES)


def with_window(lake: Lake, shown: pd.DataFrame) -> pd.DataFrame:
    """Return exposures with `ends`, when the offer's attribution window closes.

    So many days after the exposure as the offer says, and at its own end at the latest; missing
    where the lake does not know the offer.
    """
    offers = lake.table("offers").select("offer_id", "valid_to", "attribution_days")
    facts = lake.fetch(offers).to_pandas().set_index("offer_id")
    told = facts.reindex(shown["offer_id"]).set_axis(shown.index)
    ends = told["valid_to"].astype("datetime64[us, UTC]")
    days = told["attribution_days"].astype("float64")
    window = shown["at"] + pd.to_timedelta(days, unit="D")
    closes = ends.where(~(window < ends), window)
    return shown.assign(ends=closes.astype("datetime64[us, UTC]"))


def with_history(lake: Lake, rows: pd.DataFrame) -> pd.DataFrame:
    """Return exposures with bought_before: whether she had bought anything by as_of.

    Args:
        rows: Among others customer_id and as_of (what was known then).
    """
    first = lake.table("purchases").group_by("customer_id").aggregate(first=lambda t: t["at"].min())
    since = lake.fetch(first).to_pandas().set_index("customer_id")["first"]
    bought = since.reindex(rows["customer_id"]).set_axis(rows.index)
    return rows.assign(bought_before=bought < rows["as_of"])


def _with_outcomes(lake: Lake, rows: pd.DataFrame) -> pd.DataFrame:
    # A letter names no decision: whatever of its offer follows in its window is its outcome.
    return rows.assign(
        outcome=_followed(lake, rows, "redeem"), activated=_followed(lake, rows, "activate")
    )


def _shown(lake: Lake) -> pd.DataFrame:
    sent = lake.table("interactions").filter(lambda t: t.kind == "sent")
    # What a decision of ours sent is known by its own record.
    sent = sent.anti_join(lake.table("decisions"), "decision_id")
    columns = sent.select("event_id", "customer_id", "offer_id", "at", "channel")
    shown = lake.fetch(columns.order_by("at", "event_id")).to_pandas()
    return shown.drop(columns="event_id")


def _followed(lake: Lake, rows: pd.DataFrame, kind: str) -> np.ndarray:
    """Return whether an event of a kind, hers and of that offer, lies inside each window and was
    not taken back in it."""
    keys = arrow.table(
        {
            "row": np.arange(len(rows)),
            "customer_id": arrow.array(rows["customer_id"], type=arrow.string()),
            "offer_id": arrow.array(rows["offer_id"], type=arrow.string()),
            "shown_at": arrow.array(rows["at"], type=arrow.timestamp("us", tz="UTC")),
            "ends": arrow.array(rows["ends"], type=arrow.timestamp("us", tz="UTC")),
        }
    )
    back = TAKEN_BACK.get(kind)
    events = lake.table("interactions").filter(lambda t: t.kind.isin((kind, back or kind)))
    use = (events.kind == kind).ifelse(1, -1)
    events = events.select("customer_id", "offer_id", "at", use=use)
    inside: Any = lake.memory(keys).join(events, ["customer_id", "offer_id"])
    inside = inside.filter((inside["at"] >= inside.shown_at) & (inside["at"] < inside.ends))
    uses = inside.group_by("row").aggregate(uses=inside.use.sum())
    found = lake.fetch(uses.filter(uses.uses > 0).select("row"))["row"].to_numpy()
    followed = np.zeros(len(rows), dtype=np.int64)
    followed[found] = 1
    return followed


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


def offer_matrix(lake: Lake, offer_ids: "pd.Series[str]") -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of all offers' features and those of each offer, a row an exposure."""
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
