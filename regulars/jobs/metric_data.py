"""Metric data: does the lake hold anything that a metric could be measured by?

Nobody's complaints in a lake that was never told of any are no proof of peace: the metric is
refused, and no 0 made up.
"""

from collections.abc import Collection, Mapping
from typing import Any

import ibis

from experiments.metrics import Metric, columns
from foundation.lake import Lake
from regulars.jobs.earned import NPS_SCALE

_BOUGHT = ("margin", "spend", "orders", "items", "sold", "returned", "bought")


def missing_data(lake: Lake, metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Return why a metric cannot be measured, by its name, for those that cannot."""
    needed = {name: {column.name for column in columns(metric)} for name, metric in metrics.items()}
    every = set().union(*needed.values())
    empty = {
        column: reason
        for names, table, reason in _sources(lake)
        if every & set(names) and not _any(lake, table)
        for column in names
    }
    found = {name: [empty[one] for one in asked if one in empty] for name, asked in needed.items()}
    return {name: reasons[0] for name, reasons in found.items() if reasons}


def _sources(lake: Lake) -> list[tuple[Collection[str], ibis.Table, str]]:
    interactions, surveys = lake.table("interactions"), lake.table("surveys")
    nps: Any = (surveys.instrument == "nps") & (surveys.scale == NPS_SCALE)
    return [
        (_BOUGHT, lake.table("purchases"), "the lake holds no purchases; load them"),
        (
            ("complained",),
            interactions.filter(interactions.kind == "complaint"),
            "the lake holds nobody's complaints, so nothing is known of them; send them as "
            "outcomes, or load them as interactions of kind complaint",
        ),
        (
            ("opted_out",),
            lake.table("consents"),
            "the lake holds nobody's consents, so nothing is known of opt-outs; load them",
        ),
        (
            ("nps_points", "nps_answers"),
            surveys.filter(nps),
            "the lake holds no answers to an NPS survey of 0 to 10; load them as surveys",
        ),
        (
            ("csat_satisfied", "csat_answers"),
            surveys.filter(surveys.instrument == "csat"),
            "the lake holds no answers to a CSAT survey; load them as surveys",
        ),
    ]


def _any(lake: Lake, table: ibis.Table) -> bool:
    return lake.fetch(table.limit(1)).num_rows > 0
