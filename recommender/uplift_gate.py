"""The promotion gate of uplift: may the challenger target in the champion's place?

Both policies are valued on the same decisions, drawn by chance after both were trained, so that
what they agree on cancels. The challenger must surely earn no less than a margin below the
champion, surely more than the best single offer for everyone, foretell effects that fit those seen,
and surely harm no segment beyond a stated margin.
Margins are parts of what the champion earns over none on these decisions.

Sources: values, see `policy_value`; slope, the best linear predictor of Chernozhukov et al. 2018
(arXiv 1712.04802); segments at once, Bonferroni.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from foundation.errors import TooLittleData
from foundation.model_life import Judgement
from foundation.scores import Interval
from recommender.arm_evidence import arm_evidence
from recommender.gate import OBSERVED_EXPECTED, SLOPE, Part
from recommender.policy_value import Price, mean_interval, treat_by
from recommender.trial import FEWEST_UNITS, Z_95, Trial, cluster_error
from recommender.uplift import doubly_robust_scores, effect_slope

# What the challenger may earn less, in parts of the champion's gain over none; the second is for a
# segment, whose figures are noisier.
LOSS_MARGIN = 0.1
SEGMENT_MARGIN = 0.25


@dataclass(frozen=True)
class Told:
    """What a model tells of rows.

    Attributes:
        effects: Money that each treatment causes, shape (n, k).
        single: The best single treatment for everyone by what it learned, a code from 1.
    """

    effects: np.ndarray
    single: int

    def policy(self, price: Price) -> np.ndarray:
        return treat_by(price.gains(self.effects))

    def expected_gain(self, price: Price) -> float:
        """Return what it expects its policy to earn a row over none."""
        best = price.gains(self.effects).max(axis=1)
        return float(np.maximum(best, 0.0).mean())


def judge_uplift(
    rows: Trial,
    expected: np.ndarray,
    challenger: Told,
    champion: Told,
    segments: Mapping[str, np.ndarray],
    price: Price,
) -> Judgement:
    """Judge a challenger beside the champion on rows that neither was trained on.

    Args:
        expected: Modelled outcome under each treatment, control first, by a model that did not
            see the rows, shape (n, k + 1).
        segments: By name which rows are in it, booleans of shape (n,); known before any outcome.
        price: Of the outcome; what a treatment costs beside.

    Raises:
        TooLittleData: A treatment that one of them would give, or none, has too few outcomes.
    """
    evidence = arm_evidence(rows)
    policy, reigns = challenger.policy(price), champion.policy(price)
    single = np.full_like(rows.treatment, challenger.single)
    for rule in (np.zeros_like(rows.treatment), policy, reigns, single):
        if (fault := evidence.fault(rule)) is not None:
            raise TooLittleData(fault)
    scores = doubly_robust_scores(rows, expected)
    money = price.money(scores.copy())
    place = np.arange(len(money))
    ours, theirs = money[place, policy], money[place, reigns]
    reigning = mean_interval(theirs - money[:, 0], rows.unit)
    worth = max(reigning.value, 0.0)
    gain = mean_interval(ours - money[:, 0], rows.unit)
    parts = [
        _no_worse(mean_interval(ours - theirs, rows.unit), worth),
        _beats(mean_interval(ours - money[place, single], rows.unit), rows.called[single[0]]),
        *calibrated(rows, scores, challenger, gain, price),
        *_unharmed(rows, ours - theirs, segments, worth),
    ]
    words = {True: "holds", False: "FAILS", None: "not judged"}
    head = (
        f"judged on {len(place):,} decisions drawn by chance, of {int(rows.unit.max()) + 1:,} "
        f"units, that neither was trained on; over none the champion earns {_told(reigning)}, the "
        f"challenger {_told(gain)} (minor units a decision)"
    )
    return Judgement(
        tuple(f"{part.name}: {part.told}" for part in parts if part.holds is False),
        (head, *(f"{words[part.holds]}: {part.name}: {part.told}" for part in parts)),
        {
            "rows": len(place),
            "champion_over_none": asdict(reigning),
            "challenger_over_none": asdict(gain),
            "parts": [asdict(part) for part in parts],
        },
    )


def _no_worse(gain: Interval, worth: float) -> Part:
    least = -LOSS_MARGIN * worth
    if gain.low >= least:
        so = ""
    else:
        so = "surely worse: " if gain.high < least else "too uncertain to tell: "
    told = (
        f"{_told(gain)} over the champion, {so}at most {-least:.4g} less is asked "
        f"({LOSS_MARGIN:.0%} of what it earns over none)"
    )
    return Part("value", gain.low >= least, told, gain)


def _beats(gain: Interval, single: str) -> Part:
    told = f"{_told(gain)} over {single} for everyone; surely more than nothing is asked"
    return Part("over the best single offer", gain.low > 0, told, gain)


def calibrated(
    rows: Trial, scores: np.ndarray, ours: Told, gain: Interval, price: Price
) -> list[Part]:
    """Judge whether effects fit those seen: by slope, and by observed over expected gain.

    Args:
        scores: Doubly robust, of the outcome under each treatment, shape (n, k + 1).
        gain: What the model's policy earned over none.
    """
    # Of effects alone: a price that differs from row to row would foretell itself.
    effect = scores[:, 1:] - scores[:, :1]
    slope, error = effect_slope(
        effect - effect.mean(axis=0), ours.effects - ours.effects.mean(axis=0), rows.unit
    )
    figure = Interval(slope, slope - Z_95 * error, slope + Z_95 * error)
    parts = [_within("calibration slope", figure, SLOPE)] if error > 0 else []
    expected = ours.expected_gain(price)
    if expected > 0:
        seen = Interval(gain.value / expected, gain.low / expected, gain.high / expected)
        parts.append(_within("observed/expected gain", seen, OBSERVED_EXPECTED))
    return parts


def _within(name: str, figure: Interval, asked: tuple[float, float]) -> Part:
    least, most = asked
    holds = bool(figure.high >= least and figure.low <= most)
    return Part(name, holds, f"{_told(figure)}, {least} to {most} is asked", figure)


def _unharmed(
    rows: Trial, gain: np.ndarray, segments: Mapping[str, np.ndarray], worth: float
) -> list[Part]:
    """Judge all segments at once: their intervals hold together."""
    parts: list[Part] = []
    wide = stats.norm.isf(0.025 / max(len(segments), 1))
    for name, mask in segments.items():
        units = np.unique(rows.unit[mask], return_inverse=True)[1]
        met = int(units.max(initial=-1)) + 1
        if met < FEWEST_UNITS:
            parts.append(Part(name, None, f"{met} units, {FEWEST_UNITS} are needed"))
            continue
        value = float(gain[mask].mean())
        half = float(wide) * cluster_error(gain[mask] - value, units)
        figure = Interval(value, value - half, value + half)
        harmed = figure.high < 0 and value < -SEGMENT_MARGIN * worth
        told = (
            f"{_told(figure)} over the champion; harm is surely some, and more than "
            f"{SEGMENT_MARGIN * worth:.4g} ({SEGMENT_MARGIN:.0%} of what it earns over none)"
        )
        parts.append(Part(name, not harmed, told, figure))
    return parts


def _told(figure: Interval) -> str:
    return f"{figure.value:+.4g} [{figure.low:.4g}, {figure.high:.4g}]"
