"""Does targeting pay on randomised data, or is the best single offer for everyone as good?

Learns which treatment earns most for whom, and values the learned policy on rows it was not
learned from, beside the best single treatment for everyone and none. Treatments must have been
given by chance, with the probabilities of --propensity or else with their shares. All other
columns are taken for features: what became known only after the treatment must not be among them
(--leave-out), for it would look as if targeting worked. Columns that differ between treatments are
left out and named: chance does not do that. Values are money a row.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.readers.randomised import (
    Columns,
    codes,
    listed,
    numbers,
    read_table,
    treatments,
)
from benchmarks.readers.starbucks import NO_OFFER, randomised_table, read_rewards
from benchmarks.run import Bar
from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.balance import drawn_for, unbalanced
from recommender.overlap import refuse_seen_rows, refuse_seen_units
from recommender.policy_value import Price
from recommender.table_features import Encoding, learn_encoding
from recommender.trial import InvalidTrial, Trial, trial
from recommender.uplift_curve import CONVENTION, TOP, UpliftScores
from recommender.uplift_evaluation import FITS, Evaluation, LearnerFigures, cross_fit, on_test
from recommender.uplift_pictures import tenths_picture
from regulars.progress import Progress

ENDS = ("", "_low", "_high")
STARBUCKS_WAVES, STARBUCKS_HOURS, STARBUCKS_MARGIN = (0, 168), 168, 0.3


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="randomised rows, CSV or Parquet")
    parser.add_argument("--treatment", help="column of the treatment given")
    parser.add_argument("--control", help="its value for no treatment")
    parser.add_argument("--outcome", help="column of the outcome: 0/1 or an amount, more is better")
    parser.add_argument("--margin", type=float, default=1.0, help="money of an outcome of 1")
    parser.add_argument("--cost", type=float, default=0.0, help="money of a treatment given")
    parser.add_argument("--test", type=Path, help="learn from --data, judge on this file")
    parser.add_argument(
        "--propensity", help="column: probability of the treatment given, as logged"
    )
    parser.add_argument("--unit", help="column: whose row it is, if somebody has several")
    parser.add_argument(
        "--leave-out", action="append", default=[], metavar="COLUMN", help="not a feature; repeat"
    )
    parser.add_argument("--picture", type=Path, help="write uplift by tenth to this PNG")
    parser.add_argument("--starbucks", type=Path, help="folder of that data, instead of --data")
    parser.add_argument("--seed", type=int, default=7, help="of folds, trees and bootstrap")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return learners' figures, the policy's value and the choice."""
    _check_place(options.picture)
    table, columns, price = _asked(options)
    names = treatments(table, columns)
    progress = Progress()
    with progress.step("features") as step:
        learned = _learned(table, columns, names)
        step.show(_told(learned.encoding))
    rows = learned.rows
    with progress.step("uplift") as step:
        step.show(f"{len(rows.outcome):,} rows, {rows.k + 1} treatments")
        if options.test is None:
            step.expect(FITS)
            found = cross_fit(rows, price, options.seed, fitted=step.advance)
            judged = rows
        else:
            judged = _test(options.test, learned)
            found, _ = on_test(rows, judged, price, options.seed)
        step.show(found.choice.because)
    if options.picture is not None:
        _draw(found, options.picture)
    return {
        **_figures(found, names, price),
        "by": "cross-fitting" if options.test is None else "test file",
        "rows": len(judged.outcome),
        "units": int(judged.unit.max()) + 1,
        "features": learned.encoding.names(),
        "left_out": learned.encoding.left_out,
    }


def _check_place(picture: Path | None) -> None:
    """Refuse a picture that could not be written, before all the work.

    Raises:
        RegularsError: It is no PNG, or there is no such folder.
    """
    if picture is None:
        return
    if picture.suffix.lower() != ".png":
        raise RegularsError(f"--picture {picture}: write it to a file whose name ends with .png")
    if not picture.parent.is_dir():
        raise RegularsError(
            f"--picture {picture}: there is no folder {picture.parent}; make it, or name another"
        )


def _draw(found: Evaluation, picture: Path) -> None:
    try:
        tenths_picture(found.tenths, found.choice.because).savefig(picture)
    except OSError as error:
        raise RegularsError(
            f"--picture {picture}: {error.strerror or error}; name a file that can be written"
        ) from error


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold what is chosen to paired intervals on rows it was not learned from."""
    over = {
        "policy": {"best single": (1, "policy_over_best"), "none": (1, "policy_over_none")},
        "best_single": {"none": (1, "best_over_none")},
        "none": {"best single": (-1, "best_over_none")},
    }
    found: list[Bar] = []
    for other, (sign, name) in over[figures["chosen"]].items():
        ends = [figures[name]["low"], figures[name]["high"]]
        if None in ends:
            continue
        most = max(sign * end for end in ends)
        found.append(Bar(f"chosen over {other}, upper bound", most, "at least 0", most >= 0))
    return found


@dataclass(frozen=True)
class _Learned:
    """What is learned from: the file, what its columns are, and its rows as a trial."""

    table: pd.DataFrame
    columns: Columns
    names: list[str]
    encoding: Encoding
    rows: Trial


def _learned(table: pd.DataFrame, columns: Columns, names: list[str]) -> _Learned:
    """Find the features that may be learned from.

    Raises:
        RegularsError: None is left, or treatments were not drawn a row (or unit).
    """
    features = columns.features(table)
    encoding = learn_encoding(features)
    rows = _trial(table, columns, names, encoding)
    for name in features.columns:
        if met := drawn_for(features[name], rows.treatment, rows.unit):
            raise InvalidTrial(
                f"column {name!r}: rows of the same value got the same treatment, for {met:,} "
                f"values, more than by chance; were treatments drawn for these, say --unit {name}; "
                f"was it known only after the treatment, --leave-out {name}"
            )
    differ = unbalanced(encoding.by_column(table), rows)
    encoding = encoding.without(
        {
            name: f"differs between treatments (p {p:.1g}), as nothing does that was known before "
            "them; if it was, they were not given with these probabilities"
            for name, p in differ.items()
        }
    )
    if not encoding.columns:
        reasons = [f"{name}: {reason}" for name, reason in encoding.left_out.items()]
        raise RegularsError(
            f"no feature is left to tell rows apart ({listed(reasons) or 'no column'}); add what "
            "was known of customers before the treatment"
        )
    matrix = encoding.matrix(table)
    alike = pd.util.hash_pandas_object(pd.DataFrame(matrix), index=False)
    if met := drawn_for(alike, rows.treatment, rows.unit):
        raise InvalidTrial(
            f"rows with the same features got the same treatment, for {met:,} sets of features, "
            "more than by chance: they are rows of one customer; name the column that says whose "
            "a row is (--unit)"
        )
    return _Learned(table, columns, names, encoding, replace(rows, features=matrix))


def _told(encoding: Encoding) -> str:
    said = [f"left out {name!r}: {reason}" for name, reason in encoding.left_out.items()]
    return "; ".join([f"{len(encoding.columns)} columns", *said])


def _test(path: Path, learned: _Learned) -> Trial:
    """Return the rows to judge on, given by the design of those learned from.

    Raises:
        RegularsError: They cannot be read, or are among those learned from.
    """
    columns, rows = learned.columns, learned.rows
    test = read_table(path, columns, logged=False)
    if columns.unit is None:
        refuse_seen_rows(learned.table, test)
    else:
        refuse_seen_units(learned.table[columns.unit], test[columns.unit], columns.unit)
    if columns.propensity is not None and columns.propensity in test.columns:
        return _trial(test, columns, learned.names, learned.encoding, learn=False)
    by_code = [np.unique(rows.propensity[rows.treatment == code]) for code in range(rows.k + 1)]
    if any(len(chances) > 1 for chances in by_code):
        raise RegularsError(
            f"file {path}: no column is called {columns.propensity!r}, and probabilities differ "
            "from row to row in the data learned from; give the logged ones of these rows, too"
        )
    design = np.array([chances[0] for chances in by_code])
    return _trial(test, columns, learned.names, learned.encoding, design, learn=False)


def _asked(options: argparse.Namespace) -> tuple[pd.DataFrame, Columns, Price]:
    """Return the table that was asked for, what its columns are, and prices."""
    if options.starbucks is not None:
        columns = Columns("offer", "money", NO_OFFER, "propensity", "person")
        table = randomised_table(
            read_rewards(options.starbucks), STARBUCKS_WAVES, STARBUCKS_HOURS, STARBUCKS_MARGIN
        )
        return table, columns, Price(1.0, 0.0)
    for name in ("data", "treatment", "control", "outcome"):
        if getattr(options, name) is None:
            raise RegularsError(
                f"--{name} is missing; give --data FILE --treatment COLUMN --control VALUE "
                "--outcome COLUMN, or --starbucks FOLDER"
            )
    columns = Columns(
        options.treatment,
        options.outcome,
        options.control,
        options.propensity,
        options.unit,
        tuple(options.leave_out),
    )
    asked = [columns.treatment, columns.outcome, columns.propensity, columns.unit]
    named = [name for name in asked if name is not None]
    if len(set(named)) < len(named):
        raise RegularsError(
            f"columns {listed(named)}: one column cannot be two things; name different ones"
        )
    return read_table(options.data, columns), columns, Price(options.margin, options.cost)


def _trial(
    table: pd.DataFrame,
    columns: Columns,
    names: list[str],
    encoding: Encoding,
    design: np.ndarray | None = None,
    *,
    learn: bool = True,
) -> Trial:
    """Return rows as a trial.

    Args:
        design: Probability of each treatment, where none is logged; their shares by default.
    """
    treatment = codes(table, columns, names)
    if columns.unit is not None and (missing := int(table[columns.unit].isna().sum())):
        raise InvalidTrial(
            f"unit {columns.unit!r} is missing in {missing} of {len(table)} rows; say of each row "
            "whose it is"
        )
    if design is not None:
        propensity = design[treatment]
    else:
        propensity = None if columns.propensity is None else numbers(table, columns.propensity)
    return trial(
        encoding.matrix(table),
        treatment,
        numbers(table, columns.outcome),
        propensity,
        None if columns.unit is None else table[columns.unit].astype(str).to_numpy(),
        names,
        learn=learn,
    )


def _figures(found: Evaluation, names: Sequence[str], price: Price) -> dict[str, Any]:
    values, whether = found.values, found.values.refused

    def value(name: str) -> dict[str, Any]:
        one = values.figures().get(name)
        return _interval(one) if one is not None else _unknown(whether[name])

    return {
        "learners": {name: _learner(one, names) for name, one in found.learners.items()},
        "convention": CONVENTION,
        "rate_p": found.rate_p,
        "rates": [_interval(rate.interval) for rate in found.rates],
        "policy": value("policy") | {"shares": dict(zip(names, found.shares, strict=True))},
        "best_single": value("best_single")
        | {"treatments": sorted({names[code] for code in found.best_single})},
        "none": value("none"),
        "policy_over_best": value("policy_over_best"),
        "policy_over_none": value("policy_over_none"),
        "best_over_none": value("best_over_none"),
        "chosen": found.choice.chosen,
        "because": found.choice.because,
        "picked_learners": found.picked,
        "tenths": [
            {"rows": group.n, "predicted": group.predicted, **_interval(group.observed)}
            for group in found.tenths
        ],
        "margin": price.margin,
        "cost": price.cost,
    }


def _learner(one: LearnerFigures, names: Sequence[str]) -> dict[str, Any]:
    by_treatment = {
        names[code]: _scores(each, one.refused.get(code))
        for code, each in enumerate(one.by_treatment, start=1)
    }
    value = _unknown(one.refused["value"]) if one.value is None else _interval(one.value)
    advised = _scores(one.advised, one.refused.get("advised"))
    return {**advised, "value": value, "by_treatment": by_treatment}


def _scores(scores: UpliftScores | None, refused: str | None) -> dict[str, Any]:
    """Return Qini, AUUC and uplift at k, or each as unknown and why."""
    at = f"uplift_at_{TOP * 100:.0f}"
    if scores is None:
        unknown = {f"{name}{end}": None for name in ("qini", "auuc", at) for end in ENDS}
        return {**unknown, "refused": refused}
    found: dict[str, Any] = {}
    for name, one in (("qini", scores.qini), ("auuc", scores.auuc), (at, scores.at)):
        found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return found


def _unknown(reason: str) -> dict[str, Any]:
    return {"value": None, "low": None, "high": None, "refused": reason}


def _interval(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
