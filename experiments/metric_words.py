"""Metrics in words: what `spend:p90` or `visits:proportion` on a command line asks for."""

import re
from collections.abc import Sequence

import msgspec

from experiments.metrics import Column, InvalidMetric, Mean, Metric, Proportion, Quantile, Ratio

KINDS = "mean, proportion, ratio, median, p90 (any quantile), winsorised99 (capped at a quantile)"
# The quantile of all units' values that a winsorised mean is capped at where none is said.
USUAL_CAP = 0.99

_KIND = re.compile(
    r"(?P<word>mean|proportion|ratio|median|quantile|p|winsorised|capped)(?P<percent>\d+(\.\d+)?)?"
)


class Asked(msgspec.Struct, frozen=True):
    """A metric as asked for: a column, and how it is measured.

    `cap` is the quantile of all units' values above which they count as it; the value itself is
    only known once they are read.
    """

    text: str
    column: str
    kind: str
    level: float | None = None
    cap: float | None = None

    def metric(
        self, cap: float | None = None, denominator: str | None = None, covariate: str | None = None
    ) -> Metric:
        """Return the metric.

        Args:
            cap: The value that larger ones count as.
            denominator: What a ratio divides by.
            covariate: What was before the experiment, for means, ratios and proportions; a
                quantile has no use for it.

        Raises:
            InvalidMetric: A ratio has no denominator.
        """
        column = Column(self.column, cap)
        before = None if covariate is None else Column(covariate)
        if self.level is not None:
            return Quantile(column, self.level)
        if self.kind == "ratio":
            if denominator is None:
                raise InvalidMetric(
                    f"metric {self.text!r} is a ratio without a denominator; name its column with "
                    "--denominator"
                )
            return Ratio(column, Column(denominator), before)
        # Adjusted shares are means: the score test knows no covariate.
        if self.kind == "proportion" and before is None:
            return Proportion(column)
        return Mean(column, before)


def read_metrics(
    texts: Sequence[str], columns: Sequence[str], denominator: str | None = None
) -> dict[str, Asked]:
    """Return what is asked for by name: the column's, with the kind where it is asked for twice.

    Args:
        texts: COLUMN or COLUMN:KIND each.
        columns: That there are; one of them may contain a colon itself.
        denominator: Where it is given and nothing is called a ratio, what names no kind is one;
            else a mean.

    Raises:
        InvalidMetric: A kind is unknown, a level is none, the same is asked for twice, or nothing
            is divided by the denominator.
    """
    asked = [_read(text, columns, "mean") for text in texts]
    if denominator is not None and not any(one.kind == "ratio" for one in asked):
        asked = [_read(text, columns, "ratio") for text in texts]
        if not any(one.kind == "ratio" for one in asked):
            raise InvalidMetric(
                f"denominator {denominator!r} is used by no metric; write --metric COLUMN:ratio"
            )
    for one in asked:
        if [(a.column, a.kind, a.level, a.cap) for a in asked].count(
            (one.column, one.kind, one.level, one.cap)
        ) > 1:
            raise InvalidMetric(f"metric {one.text!r} is asked for twice; name it once")
    often = [one.column for one in asked]
    return {one.column if often.count(one.column) == 1 else one.text: one for one in asked}


def _read(text: str, columns: Sequence[str], usual: str) -> Asked:
    if text in columns or ":" not in text:
        return Asked(text, text, usual)
    column, _, word = text.rpartition(":")
    found = _KIND.fullmatch(word.strip().lower())
    percent = None if found is None else found["percent"]
    if found is None or (percent and found["word"] in ("mean", "proportion", "ratio", "median")):
        raise InvalidMetric(f"metric {text!r} is of kind {word!r}; choose one of {KINDS}")
    share = None if percent is None else float(percent) / 100
    if share is not None and not 0 < share < 1:
        raise InvalidMetric(f"metric {text!r}: {percent} % is no quantile between 0 and 100")
    match found["word"]:
        case "median" | "quantile" | "p":
            if found["word"] == "p" and share is None:
                raise InvalidMetric(f"metric {text!r} is of kind {word!r}; choose one of {KINDS}")
            return Asked(text, column, "quantile", level=share or 0.5)
        case "winsorised" | "capped":
            return Asked(text, column, "winsorised", cap=share or USUAL_CAP)
        case kind:
            return Asked(text, column, kind)
