"""Strata: the groups inside which a plan compares, each customer's as known before the start."""

from dataclasses import dataclass

import ibis
import pandas as pd
import pyarrow as arrow

from experiments.design import Experiment
from experiments.post_stratification import REST, merged_strata
from foundation.lake import Lake
from regulars.jobs.segments_before import segments_before

STRATUM = "stratum"
# Who was in no group then.
NONE = "in none"


@dataclass(frozen=True)
class Strata:
    """A stratum a unit, None where nothing is post-stratified; `told` says what was done."""

    rows: pd.DataFrame | None
    told: list[str]

    def joined(self, lake: Lake, table: ibis.Table) -> ibis.Table:
        """Return units with their column STRATUM."""
        if self.rows is None:
            return table
        named = {name: self.rows[name].to_numpy(dtype=object) for name in ("unit_id", STRATUM)}
        held = lake.memory(arrow.table(named))
        return table.join(held, "unit_id").select(*table.columns, STRATUM)


def strata_of(lake: Lake, design: Experiment, firsts: pd.DataFrame) -> Strata:
    """Return the strata of a plan, chosen by sizes alone.

    Args:
        firsts: One row a unit: unit_id, variant, since.
    """
    segmentation = design.post_stratify
    if segmentation is None:
        return Strata(None, [])
    before = segments_before(lake, [segmentation], firsts["since"].min())
    of = before.rows[before.rows["segmentation"] == segmentation]
    if of.empty:
        why = before.refused or f"segmentation {segmentation!r} is unknown"
        return Strata(None, [f"nothing is post-stratified: {why}"])
    known = of.drop_duplicates("customer_id").set_index("customer_id")["segment"]
    group = firsts["unit_id"].map(known).fillna(NONE).astype(str)
    counts = pd.crosstab(group, firsts["variant"]).to_dict("index")
    sizes = {str(one): {str(v): int(n) for v, n in by.items()} for one, by in counts.items()}
    merged = merged_strata(sizes, [variant.name for variant in design.variants])
    called = list(dict.fromkeys(merged.values()))
    if len(called) < 2:
        return Strata(None, [f"{segmentation} has one group large enough: nothing to stratify by"])
    small = [one for one, name in merged.items() if name == REST]
    also = f"; too small by themselves, so one stratum: {', '.join(small)}" if small else ""
    told = f"compared inside {len(called)} groups of {segmentation}, as known before{also}"
    rows = pd.DataFrame({"unit_id": firsts["unit_id"], STRATUM: group.map(merged)})
    return Strata(rows, [told])
