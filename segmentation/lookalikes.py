"""Look-alikes: which other customers resemble a segment's members, and does that resemblance hold?

Everybody is scored by a model that never saw her: customers are parted at random into folds, and
those of a fold are ranked by a model of the other folds' members against their others. So the
ranking handed out is the one that was judged: a held-out member stands in it exactly like a
customer who might be one. Lift says how many times as often members are among the top of it as
among everybody.

What the segment's rule itself asks for is no input, nor is a near copy of it. What is left may go
with it all the same, and is meant to: that is resemblance.

The models of the folds share three quarters of their customers, so that chance among these repeats
itself and redrawn customers alone tell too narrow an interval: each is widened as Nadeau and Bengio
correct a variance, by 1.5 for five folds.

Sources: LightGBM, Ke et al. 2017; folds, Nadeau and Bengio 2003; lift of hidden members, Ling and
Li 1998; unlabelled customers as the other class, Elkan and Noto 2008 (the order is that of the true
probability when members are a random part of all who belong).
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import lightgbm
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from foundation.errors import RegularsError, TooLittleData
from foundation.scores import Interval, Ranking, auc, percentiles

Floats: TypeAlias = npt.NDArray[np.float64]
Truths: TypeAlias = npt.NDArray[np.bool_]
Model = Literal["trees", "feature"]

FEWEST_CUSTOMERS = 50
FOLDS = 5
ROUNDS = 1000
# The variance of k folds is 1/k + 1/(k - 1) of a customer's, not 1/k.
WIDER = math.sqrt(1 + FOLDS / (FOLDS - 1))

# A top in which chance alone would put fewer members tells of chance.
EXPECTED_MEMBERS = 10

# Rank correlation from which a feature is as good as the one the rule asks for.
COPY = 0.9

# Small trees, each a little: segments may have few members.
SETTINGS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 4,
    "learning_rate": 0.05,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "deterministic": True,
    "force_row_wise": True,
    # On few rows threads wait for each other longer than they work.
    "num_threads": 1,
    "verbose": -1,
}
TREES = 200


class NoResemblance(RegularsError):
    """The members do not resemble each other enough for anybody to be called alike."""


@dataclass(frozen=True)
class HeldOut:
    """How well a ranking finds members whose membership was hidden from its model.

    `lift` is members' share of the top over their share of all.
    """

    auc: Interval
    lift: Interval


@dataclass(frozen=True)
class Lookalike:
    """A customer who is no member.

    `score` is the share of customers, held out together with her, whom she resembles the members
    more than; those who tie count half.
    """

    customer_id: str
    rank: int
    score: float


@dataclass(frozen=True)
class Lookalikes:
    """The non-members most like the members, and how far to trust that.

    `model` made the ranking: trees, or the plain one, the best single feature, where trees are not
    surely better; `held_out` judges both, `gain` is the AUC of trees above the plain one.
    `top` is how far down lift looks, as a share of all customers. `best_features` are those the
    folds chose, the most frequent first.
    """

    ranked: tuple[Lookalike, ...]
    members: int
    others: int
    model: Model
    held_out: dict[Model, HeldOut]
    gain: Interval
    top: float
    best_features: tuple[str, ...]
    inputs: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def verdict(self) -> str:
        if self.model == "trees":
            return "ranked by trees, surely better than the best single feature"
        return (
            f"ranked by the best single feature ({', '.join(self.best_features)}): trees are not "
            "surely better"
        )


def lookalikes(
    features: pd.DataFrame, members: Truths, own: Collection[str], size: int, seed: int
) -> Lookalikes:
    """Rank the customers who are not in a segment by how much they resemble its members.

    Args:
        features: One row a customer, index customer_id, unique; a column a feature, numbers or
            missing, all as of the instant of the membership.
        members: Who is in, shape (n,), in the same order.
        own: Features that the segment's rule asks for; they and near copies are left out.
        size: How many to return.
        seed: Same customers and seed, same look-alikes, whatever the order of rows.

    Raises:
        TooLittleData: Members or others are fewer than FEWEST_CUSTOMERS.
        NoResemblance: No feature is left, or the held-out lift is not surely above 1.
        RegularsError: `size` is not in 1 … others.
    """
    order = np.argsort(features.index.to_numpy().astype(str), kind="stable")
    features, members = features.iloc[order], members[order]
    inside, others = int(members.sum()), int((~members).sum())
    _check_sizes(inside, others, size)
    left_out = _with_copies(features, own)
    inputs = tuple(str(name) for name in features if name not in left_out)
    if not inputs:
        raise NoResemblance(
            f"look-alikes of a segment whose rule asks for all {len(left_out)} features or near "
            "copies: nothing is left to resemble each other in; choose a segment of a simpler rule"
        )
    values = features[list(inputs)].to_numpy(np.float64, na_value=np.nan)
    scores, chosen = _cross_fitted(values, members, seed)
    top = min(max(size / others, EXPECTED_MEMBERS / inside), 1.0)
    held_out, gain = _judged(members, scores, top, seed)
    model: Model = "trees" if gain.low > 0 else "feature"
    lift = held_out[model].lift
    if not lift.low > 1:
        raise NoResemblance(
            f"look-alikes of a segment of {inside:,} members: held-out lift {lift.value:.2f} "
            f"[{lift.low:.2f}, {lift.high:.2f}] in the top {top:.1%} is not surely above 1, so "
            "nobody can be called alike; ask for fewer, or choose a segment of more members or "
            "clearer habits"
        )
    return Lookalikes(
        ranked=_ranked(features.index.to_numpy(), scores[model], members, size),
        members=inside,
        others=others,
        model=model,
        held_out=held_out,
        gain=gain,
        top=top,
        best_features=tuple(inputs[place] for place, _ in Counter(chosen).most_common()),
        inputs=inputs,
        left_out=left_out,
    )


def _check_sizes(inside: int, others: int, size: int) -> None:
    for found, word in ((inside, "members"), (others, "customers outside")):
        if found < FEWEST_CUSTOMERS:
            raise TooLittleData(
                f"look-alikes of a segment with {found} {word}: at least {FEWEST_CUSTOMERS} are "
                "needed to hold some out; choose another segment"
            )
    if not 1 <= size <= others:
        raise RegularsError(
            f"{size:,} look-alikes cannot be found among {others:,} customers outside the segment; "
            f"ask for 1 to {others:,}"
        )


def _with_copies(features: pd.DataFrame, own: Collection[str]) -> tuple[str, ...]:
    """Return the rule's own features and those that go up and down with one of them."""
    asked = [name for name in features if name in own]
    ranks = features.astype("float64").rank()
    copies = {
        name
        for one in asked
        for name, together in ranks.corrwith(ranks[one]).items()
        if abs(together) >= COPY
    }
    return tuple(str(name) for name in features if name in own or name in copies)


def _cross_fitted(
    values: Floats, members: Truths, seed: int
) -> tuple[dict[Model, Floats], list[int]]:
    """Return everybody's scores by models that never saw her, and each fold's best feature."""
    scores: dict[Model, Floats] = {
        "trees": np.empty(len(members)),
        "feature": np.empty(len(members)),
    }
    chosen: list[int] = []
    for fold in _folds(members, seed):
        rest = np.ones(len(members), dtype=np.bool_)
        rest[fold] = False
        trees = _boost(values[rest], members[rest], seed)
        place, sign, typical = _best_feature(values[rest], members[rest])
        chosen.append(place)
        plain = sign * np.nan_to_num(values[fold, place], nan=typical)
        # Models of different folds have scales of their own; ranks have one.
        scores["trees"][fold] = _ranks(np.asarray(trees.predict(values[fold])))
        scores["feature"][fold] = _ranks(plain)
    return scores, chosen


def _ranks(scores: Floats) -> Floats:
    return (rankdata(scores) - 0.5) / len(scores)


def _folds(members: Truths, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    """Part members and others alike into FOLDS, at random."""
    draw = np.random.default_rng(seed)
    number = np.empty(len(members), dtype=np.int64)
    for side in (members, ~members):
        number[side] = draw.permutation(int(side.sum())) % FOLDS
    for fold in range(FOLDS):
        yield np.flatnonzero(number == fold)


def _boost(values: Floats, members: Truths, seed: int) -> lightgbm.Booster:
    data = lightgbm.Dataset(values, members.astype(np.float64))
    return lightgbm.train({**SETTINGS, "seed": seed}, data, num_boost_round=TREES)


def _best_feature(values: Floats, members: Truths) -> tuple[int, int, float]:
    """Return the feature that ranks members best by itself: place, sign, and its median.

    The median stands in where it is unknown; a feature nobody has is constant.
    """
    best = (0, 1, 0.0)
    distance = -1.0
    for place in range(values.shape[1]):
        column = values[:, place]
        known = column[~np.isnan(column)]
        typical = float(np.median(known)) if len(known) else 0.0
        area = auc(members.astype(np.float64), np.nan_to_num(column, nan=typical))
        if abs(area - 0.5) > distance:
            distance, best = abs(area - 0.5), (place, 1 if area >= 0.5 else -1, typical)
    return best


def _judged(
    members: Truths, scores: dict[Model, Floats], top: float, seed: int
) -> tuple[dict[Model, HeldOut], Interval]:
    """Return each ranking's figures with intervals, and the paired gain of trees."""
    draw = np.random.default_rng(seed)
    outcome, n = members.astype(np.float64), len(members)
    rankings: dict[Model, Ranking] = {model: Ranking(score) for model, score in scores.items()}

    def figures(weight: Floats) -> list[tuple[float, float]]:
        return [(r.auc(outcome, weight), r.lift(outcome, weight, top)) for r in rankings.values()]

    told = np.array(figures(np.ones(n)))
    drawn = np.array(
        [
            figures(np.bincount(draw.integers(0, n, n), minlength=n).astype(np.float64))
            for _ in range(ROUNDS)
        ]
    )
    held_out: dict[Model, HeldOut] = {
        model: HeldOut(
            auc=_interval(told[place, 0], drawn[:, place, 0], 0, 1),
            lift=_interval(told[place, 1], drawn[:, place, 1], 0, 1 / top),
        )
        for place, model in enumerate(rankings)
    }
    gain = _interval(told[0, 0] - told[1, 0], drawn[:, 0, 0] - drawn[:, 1, 0], -1, 1)
    return held_out, gain


def _interval(value: float, drawn: Floats, least: float, most: float) -> Interval:
    """Return a figure with its widened interval, inside what is possible."""
    found = percentiles(value, drawn)
    return Interval(
        found.value,
        max(least, value - WIDER * (value - found.low)),
        min(most, value + WIDER * (found.high - value)),
    )


def _ranked(
    customers: npt.NDArray[Any], score: Floats, members: Truths, size: int
) -> tuple[Lookalike, ...]:
    outside = np.flatnonzero(~members)
    best = outside[np.argsort(-score[outside], kind="stable")][:size]
    return tuple(
        Lookalike(str(customers[place]), rank, float(score[place]))
        for rank, place in enumerate(best, start=1)
    )
