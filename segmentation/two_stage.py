"""Purchases in two questions, answered by trees: does she buy at all, and if so how often?

Learns from what customers of earlier days did next, so it needs no story of how customers stop;
but it has seen no horizon longer than half the history. Beyond it, forecasts grow as a purchase
model says. Whether she buys is drawn with the learned probability; how often, if she does, is one
and a negative binomial number.

Source: two-stage (hurdle) models of customer value; Vanderveld et al. 2016, KDD.
"""

from dataclasses import dataclass, replace
from typing import Any

import lightgbm
import numpy as np
import pandas as pd

from foundation.errors import TooLittleData
from segmentation.purchase_models import PurchaseModel
from segmentation.purchase_summary import DAYS_A_WEEK, first_day, purchases_after, summarise_days

Floats = np.ndarray
FEWEST_BUYERS = 100
# Learned from several past days, in parts of the horizon before the latest possible one: one day
# alone has a season of its own.
STEPS_BACK = (0.0, 0.25, 0.5)
# Fits on redrawn customers, which tell how sure the trees are: as few as tell more than none.
REDRAWN = 5


@dataclass(frozen=True)
class Stages:
    """Trees of both questions; `dispersion` is the negative binomial's size.

    The smaller that is, the more buyers differ.
    """

    buys: Any
    further: Any
    dispersion: float


@dataclass(frozen=True)
class TwoStage:
    """A fitted model; `learned_weeks` is the horizon it has seen, `growth` the model beyond it.

    `redrawn` are fits on customers drawn anew, for intervals; none where no intervals are asked.
    """

    fitted: Stages
    learned_weeks: float
    growth: PurchaseModel
    redrawn: tuple[Stages, ...] = ()

    def expected(self, summary: pd.DataFrame, weeks: float) -> Floats:
        """Return expected purchases in the next `weeks`, shape (n,); columns x, t_x, T, spend."""
        probability, further = self.stages(summary, weeks)
        return probability * (1 + further)

    def stages(
        self, summary: pd.DataFrame, weeks: float, by: Stages | None = None
    ) -> tuple[Floats, Floats]:
        """Return the probability of buying in `weeks`, and the further purchases if so.

        Args:
            by: Which trees; those of the fit without.
        """
        matrix, trees = _inputs(summary), by or self.fitted
        buys, further = (
            np.asarray(trees.buys.predict(matrix)),
            np.asarray(trees.further.predict(matrix)),
        )
        x, t_x, T = (summary[column].to_numpy() for column in ("x", "t_x", "T"))
        learned = self.growth.expected(x, t_x, T, self.learned_weeks)
        # Where the growth model is sure that she has stopped, both are 0: as if time went evenly.
        even = np.full_like(learned, weeks / self.learned_weeks)
        longer = np.divide(
            self.growth.expected(x, t_x, T, weeks), learned, out=even, where=learned > 0
        )
        # As if each stretch of time were one more chance to buy; the mean grows as it should.
        probability = -np.expm1(np.log1p(-buys) * longer)
        return probability, np.maximum(buys * (1 + further) * longer / probability - 1, 0.0)


def fit_two_stage(
    purchases: pd.DataFrame, end_day: int, weeks: float, growth: PurchaseModel, seed: int
) -> TwoStage:
    """Fit on what followed earlier days, all of it up to and including `end_day`.

    Args:
        purchases: As for summarise_days.
        weeks: The horizon to forecast; half the history is learned where it is longer.
        growth: Fitted on the same history.

    Raises:
        TooLittleData: Fewer than 100 histories went on, or fewer than 100 did not.
    """
    evidence = _Evidence.of(purchases, end_day, weeks)
    return TwoStage(evidence.stages(seed), evidence.window / DAYS_A_WEEK, growth)


def redraw(
    model: TwoStage, purchases: pd.DataFrame, end_day: int, weeks: float, seed: int
) -> TwoStage:
    """Return a model that knows how sure its trees are: fitted again on redrawn customers.

    Args:
        purchases, end_day, weeks: Those that it was fitted on.

    Source: bootstrap of customers, each with all her histories; Efron and Tibshirani 1993.
    """
    evidence = _Evidence.of(purchases, end_day, weeks)
    draw = np.random.default_rng([seed, 2])
    return replace(model, redrawn=tuple(evidence.redrawn(draw, seed) for _ in range(REDRAWN)))


@dataclass(frozen=True)
class _Evidence:
    """Histories of earlier days, whose they are, and what followed in the window's days."""

    rows: pd.DataFrame
    window: int

    @staticmethod
    def of(purchases: pd.DataFrame, end_day: int, weeks: float) -> "_Evidence":
        seen = purchases[purchases["day"] <= end_day]
        span = end_day - first_day(seen)
        window = min(round(weeks * DAYS_A_WEEK), span // 2)
        frames: list[pd.DataFrame] = []
        for step in STEPS_BACK:
            day = end_day - window - round(step * window)
            frame = summarise_days(seen, day)
            until = seen[seen["day"] <= day + window]
            frames.append(frame.assign(later=purchases_after(until, day, frame.index)))
        rows = pd.concat(frames)
        bought = rows["later"].to_numpy() > 0
        if min(bought.sum(), (~bought).sum()) < FEWEST_BUYERS:
            raise TooLittleData(
                f"two-stage model: {int(bought.sum())} of {len(rows)} histories went on; at least "
                f"{FEWEST_BUYERS} that did and {FEWEST_BUYERS} that did not are needed; load a "
                "longer history"
            )
        return _Evidence(rows, window)

    def redrawn(self, draw: np.random.Generator, seed: int) -> Stages:
        """Fit on as many customers, drawn with replacement."""
        whose, customers = pd.factorize(self.rows.index)
        times = np.bincount(
            draw.integers(0, len(customers), len(customers)), minlength=len(customers)
        )
        return _Evidence(self.rows.iloc[np.repeat(np.arange(len(whose)), times[whose])], 0).stages(
            seed
        )

    def stages(self, seed: int) -> Stages:
        matrix, later = _inputs(self.rows), self.rows["later"].to_numpy()
        bought = later > 0
        further = _trees(matrix[bought], later[bought] - 1, "poisson", seed)
        usual = np.asarray(further.predict(matrix[bought]))
        return Stages(
            _trees(matrix, bought.astype(float), "binary", seed),
            further,
            _dispersion(later[bought] - 1, usual),
        )


def _inputs(summary: pd.DataFrame) -> Floats:
    x, t_x, T, spend = (summary[c].to_numpy(np.float64) for c in ("x", "t_x", "T", "spend"))
    seen = np.maximum(T, 1 / DAYS_A_WEEK)
    gap = np.where(x > 0, t_x / np.maximum(x, 1), np.nan)
    # Age itself is left out: tomorrow everybody is older than anybody the trees have seen.
    return np.column_stack([x, x / seen, t_x / seen, T - t_x, gap, (T - t_x) / gap, spend])


def _trees(matrix: Floats, target: Floats, objective: str, seed: int) -> Any:
    return lightgbm.train(
        {
            "objective": objective,
            "num_leaves": 8,
            "learning_rate": 0.05,
            "min_data_in_leaf": 50,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbose": -1,
        },
        lightgbm.Dataset(matrix, target),
        num_boost_round=100,
    )


def _dispersion(count: Floats, mean: Floats) -> float:
    """Return the negative binomial size by moments; as good as Poisson where it is large."""
    excess = float(((count - mean) ** 2 - mean).sum())
    return float((mean**2).sum()) / max(excess, 1e-6 * float((mean**2).sum()))
