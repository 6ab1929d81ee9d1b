"""The promotion gate: may the challenger serve in the champion's place?

Both are scored on the same exposures, which neither was trained on. The challenger must surely be
no worse than a margin in ranking (AUC) and in log loss, be calibrated, and harm no segment of
customers. Harm is excess log loss, a proper score that has a meaning in any group; that a group is
harmed is said only where it would stand among all the groups looked at, by the bootstrap of the
largest deviation. Customers, not rows, are redrawn.

Sources: non-inferiority by a confidence limit, Piaggio et al. 2012 (CONSORT); proper scores,
Gneiting and Raftery 2007; simultaneous bounds, Romano and Wolf 2005.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from foundation.calibration import FEWEST_CUSTOMERS, Calibration, calibration
from foundation.model_life import Judgement
from foundation.scores import Interval, log_losses, percentiles

# How much worse a challenger may be: in AUC, and in parts of the champion's log loss.
AUC_MARGIN = 0.01
LOG_LOSS_MARGIN = 0.02
# In one segment's log loss, which is noisier.
SEGMENT_MARGIN = 0.05
# A challenger whose interval lies wholly outside is surely miscalibrated.
SLOPE = (0.8, 1.25)
OBSERVED_EXPECTED = (0.8, 1.25)
# In parts of the rate of response: a tenth of a point is much of 1 % and nothing of 50 %.
CALIBRATION_ERROR = 0.25
ROUNDS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Rows:
    """The exposures that a gate judges on: since when, how many, whose, how many answered."""

    since: datetime
    rows: int
    customers: int
    responses: int


@dataclass(frozen=True, slots=True)
class Part:
    """One thing asked of a challenger; `holds` is None where nothing can be said."""

    name: str
    holds: bool | None
    told: str
    figure: Interval | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate found; without a champion the challenger is judged alone."""

    judged_on: Rows
    parts: list[Part]

    def judgement(self) -> Judgement:
        """Return it in the words that all gates share."""
        on = self.judged_on
        head = (
            f"judged on {on.rows:,} exposures of {on.customers:,} customers since "
            f"{on.since:%Y-%m-%d}, {on.responses:,} of them answered"
        )
        words = {True: "holds", False: "FAILS", None: "not judged"}
        lines = [f"{words[part.holds]}: {part.name}: {part.told}" for part in self.parts]
        record: dict[str, Any] = {"judged_on": asdict(on) | {"since": on.since.isoformat()}}
        record["parts"] = [asdict(part) for part in self.parts]
        faults = [f"{part.name}: {part.told}" for part in self.parts if part.holds is False]
        return Judgement(tuple(faults), (head, *lines), record)


def judge(
    outcome: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray | None,
    rate: float,
    customers: np.ndarray,
    segments: Mapping[str, np.ndarray],
    since: datetime,
    seed: int,
    rounds: int = ROUNDS,
) -> Verdict:
    """Judge a challenger on exposures that neither model was trained on.

    Args:
        outcome: 0 or 1, shape (n,).
        challenger, champion: Their probabilities, shape (n,); no champion's where it cannot tell
            any of these rows.
        rate: Share of responses known beforehand.
        customers: Whose exposure each row is, shape (n,).
        segments: By name which rows are in it, booleans of shape (n,); known before any outcome.
        since: The first instant that rows were taken from.
        rounds: Bootstrap rounds.

    Raises:
        TooLittleData: Fewer than 10 customers with either outcome.
    """
    known = np.full(len(outcome), rate)
    beside = known if champion is None else champion
    found = calibration(outcome, challenger, known, beside, customers, seed)
    parts = [_ranks(found, alone=champion is None)]
    calibrated = _calibrated(found, float(outcome.mean()))
    if champion is None:
        parts += [_predicts(found), *calibrated]
    else:
        masks = {"everyone": np.ones(len(outcome), dtype=bool), **segments}
        theirs = log_losses(outcome, champion)
        more = log_losses(outcome, challenger) - theirs
        excess, drawn = _excess(more, theirs, masks, customers, seed, rounds)
        refused = {name: _too_small(outcome, customers, mask) for name, mask in segments.items()}
        parts += [_no_worse(percentiles(excess[0], drawn[:, 0])), *calibrated]
        parts += _unharmed(refused, excess[1:], drawn[:, 1:])
    return Verdict(Rows(since, len(outcome), found.customers, int(outcome.sum())), parts)


def _ranks(found: Calibration, *, alone: bool) -> Part:
    if alone:
        told = f"AUC {_told(found.auc)}, surely above 0.5 is asked"
        return Part("ranking", found.auc.low > 0.5, told, found.auc)
    gain = found.auc_gain
    holds = gain.low >= -AUC_MARGIN
    told = (
        f"AUC {found.auc.value:.3f}, the champion {found.baseline_auc.value:.3f}, gain "
        f"{_told(gain, '+.3f')}, {_so(holds, gain.high < -AUC_MARGIN)}at most {AUC_MARGIN} worse "
        "is asked"
    )
    return Part("ranking", holds, told, gain)


def _predicts(found: Calibration) -> Part:
    skill = found.brier_skill
    told = f"Brier skill over the known rate {_told(skill)}, surely above 0 is asked"
    return Part("skill", skill.low > 0, told, skill)


def _no_worse(excess: Interval) -> Part:
    holds = excess.high <= LOG_LOSS_MARGIN
    told = (
        f"{_told(excess, '+.1%')} against the champion's, "
        f"{_so(holds, excess.low > LOG_LOSS_MARGIN)}at most {LOG_LOSS_MARGIN:.0%} more is asked"
    )
    return Part("log loss", holds, told, excess)


def _so(holds: bool, surely_not: bool) -> str:
    if holds:
        return ""
    return "surely worse: " if surely_not else "too uncertain to tell: "


def _calibrated(found: Calibration, rate: float) -> list[Part]:
    parts: list[Part] = []
    for name, figure, (least, most) in (
        ("calibration slope", found.slope, SLOPE),
        ("observed/expected", found.observed_expected, OBSERVED_EXPECTED),
    ):
        holds = bool(figure.high >= least and figure.low <= most)
        told = f"{_told(figure, '.2f')}, {least} to {most} is asked"
        parts.append(Part(name, holds, told, figure))
    error, most = found.ece, CALIBRATION_ERROR * rate
    told = f"{error.value:.4f}, at most {most:.4f} is asked ({CALIBRATION_ERROR:.0%} of the rate)"
    return [*parts, Part("calibration error", error.value <= most, told, error)]


def _excess(
    more: np.ndarray,
    theirs: np.ndarray,
    masks: Mapping[str, np.ndarray],
    customers: np.ndarray,
    seed: int,
    rounds: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the challenger's excess in parts of the champion's loss, and its bootstrap draws.

    Args:
        more: What the challenger loses more, shape (n,).
        theirs: What the champion loses, shape (n,).

    Returns:
        Shapes (n_groups,) and (rounds, n_groups); NaN where a draw holds nobody of a group.
    """
    codes = np.unique(customers, return_inverse=True)[1]
    size = int(codes.max()) + 1

    def hers(loss: np.ndarray) -> np.ndarray:
        by_group = [np.bincount(codes, loss * mask, minlength=size) for mask in masks.values()]
        return np.column_stack(by_group)

    excess, whole = hers(more), hers(theirs)
    draw = np.random.default_rng(seed)
    drawn = np.empty((rounds, len(masks)))
    with np.errstate(invalid="ignore"):
        for each in range(rounds):
            weight = np.bincount(draw.integers(0, size, size), minlength=size).astype(float)
            drawn[each] = (weight @ excess) / (weight @ whole)
        return excess.sum(axis=0) / whole.sum(axis=0), drawn


def _too_small(outcome: np.ndarray, customers: np.ndarray, mask: np.ndarray) -> str | None:
    for wanted, word in ((1, "who answered"), (0, "who did not")):
        found = len(np.unique(customers[mask & (outcome == wanted)]))
        if found < FEWEST_CUSTOMERS:
            return f"{found} customers {word}, {FEWEST_CUSTOMERS} are needed"
    return None


def _unharmed(
    refused: Mapping[str, str | None], excess: np.ndarray, drawn: np.ndarray
) -> list[Part]:
    """Judge all segments at once: bounds hold together, for as many as were looked at."""
    judged = np.array([reason is None for reason in refused.values()], dtype=bool)
    spread = np.where(judged, np.nanstd(np.where(judged, drawn, 0.0), axis=0), 0.0)
    # A segment that both models score alike has no spread, and cannot be harmed.
    told = judged & (spread > 0)
    widest = 0.0
    if told.any():
        away = np.abs(drawn[:, told] - excess[told]) / spread[told]
        widest = float(np.quantile(np.nanmax(away, axis=1), CONFIDENCE))
    parts: list[Part] = []
    for place, (name, reason) in enumerate(refused.items()):
        if reason is not None:
            parts.append(Part(name, None, reason))
            continue
        value, half = float(excess[place]), widest * float(spread[place])
        figure = Interval(value, value - half, value + half)
        harmed = figure.low > 0 and value > SEGMENT_MARGIN
        rule = f"harm is more than {SEGMENT_MARGIN:.0%} and surely some"
        told_of = f"log loss {_told(figure, '+.1%')} against the champion's; {rule}"
        parts.append(Part(name, not harmed, told_of, figure))
    return parts


def _told(figure: Interval, form: str = ".3f") -> str:
    return f"{figure.value:{form}} [{figure.low:{form}}, {figure.high:{form}}]"
