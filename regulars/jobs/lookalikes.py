"""Look-alikes: who resembles a living segment, or a group of a segmentation, and is not in it?"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.contracts import MEMBERSHIPS, SEGMENTS
from foundation.errors import NothingToDo
from foundation.features import Feature
from foundation.lake import Lake
from foundation.profile import SEGMENTATIONS
from foundation.rules import Rule, SegmentIn, Vocabulary, read_rule
from regulars.jobs.customers import customer_features, registry
from regulars.jobs.living_segments import definitions, history, known_attributes
from regulars.jobs.membership import membership_known_at
from regulars.jobs.runs import all_runs, counting
from regulars.progress import Progress
from segmentation.living import InvalidSegment, asked_segments
from segmentation.lookalikes import Lookalikes, lookalikes
from segmentation.own_features import own_features

SEED = 17


@dataclass(frozen=True)
class LookalikeReport:
    """Who resembles a segment, as of the run that its members are from."""

    segment_id: str
    run_id: str
    as_of: datetime
    found: Lookalikes

    def table(self) -> arrow.Table:
        """Return a row a look-alike: customer_id, rank, score, segment_id, as_of."""
        rows = arrow.Table.from_pylist([asdict(one) for one in self.found.ranked])
        n = rows.num_rows
        as_of = arrow.array([self.as_of] * n, arrow.timestamp("us", tz="UTC"))
        named = rows.append_column("segment_id", arrow.array([self.segment_id] * n))
        return named.append_column("as_of", as_of)


@dataclass(frozen=True)
class _Members:
    """A segment's newest members, the run they are from, and the rules that made them."""

    run_id: str
    as_of: datetime
    customers: set[str]
    rules: list[Rule]


def find_lookalikes(
    lake: Lake, segment_id: str, size: int, at: datetime, progress: Progress
) -> LookalikeReport:
    """Rank the customers who most resemble a segment's newest members.

    Args:
        segment_id: A living segment, or a group of a segmentation like rfm=Champions.
        size: How many to return.
        at: Now; later runs are not looked at.

    Raises:
        InvalidSegment: There is no such segment, segmentation or group.
        NothingToDo: No run of it had been made by then.
        RegularsError: As segmentation.lookalikes refuses.
    """
    with progress.step("look-alikes") as step:
        features = registry(lake)
        found = (
            _group(lake, segment_id, at)
            if "=" in segment_id
            else _living(lake, segment_id, at, features)
        )
        step.show("features")
        # Who came since was not judged by the run, so she is neither in nor out.
        judged = _run(lake, found.run_id)["customer_id"]
        values = customer_features(lake, found.as_of)
        values = values.loc[values.index.isin(judged), [feature.name for feature in features]]
        step.show("held-out rankings")
        inside: Any = values.index.isin(list(found.customers))
        own = frozenset[str]().union(*(own_features(rule, features) for rule in found.rules))
        ranked = lookalikes(values, np.asarray(inside, dtype=np.bool_), own, size, SEED)
        step.show(f"{len(ranked.ranked):,} customers")
    return LookalikeReport(segment_id, found.run_id, found.as_of, ranked)


def _group(lake: Lake, segment_id: str, at: datetime) -> _Members:
    segmentation, _, group = segment_id.partition("=")
    if segmentation not in SEGMENTATIONS:
        raise InvalidSegment(
            f"segment {segment_id!r}: {segmentation!r} is none of {', '.join(SEGMENTATIONS)}; "
            "write it like rfm=Champions"
        )
    known = [run for run in counting(all_runs(lake)) if run.as_of <= at]
    if not known:
        raise NothingToDo(f"segment {segment_id!r} had no run yet; run 'regulars segment'")
    run = known[-1]
    judged = _run(lake, run.run_id)
    groups = judged[segmentation]
    if group not in set(groups):
        raise InvalidSegment(
            f"segment {segment_id!r}: nobody is in {group!r}; there are: "
            f"{', '.join(sorted(set(groups)))}"
        )
    customers = set(judged.loc[groups == group, "customer_id"])
    return _Members(run.run_id, run.as_of, customers, [SegmentIn(segmentation, (group,))])


def _living(lake: Lake, segment_id: str, at: datetime, features: tuple[Feature, ...]) -> _Members:
    history(lake, segment_id)
    found = membership_known_at(lake, segment_id, at)
    rules = _rules(lake, segment_id, str(found.run_id), features)
    return _Members(str(found.run_id), found.as_of, set(found.members), rules)


def _rules(lake: Lake, segment_id: str, run_id: str, features: tuple[Feature, ...]) -> list[Rule]:
    """Return a segment's rule and those of the living segments it asks for, as a run had them."""
    memberships: Any = lake.table(MEMBERSHIPS.name)
    ran = memberships.filter(memberships.run_id == run_id).select("segment_id", "version")
    versions = {row["segment_id"]: row["version"] for row in lake.fetch(ran).to_pylist()}
    stored = definitions(lake)
    names = [feature.name for feature in features]
    known = Vocabulary(names, (*SEGMENTATIONS, *stored), known_attributes(lake))
    rules: dict[str, Rule] = {}
    wanted = {segment_id}
    while wanted:
        name = wanted.pop()
        (then,) = (one for one in stored[name] if one.version == versions[name])
        rules[name] = read_rule(then.draft.rule, known)
        wanted |= asked_segments(rules[name]) - rules.keys() - set(SEGMENTATIONS)
    return list(rules.values())


def _run(lake: Lake, run_id: str) -> pd.DataFrame:
    rows: Any = lake.table(SEGMENTS.name)
    return lake.fetch(rows.filter(rows.run_id == run_id)).to_pandas()
