"""Learners and rules of treatment, judged on rows that nothing about them was learned from.

With one file, five folds by unit: everything (encodings aside), the choice of the learner and of
the best single treatment included, is learned on four and judged on the fifth. With a test file,
it is learned on the one and judged on the other.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from foundation.errors import TooLittleData
from foundation.scores import Interval
from recommender.arm_evidence import ArmEvidence, arm_evidence
from recommender.balance import imbalance_p
from recommender.policy_value import Choice, Price, Values, choose, compare, mean_value, treat_by
from recommender.targeting import Rate, rate, rate_p, tenths
from recommender.trial import InvalidTrial, Trial, folds
from recommender.uplift import (
    LEARNERS,
    Learner,
    UpliftModel,
    doubly_robust_scores,
    fit_uplift,
)
from recommender.uplift_curve import Group, UpliftScores, uplift_scores

FOLDS = 5
WORKERS = 2
# Rankings learned on fewer folds than this are tested on none.
FIRST_TESTED = 2
# Of fits, in cross-fitting: one a fold, and one before each fold tested in sequence but the last.
FITS = FOLDS + FOLDS - FIRST_TESTED - 1
# Of modelled means that are not those of the rows, over all treatments together.
SURE = 0.001


@dataclass(frozen=True)
class LearnerFigures:
    """A learner on held-out rows.

    Attributes:
        advised: Its advised treatment against the control, over rows that got either; None where
            it cannot be judged.
        by_treatment: Each treatment against the control, the same.
        value: Money a row if everybody got what it advises, the same.
        refused: Why not: "advised", "value", or the treatment's place from 1.
    """

    advised: UpliftScores | None
    by_treatment: list[UpliftScores | None]
    value: Interval | None
    refused: dict[str | int, str] = field(default_factory=dict[str | int, str])


@dataclass(frozen=True)
class Evaluation:
    """All that held-out rows say about targeting.

    Attributes:
        rates: Of each tested fold (or the test file), each by a ranking learned before it.
        rate_p: Chance of them if targeting helps nobody; None where nothing could be ranked.
        picked: Learner chosen in each training part.
        best_single: Best single treatment in each training part, codes.
        tenths: Predicted and observed effect of the policy's advised treatment, over rows whose
            advised one can be judged.
        shares: Of rows to which the policy gives each treatment, control first.
    """

    learners: dict[Learner, LearnerFigures]
    rates: list[Rate]
    rate_p: float | None
    values: Values
    choice: Choice
    picked: list[Learner]
    best_single: list[int]
    tenths: list[Group]
    shares: list[float]


@dataclass(frozen=True)
class _Told:
    """What models told of rows they had not seen.

    Outcomes under each treatment, effects by learner and of the learner picked in training, the
    best single treatment, and which fold (with its own model) a row was in.
    """

    expected: np.ndarray
    effects: dict[Learner, np.ndarray]
    picked: np.ndarray
    single: np.ndarray
    part: np.ndarray


def cross_fit(
    rows: Trial,
    price: Price,
    seed: int,
    fitted: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Judge by cross-fitting.

    Args:
        fitted: Called after each of FITS fits, from several threads.

    Raises:
        TooLittleData: The control, or every treatment, has too few outcomes to be judged.
        InvalidTrial: Modelled means are surely not those of the rows.
    """
    fold = folds(rows, FOLDS, seed)
    told = _nothing_told(fold, rows.k)

    def fit(inside: np.ndarray) -> UpliftModel:
        model = fit_uplift(rows.take(inside), seed)
        fitted()
        return model

    others = [fold != part for part in range(FOLDS)]
    earlier = [fold < part for part in range(FIRST_TESTED, FOLDS - 1)]
    # LightGBM leaves the interpreter's lock while it works: whole fits run side by side, which
    # on few rows is quicker than threads inside each.
    with ThreadPoolExecutor(WORKERS) as pool:
        models = list(pool.map(fit, [*others, *earlier]))
    of_fold, before = models[:FOLDS], [*models[FOLDS:], models[FOLDS - 1]]
    for part, model in enumerate(of_fold):
        _tell(model, rows.features, fold == part, told)
    tested = [
        (model, rows.take(fold == part)) for part, model in enumerate(before, start=FIRST_TESTED)
    ]
    return _judge(rows, told, of_fold, tested, price, seed)


def on_test(rows: Trial, test: Trial, price: Price, seed: int) -> tuple[Evaluation, UpliftModel]:
    """Judge on other rows than those learned from.

    Raises:
        InvalidTrial: The two have not the same columns or treatments, or modelled means are surely
            not those of the rows.
        TooLittleData: The control, or every treatment, has too few outcomes to be judged.
    """
    if test.k != rows.k or test.features.shape[1] != rows.features.shape[1]:
        raise InvalidTrial(
            f"test rows have {test.k} treatments and {test.features.shape[1]} features, training "
            f"rows {rows.k} and {rows.features.shape[1]}; give both the same"
        )
    model, units = fit_uplift(rows, seed), int(rows.unit.max()) + 1
    told = _nothing_told(np.zeros(len(test.outcome), dtype=np.int64), rows.k)
    _tell(model, test.features, told.part == 0, told)
    return _judge(test, told, [model], [(model, test)], price, seed, units), model


def _nothing_told(part: np.ndarray, k: int) -> _Told:
    n = len(part)
    return _Told(
        expected=np.empty((n, k + 1)),
        effects={name: np.empty((n, k)) for name in LEARNERS},
        picked=np.empty((n, k)),
        single=np.empty(n, dtype=np.int64),
        part=part,
    )


def _tell(model: UpliftModel, features: np.ndarray, inside: np.ndarray, told: _Told) -> None:
    seen = features[inside]
    told.expected[inside] = model.responses(seen)
    for name in LEARNERS:
        told.effects[name][inside] = model.effects(seen, name)
    told.picked[inside] = told.effects[model.best][inside]
    told.single[inside] = _single(model)


def _single(model: UpliftModel) -> int:
    # All treatments of a row have one price, so that the best is so at any.
    return int(model.average.argmax()) + 1


def _rate(model: UpliftModel, rows: Trial, judged: list[int]) -> Rate:
    scores = doubly_robust_scores(rows, model.responses(rows.features))
    priority = model.raw(rows.features, model.sharpest)
    places = [code - 1 for code in judged]
    return rate(scores[:, judged] - scores[:, :1], priority[:, places], rows.unit)


def _judge(
    rows: Trial,
    told: _Told,
    models: list[UpliftModel],
    tested: list[tuple[UpliftModel, Trial]],
    price: Price,
    seed: int,
    learned_units: float = np.inf,
) -> Evaluation:
    evidence = arm_evidence(rows, learned_units)
    judged = [code for code in range(1, rows.k + 1) if code not in evidence.refused]
    if 0 in evidence.refused or not judged:
        raise TooLittleData(evidence.refused.get(0) or next(iter(evidence.refused.values())))
    _check_means(rows, told.expected, [0, *judged])
    scores = doubly_robust_scores(rows, told.expected)
    money = price.money(scores.copy())
    policy = treat_by(price.gains(told.picked))
    values = compare(money, policy, told.single, rows.unit, evidence)
    advised = told.picked.argmax(axis=1)
    place = np.arange(len(advised))
    gained = scores[place, advised + 1] - scores[:, 0]
    predicted = told.picked[place, advised]
    known = np.isin(advised + 1, judged)
    ranks = _within(predicted, told.part)
    rates = [_rate(model, each, judged) for model, each in tested]
    try:
        p = rate_p(rates)
    except TooLittleData:
        p = None
    return Evaluation(
        learners={
            name: _figures(rows, told, name, money, price, evidence, seed) for name in told.effects
        },
        rates=rates,
        rate_p=p,
        values=values,
        choice=choose(values),
        picked=[model.best for model in models],
        best_single=[_single(model) for model in models],
        tenths=tenths(gained[known], predicted[known], ranks[known], rows.unit[known])
        if known.any()
        else [],
        shares=(np.bincount(policy, minlength=rows.k + 1) / len(policy)).tolist(),
    )


def _check_means(rows: Trial, expected: np.ndarray, judged: list[int]) -> None:
    """Refuse models whose mean is surely another than that of the rows that got the treatment.

    Both estimate the same, unless a feature knew what the treatment did, or the propensities are
    wrong: then what was modelled of the others is not what would have become of them.
    """
    for code in judged:
        p = imbalance_p(expected[:, code : code + 1], rows)
        if p * len(judged) < SURE:
            got = rows.treatment == code
            plain = float(np.average(rows.outcome[got], weights=1 / rows.propensity[got]))
            raise InvalidTrial(
                f"under treatment {rows.called[code]} the model expects "
                f"{expected[:, code].mean():.4g} a row and those who got it brought {plain:.4g}, "
                f"of other customers than the rest (p {p:.1g}): a feature was known only after "
                "the treatment, or treatments were not given with these probabilities; leave the "
                "feature out, or give the logged probabilities"
            )


def _figures(
    rows: Trial,
    told: _Told,
    name: Learner,
    money: np.ndarray,
    price: Price,
    evidence: ArmEvidence,
    seed: int,
) -> LearnerFigures:
    effects = told.effects[name]
    advised = effects.argmax(axis=1) + 1
    refused: dict[str | int, str] = {}

    def scored(key: str | int, treatment: np.ndarray, score: np.ndarray) -> UpliftScores | None:
        try:
            if (fault := evidence.fault(treatment)) is not None:
                raise TooLittleData(fault)
            return _scored(rows, treatment, score, told.part, seed)
        except TooLittleData as error:
            refused[key] = str(error)
            return None

    each = [
        scored(code, np.full(len(advised), code), effects[:, code - 1])
        for code in range(1, rows.k + 1)
    ]
    best = effects[np.arange(len(advised)), advised - 1]
    rule = treat_by(price.gains(effects))
    fault = evidence.fault(rule)
    if fault is not None:
        refused["value"] = fault
    return LearnerFigures(
        advised=scored("advised", advised, best),
        by_treatment=each,
        value=mean_value(money, rule, rows.unit, evidence) if fault is None else None,
        refused=refused,
    )


def _scored(
    rows: Trial, treatment: np.ndarray, score: np.ndarray, part: np.ndarray, seed: int
) -> UpliftScores:
    """Judge a score on rows that got the treatment it speaks of, or the control."""
    treated = rows.treatment == treatment
    inside = treated | (rows.treatment == 0)
    weight = 1 / rows.propensity
    for group in (treated, rows.treatment == 0):
        weight[group] /= weight[group].mean()
    return uplift_scores(
        rows.outcome[inside],
        _within(score, part)[inside],
        treated[inside],
        rows.unit[inside],
        seed,
        weight[inside],
    )


def _within(score: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Return each score's share of ranks within its part.

    Scores of several models are no one scale: the average learned without a part is the lower, the
    higher that part's own is.
    """
    found = np.empty(len(score))
    for one in np.unique(part):
        inside = part == one
        ranks = stats.rankdata(score[inside], method="average")
        found[inside] = (ranks - 0.5) / inside.sum()
    return found
