"""Do the rows of units fit the experiment they are said to be of?

What does not fit is refused whole: whoever were left out in silence might be those who differ.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from experiments.design import Experiment
from experiments.metrics import Metric, columns
from foundation.errors import RegularsError


class InvalidUnits(RegularsError):
    """The units do not fit the experiment, or a metric has gaps."""


def check_units(experiment: Experiment, units: pd.DataFrame, metrics: Mapping[str, Metric]) -> None:
    """Pass one row a unit with numbers in every column that the metrics need.

    Raises:
        InvalidUnits: As `check_assigned`; or a column is missing, has gaps or is not numeric.
    """
    subject = f"experiment {experiment.key!r}"
    measured = list(dict.fromkeys(c.name for metric in metrics.values() for c in columns(metric)))
    missing = [name for name in ("unit_id", "variant", *measured) if name not in units.columns]
    if missing:
        raise InvalidUnits(
            f"{subject}: column {missing[0]!r} is missing, the units have "
            f"{', '.join(map(str, units.columns))}; name one of these"
        )
    check_assigned(experiment, units)
    for name in measured:
        _check_metric(subject, units, name)


def check_assigned(experiment: Experiment, units: pd.DataFrame) -> None:
    """Pass one row a unit with its variant.

    Raises:
        InvalidUnits: A unit has no name or appears twice, or a variant is unknown or was seen by
            nobody.
    """
    subject = f"experiment {experiment.key!r}"
    if bool(units["unit_id"].isna().any()):
        raise InvalidUnits(f"{subject}: a unit has no unit_id; leave out who was not assigned")
    names = [variant.name for variant in experiment.variants]
    strange = units.loc[~units["variant"].isin(names), "variant"]
    if len(strange):
        raise InvalidUnits(
            f"{subject}: variant {strange.iloc[0]!r} of {len(strange)} unit(s) is not in the "
            f"design ({', '.join(names)}); analyse with the design they were assigned by"
        )
    _check_once(subject, units)
    unseen = [name for name in names if not bool((units["variant"] == name).any())]
    if unseen:
        raise InvalidUnits(
            f"{subject}: nobody was assigned variant {unseen[0]!r}, so there is nothing to "
            "compare; check that the experiment runs, or wait"
        )


def _check_once(subject: str, units: pd.DataFrame) -> None:
    again = units.loc[units["unit_id"].duplicated(), "unit_id"]
    if not len(again):
        return
    # One in two variants is the worse fault, so it is named first.
    pairs = units.drop_duplicates(["unit_id", "variant"])
    torn = pairs.loc[pairs["unit_id"].duplicated(), "unit_id"].drop_duplicates()
    if len(torn):
        raise InvalidUnits(
            f"{subject}: {len(torn)} unit(s) are in two variants, first {torn.iloc[0]!r}; "
            "find who assigned them anew, or leave them out and say so"
        )
    raise InvalidUnits(
        f"{subject}: {len(again.drop_duplicates())} unit(s) have more than one row, first "
        f"{again.iloc[0]!r}; add them up to one row a unit"
    )


def _check_metric(subject: str, units: pd.DataFrame, metric: str) -> None:
    column = units[metric]
    if not pd.api.types.is_numeric_dtype(column):
        raise InvalidUnits(
            f"{subject}: metric {metric!r} is of type {column.dtype}, not numeric; convert it"
        )
    gaps = ~np.isfinite(column.to_numpy(dtype=np.float64, na_value=np.nan))
    if bool(gaps.any()):
        raise InvalidUnits(
            f"{subject}: metric {metric!r} is missing or infinite for {int(gaps.sum()):,} of "
            f"{len(units):,} units, first {units.loc[gaps, 'unit_id'].iloc[0]!r}; "
            "write 0 where a unit did nothing"
        )
