"""Does targeting pay on randomised data, or is the best single offer for everyone as good?

Learns which treatment earns most for whom, and values the learned policy on rows it was not
learned from, beside the best single treatment for everyone and none. Treatments must have been
given by chance, with the probabilities of --propensity or else with their shares. All other
columns are taken for features: what became known only after the treatment must not be among them
(--leave-out), since no program can tell, and it would look as if targeting worked. Values are
money a row.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.readers.starbucks import NO_OFFER, randomised_table, read_rewards
from benchmarks.run import Bar
from foundation.errors import RegularsError
from foundation.scores import Interval
from recommender.policy_value import Price
from recommender.table_features import Encoding, learn_encoding
from recommender.trial import InvalidTrial, Trial, trial
from recommender.uplift_curve import CONVENTION, UpliftScores
from recommender.uplift_evaluation import FITS, Evaluation, cross_fit, on_test
from recommender.uplift_pictures import tenths_picture
from regulars.progress import Progress

MOST_TREATMENTS = 50
STARBUCKS_WAVES, STARBUCKS_HOURS, STARBUCKS_MARGIN = (0, 168), 168, 0.3


@dataclass(frozen=True)
class Columns:
    """What the columns of a randomised table are."""

    treatment: str
    outcome: str
    control: str
    propensity: str | None = None
    unit: str | None = None
    left_out: tuple[str, ...] = ()

    def features(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the columns that are nothing else."""
        known = {self.treatment, self.outcome, self.propensity, self.unit, *self.left_out}
        return table[[name for name in table.columns if name not in known]]


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
    table, columns, price = _asked(options)
    names = _treatments(table, columns)
    encoding = learn_encoding(columns.features(table))
    if not encoding.columns:
        raise RegularsError(
            f"no feature is left to tell rows apart ({_list(encoding.left_out) or 'no column'}); "
            "add what was known of customers before the treatment"
        )
    rows = _trial(table, columns, names, encoding)
    progress = Progress()
    with progress.step("uplift") as step:
        step.show(f"{len(rows.outcome):,} rows, {rows.k + 1} treatments")
        if options.test is None:
            step.expect(FITS)
            found = cross_fit(rows, price, options.seed, fitted=step.advance)
            judged = rows
        else:
            test = read_table(options.test, columns)
            judged = _trial(test, columns, names, encoding)
            found, _ = on_test(rows, judged, price, options.seed)
        step.show(found.choice.because)
    if options.picture is not None:
        tenths_picture(found.tenths, found.choice.because).savefig(options.picture)
    return {
        **_figures(found, names, price),
        "by": "cross-fitting" if options.test is None else "test file",
        "rows": len(judged.outcome),
        "units": int(judged.unit.max()) + 1,
        "floored_propensities": judged.floored,
        "features": encoding.names(),
        "left_out": encoding.left_out,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold what is chosen to its own paired interval, and the ranking to intervals that order."""
    gain = figures["policy_over_best"]["low"]
    targeted = figures["chosen"] == "policy"
    return [
        Bar(
            "policy over best single, lower bound",
            gain,
            "above 0, or the policy is not chosen",
            gain > 0 or not targeted,
        )
    ]


def read_table(path: Path, columns: Columns) -> pd.DataFrame:
    """Read a CSV (comma, semicolon, tab or bar) or Parquet file that has the columns.

    Raises:
        RegularsError: It cannot be read, has no rows, or lacks a column.
    """
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else _csv(path, columns)
    except (OSError, ValueError, UnicodeError) as error:
        raise RegularsError(
            f"file {path}: {str(error).splitlines()[0]}; give a CSV with a header, or Parquet"
        ) from error
    table.columns = [str(name).strip() for name in table.columns]
    asked = (columns.treatment, columns.outcome, columns.propensity, columns.unit)
    for name in (*asked, *columns.left_out):
        if name is not None and name not in table.columns:
            raise RegularsError(
                f"file {path}: no column is called {name!r}; there are {_list(table.columns)}"
            )
    if table.empty:
        raise RegularsError(f"file {path}: has no rows; give the randomised rows")
    return table


def _csv(path: Path, columns: Columns) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig") as file:
        head = file.readline()
    separator = max(",;\t|", key=head.count)
    table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    words = {columns.treatment, columns.unit}
    # A control called "None" or "NA" is a word, and an id keeps its zeros in front.
    read = pd.read_csv(
        path,
        sep=separator,
        encoding="utf-8-sig",
        dtype="str",
        keep_default_na=False,
        usecols=lambda name: str(name).strip() in words,
    )
    for name in read.columns:
        table[name] = read[name].mask(read[name].str.strip() == "")
    return table


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
            f"columns {_list(named)}: one column cannot be two things; name different ones"
        )
    return read_table(options.data, columns), columns, Price(options.margin, options.cost)


def _treatments(table: pd.DataFrame, columns: Columns) -> list[str]:
    """Return the treatments' names, the control first."""
    given = _given(table, columns)
    found = sorted(given.unique())
    control = _plain(columns.control)
    same = [name for name in found if name == control]
    same = same or [name for name in found if name.casefold() == control.casefold()]
    if len(found) > MOST_TREATMENTS:
        raise InvalidTrial(
            f"column {columns.treatment!r} has {len(found)} distinct values, at most "
            f"{MOST_TREATMENTS} are compared; name the column of the treatment"
        )
    if not same:
        raise InvalidTrial(
            f"control {columns.control!r} does not occur in column {columns.treatment!r}; there "
            f"are {_list(found)}"
        )
    if len(found) < 2:
        raise InvalidTrial(
            f"column {columns.treatment!r} has the control {same[0]!r} alone; rows with a "
            "treatment are needed too"
        )
    return [same[0], *(name for name in found if name != same[0])]


def _given(table: pd.DataFrame, columns: Columns) -> pd.Series:
    values = table[columns.treatment]
    if missing := int(values.isna().sum()):
        raise InvalidTrial(
            f"treatment {columns.treatment!r} is missing in {missing} of {len(values)} rows; write "
            "the control's value where nothing was given"
        )
    return values.map(_plain)


def _plain(value: Any) -> str:
    """Return a value's text, so that 1, 1.0 and " 1" are the same treatment."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return f"{number:g}" if np.isfinite(number) else text


def _trial(table: pd.DataFrame, columns: Columns, names: list[str], encoding: Encoding) -> Trial:
    given = _given(table, columns)
    if unknown := sorted(set(given) - set(names)):
        raise InvalidTrial(
            f"treatment {unknown[0]!r} of the test file does not occur in the data learned from; "
            f"there are {_list(names)}"
        )
    propensity = columns.propensity and _numbers(table, columns.propensity)
    if columns.unit is not None and (missing := int(table[columns.unit].isna().sum())):
        raise InvalidTrial(
            f"unit {columns.unit!r} is missing in {missing} of {len(table)} rows; say of each row "
            "whose it is"
        )
    return trial(
        encoding.matrix(table),
        given.map({name: code for code, name in enumerate(names)}).to_numpy(),
        _numbers(table, columns.outcome),
        None if columns.propensity is None else np.asarray(propensity),
        None if columns.unit is None else table[columns.unit].astype(str).to_numpy(),
        names,
    )


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    values = table[name]
    if values.dtype == object or pd.api.types.is_string_dtype(values):
        values = values.map({"True": 1, "False": 0, True: 1, False: 0}).fillna(values)
    numbers = pd.to_numeric(values, errors="coerce")
    if wrong := values[numbers.isna() & values.notna()].tolist():
        raise InvalidTrial(
            f"column {name!r} has {wrong[0]!r}, which is no number; write 1 and 0, or an amount"
        )
    if missing := int(numbers.isna().sum()):
        raise InvalidTrial(
            f"column {name!r} is missing in {missing} of {len(table)} rows; write 0 where nothing "
            "happened, and leave out rows of which it is not known"
        )
    return numbers.to_numpy(dtype=np.float64)


def _figures(found: Evaluation, names: Sequence[str], price: Price) -> dict[str, Any]:
    values = found.values
    return {
        "learners": {
            name: {
                **_scores(one.advised),
                "value": _interval(one.value),
                "by_treatment": {
                    names[place + 1]: _scores(each) for place, each in enumerate(one.by_treatment)
                },
            }
            for name, one in found.learners.items()
        },
        "convention": CONVENTION,
        "rate_p": found.rate_p,
        "rates": [_interval(rate.interval) for rate in found.rates],
        "policy": _interval(values.policy)
        | {"shares": dict(zip(names, found.shares, strict=True))},
        "best_single": _interval(values.best_single)
        | {"treatments": sorted({names[code] for code in found.best_single})},
        "none": _interval(values.none),
        "policy_over_best": _interval(values.policy_over_best),
        "policy_over_none": _interval(values.policy_over_none),
        "best_over_none": _interval(values.best_over_none),
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


def _scores(scores: UpliftScores) -> dict[str, float]:
    found: dict[str, float] = {}
    at = f"uplift_at_{scores.top * 100:.0f}"
    for name, one in (("qini", scores.qini), ("auuc", scores.auuc), (at, scores.at)):
        found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return found


def _interval(interval: Interval) -> dict[str, Any]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _list(words: Any) -> str:
    return ", ".join(str(word) for word in words)
