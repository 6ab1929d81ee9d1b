"""Lifecycle: where every customer stands as of an instant, and who moved since the last run."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis
import pandas as pd
import pyarrow as arrow

from foundation.errors import TooLittleData
from foundation.features import SECONDS_A_DAY, definitions, features_as_of, visit_days_as_of
from foundation.lake import Lake
from regulars.jobs.runs import all_runs, counting
from segmentation.lifecycle import (
    DORMANT,
    NEW_DAYS,
    NEW_VISITS,
    RHYTHM_FEATURES,
    lifecycle_states,
)
from segmentation.movement import Flow, migration
from segmentation.season import EVEN, Season, learn_season, season_evidence


@dataclass(frozen=True)
class Lifecycle:
    """Every customer's state, and why no season is in it, if so."""

    states: "pd.Series[str]"
    without_season: str | None


@dataclass(frozen=True)
class Transitions:
    """Where the customers of each state of an earlier run are now."""

    before: str
    flows: list[Flow]


def lifecycle(lake: Lake, values: pd.DataFrame, as_of: datetime) -> Lifecycle:
    """Return where every customer stands as of an instant, from what was known by then.

    Args:
        values: Every customer's features as of the same instant, by customer_id.
    """
    visits = _visits(lake, as_of)
    without_season: str | None = None
    try:
        season = _season(lake, visits, values)
    except TooLittleData as error:
        season, without_season = EVEN, str(error)
    states = lifecycle_states(values, season, _returns(lake, visits, as_of))
    return Lifecycle(states, without_season)


def transitions(lake: Lake, states: "pd.Series[str]", as_of: datetime) -> Transitions | None:
    """Compare with the newest run of an earlier instant; none where there is none.

    Args:
        states: Lifecycle states as of `as_of`, by customer_id.
    """
    earlier = [run for run in counting(all_runs(lake)) if run.as_of < as_of]
    if not earlier:
        return None
    before = earlier[-1].run_id
    rows: Any = lake.table("segments")
    then = lake.fetch(rows.filter(rows.run_id == before).select("customer_id", "lifecycle"))
    known = then.to_pandas().set_index("customer_id")["lifecycle"]
    everyone = states.index.union(known.index)
    sides = (pd.Categorical(side.reindex(everyone)) for side in (known, states))
    return Transitions(before, migration(*sides))


def _visits(lake: Lake, as_of: datetime) -> Any:
    bought = lake.table("purchases").select("customer_id").distinct()
    spine = bought.mutate(as_of=ibis.literal(as_of).cast("timestamp('UTC')"))
    days: Any = visit_days_as_of(lake, spine)
    # Fetched once: every question below would derive them from lines again.
    return lake.memory(lake.fetch(days.select("customer_id", "age", "gap")))


def _season(lake: Lake, visits: Any, values: pd.DataFrame) -> Season:
    spans, days = (lake.fetch(table).to_pandas() for table in season_evidence(visits))
    history = values["tenure_days"].max()
    return learn_season(spans, days, 0 if pd.isna(history) else int(history))


def _returns(lake: Lake, visits: Any, as_of: datetime) -> pd.DataFrame:
    """Return what was known of customers when they last came back from a long gap, if recently."""
    own = ibis.window(group_by="customer_id", order_by="age")
    # Numbered from the newest visit, 0, on.
    recent = visits.mutate(place=ibis.row_number().over(own))
    recent = recent.filter((recent.place < NEW_VISITS) & (recent.age <= NEW_DAYS))
    gaps = recent.filter(recent.gap >= DORMANT.days)
    longest = ibis.window(group_by="customer_id", order_by=[ibis.desc("gap"), "age"])
    gaps = gaps.mutate(order=ibis.row_number().over(longest))
    found = lake.fetch(gaps.filter(gaps.order == 0).select("customer_id", "age")).to_pandas()
    found = found.sort_values("customer_id").set_index("customer_id")
    seconds = (found["age"] * SECONDS_A_DAY).round()
    came = pd.Timestamp(as_of).floor("s") - pd.to_timedelta(seconds, unit="s")
    spine = lake.memory(
        arrow.table(
            {
                "customer_id": arrow.array(found.index, type=arrow.string()),
                "as_of": arrow.array(came, type=arrow.timestamp("us", tz="UTC")),
            }
        )
    )
    rhythm = [feature for feature in definitions() if feature.name in RHYTHM_FEATURES]
    known = lake.fetch(features_as_of(lake, spine, rhythm)).to_pandas().set_index("customer_id")
    return known.reindex(found.index).assign(returned_days=found["age"])
