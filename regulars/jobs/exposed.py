"""Exposed: what did the customers of an experiment see, and are its events as they should be?"""

from datetime import datetime

import ibis
import pandas as pd
import pyarrow as arrow

from experiments.contamination import Contamination, contamination, sees_nothing
from experiments.design import Experiment
from experiments.event_faults import EventFaults
from foundation.lake import Lake
from regulars.jobs.earned import during, spine_of

# What proves that she saw an offer, or was sent it.
EXPOSURES = ("sent", "impression", "view", "activate", "redeem")


def exposures(lake: Lake, plan: Experiment, units: pd.DataFrame, until: datetime) -> Contamination:
    """Return who saw what she should not have, from the first assignment on.

    Args:
        units: As of `assigned_units`.
        until: The end of the report.
    """
    events = lake.table("interactions")
    start = units["since"].min()
    seen = events.filter(
        (events["at"] >= ibis.literal(start))
        & (events["at"] < ibis.literal(until))
        & events.kind.isin(EXPOSURES)
        & events.offer_id.notnull()
    )
    named = sorted({offer for one in plan.variants for offer in one.offers or ()})
    silent = [one.name for one in plan.variants if sees_nothing(one)]
    nothing = units.loc[units["variant"].isin(silent), "customer_id"].drop_duplicates()
    parts: list[ibis.Table] = []
    if named:
        parts.append(seen.filter(seen.offer_id.isin(named)))
    if len(nothing):
        held = lake.memory(arrow.table({"customer_id": nothing.to_numpy(dtype=object)}))
        parts.append(seen.semi_join(held, "customer_id"))
    found = (
        pd.concat([_last(lake, part) for part in parts]) if parts else _last(lake, seen.limit(0))
    )
    return contamination(plan, units, found.drop_duplicates())


def event_faults(
    lake: Lake, units: pd.DataFrame, decisions: pd.DataFrame, until: datetime
) -> EventFaults:
    """Count the events that are not as they should be.

    Args:
        units: As of `assigned_units`.
        decisions: As of `assigned_decisions`.
        until: The end of the report.
    """
    spine = spine_of(lake, units, until)
    lines = lake.table("purchases")
    events = lake.table("interactions")
    redeemed = events.filter(events.kind == "redeem")
    twice = (
        during(spine, lines)
        .group_by("customer_id", "product_id", "at", "amount", "quantity")
        .aggregate(times=lambda t: t.order_id.nunique())
    )
    again = (
        during(spine, redeemed)
        .group_by("customer_id", "offer_id", "at")
        .aggregate(times=lambda t: t.event_id.nunique())
    )
    made = lake.memory(
        arrow.table(
            {
                "decision_id": decisions["decision_id"].to_numpy(dtype=object),
                # Tills write minutes.
                "decided": arrow.array(
                    pd.to_datetime(decisions["at"], utc=True).dt.floor("min"),
                    type=arrow.timestamp("us", tz="UTC"),
                ),
            }
        )
    )
    early = events.join(made, "decision_id").filter(lambda t: t["at"] < t.decided)
    return EventFaults(
        redemptions_repeated=_beyond_one(lake, again),
        lines_repeated=_beyond_one(lake, twice),
        late=_counted(lake, _after(spine, lines)) + _counted(lake, _after(spine, redeemed)),
        early=_counted(lake, early),
    )


def _last(lake: Lake, seen: ibis.Table) -> pd.DataFrame:
    """Return when each customer last saw each offer, and whether any decision was made for her."""
    decided = lake.table("decisions").select("customer_id").distinct().mutate(decided=True)
    last = seen.group_by("customer_id", "offer_id", "channel").aggregate(at=lambda t: t["at"].max())
    found = lake.fetch(last.left_join(decided, "customer_id")).to_pandas()
    found["decided"] = found["decided"].notna()
    return found[["customer_id", "offer_id", "channel", "at", "decided"]]


def _after(spine: ibis.Table, events: ibis.Table) -> ibis.Table:
    joined = spine.join(events, "customer_id")
    return joined.filter(joined["at"] >= joined.ends)


def _beyond_one(lake: Lake, groups: ibis.Table) -> int:
    many = groups.filter(groups.times > 1)
    total = lake.fetch(many.aggregate(n=(many.times - 1).sum()))["n"][0].as_py()
    return int(total or 0)


def _counted(lake: Lake, rows: ibis.Table) -> int:
    return int(lake.fetch(rows.aggregate(n=rows.count()))["n"][0].as_py())
