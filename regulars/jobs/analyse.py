"""Analyse any file of an experiment's units with the code that reports on our own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from adapters.unit_file import STRATUM, Found, UnitFile
from experiments.analysis import Analysis, analyse_units
from experiments.metric_words import Asked, read_metrics
from experiments.metrics import Column, InvalidMetric, Mean, Metric, columns, of_clusters
from experiments.outliers import outlier_warnings
from experiments.post_stratification import REST
from foundation.errors import RegularsError

_UNCHECKED = (
    "no column names the units, so duplicates and units in two variants are not checked: name it "
    "with --unit"
)
_CAP = "see what it is, or cap it in the next plan, as --metric COLUMN:winsorised99 does"


def analyse_file(
    path: Path,
    variant: str,
    metrics: Sequence[str],
    control: str,
    covariate: str | None = None,
    denominator: str | None = None,
    cluster: str | None = None,
    unit: str | None = None,
    weights: Mapping[str, float] | None = None,
    stratify: str | None = None,
) -> Analysis:
    """Compare the variants of a CSV or Parquet file of one row a unit, or a part of a cluster.

    Args:
        path: The file.
        variant: Its column that says who got what.
        metrics: COLUMN or COLUMN:KIND each, see metric_words.py.
        control: The variant to compare with.
        covariate: A column from before the experiment (CUPED).
        denominator: What ratios divide by.
        cluster: A column of what was assigned as a whole.
        unit: A column of who a row is; left out, one of the usual names, if there is one.
        weights: The planned share of each variant.
        stratify: A column of groups from before the experiment, to post-stratify by.

    Raises:
        RegularsError: The file cannot be read as asked; nothing is made up for it.
    """
    if stratify is not None and cluster is not None:
        raise RegularsError(
            f"--stratify {stratify} and --cluster {cluster} do not go together: a cluster's "
            "customers may be of several strata; leave one out"
        )
    with UnitFile(path) as file:
        asked = read_metrics(metrics, file.columns, denominator)
        others = [name for name in (denominator, covariate) if name is not None]
        numbers = [*(one.column for one in asked.values()), *others]
        file.check_columns([variant, *numbers])
        taken = [variant, *numbers, *([] if cluster is None else [cluster])]
        who, unsure = file.unit_column(taken) if unit is None else (unit, [])
        control = file.variant_called(control, variant)
        if weights is not None:
            weights = {file.variant_called(one, variant): w for one, w in weights.items()}
        known = [control, *(weights or ())]
        found = file.read(variant, numbers, who, cluster, stratify, known)
        named = {name: _metric(file, one, denominator, covariate) for name, one in asked.items()}
        file.check_shares([one.metric() for one in asked.values() if one.kind == "proportion"])
        before: Metric | None = None if covariate is None else Mean(Column(covariate))
        missing: dict[str, str] = {}
        merged = {} if stratify is None else file.merge_strata()
        if cluster is None:
            units = file.units(stratify is not None)
        else:
            units = file.clusters([*named.values(), *([] if before is None else [before])])
            named, missing = _of_clusters(named)
            before = None if before is None else of_clusters(before)
        few = [
            told
            for name, one in asked.items()
            if one.kind == "mean" and name in named
            for told in outlier_warnings(units.top_few(columns(named[name])[0].name), _CAP)
        ]
        unchecked = [*unsure, *([_UNCHECKED] if who is None else []), *_repeated(found, who)]
        return analyse_units(
            units,
            named,
            control,
            weights,
            before,
            _faults(found),
            warnings=[*unchecked, *_merged(merged), *_without_covariate(asked, covariate), *few],
            stratum=None if len(set(merged.values())) < 2 else STRATUM,
            missing=missing,
        )


def _metric(file: UnitFile, asked: Asked, denominator: str | None, covariate: str | None) -> Metric:
    cap = None if asked.cap is None else file.cap(asked.column, asked.cap)
    return asked.metric(cap, denominator, covariate)


def _of_clusters(named: Mapping[str, Metric]) -> tuple[dict[str, Metric], dict[str, str]]:
    """Return the metrics of clusters, and why the others have none."""
    found: dict[str, Metric] = {}
    refused: dict[str, str] = {}
    for name, metric in named.items():
        try:
            found[name] = of_clusters(metric)
        except InvalidMetric as refusal:
            refused[name] = str(refusal)
    return found, refused


def _merged(strata: Mapping[str, str]) -> list[str]:
    """Say which strata were too small to stand by themselves."""
    if not strata:
        return []
    told = [stratum or "(empty)" for stratum, called in strata.items() if called == REST]
    if len(set(strata.values())) < 2:
        return ["there is only one stratum large enough, so nothing is post-stratified"]
    return [f"too small by themselves, so one stratum: {', '.join(told)}"] if told else []


def _without_covariate(asked: Mapping[str, Asked], covariate: str | None) -> list[str]:
    """Say which metrics have no use for a covariate."""
    told = [name for name, one in asked.items() if one.level is not None]
    if covariate is None or not told:
        return []
    return [f"{covariate} adjusts no quantile, so {', '.join(told)} are as without it"]


def _repeated(found: Found, unit: str | None) -> list[str]:
    if not found.repeated:
        return []
    return [
        f"{found.repeated:,} units of column {unit!r} have several rows inside their clusters, so "
        "a mean is that of a row, not of a unit; add them up where that is not meant"
    ]


def _faults(found: Found) -> list[str]:
    faults: list[str] = []
    if found.unassigned:
        faults.append(
            f"{found.unassigned:,} of {found.rows:,} rows have no variant (exposure without "
            "assignment); find out who assigned them, or leave them out and say so"
        )
    if found.torn:
        faults.append(
            f"{found.torn:,} of column {found.torn_in!r} are in two variants or more, first "
            f"{found.first_torn!r}; find who assigned them anew, or leave them out and say so; "
            "where the column does not name who was assigned, name that one with --unit or "
            "--cluster"
        )
    return faults
