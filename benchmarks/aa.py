"""Does every method keep its promise of 5 %, in both tails, where nothing was changed?

Experiments without effect are simulated over a grid of metrics, sizes and splits. A cell must
reject 5 % of those it answers, or refuse before looking at which variant is better. Each experiment
is judged by `analysis.effects`, as a file or a plan is, with fewer deals of chance: as exact,
only p is coarser. Two kinds are judged many at once, by the same functions on arrays: shares, and
means and ratios that are near normal. Then always-valid sequences are read on 28 days, and once.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.run import Bar
from experiments.aggregates import Aggregates
from experiments.analysis import Always, AtLook, Once, Plan, effects, summed
from experiments.confidence_sequence import always_valid_p
from experiments.contrast import Figure, contrast, surely_above
from experiments.effect import Effect
from experiments.metrics import Column, Mean, Metric, Quantile, Ratio, clustered
from experiments.near_normal import near_normal
from experiments.post_stratification import merged_strata
from experiments.proportion import enough_responders, proportion_p
from experiments.welch import satterthwaite, student_p

EXPERIMENTS = 10_000
ALPHA = 0.05
REJECTION_WITHIN, TAIL_MOST = 0.0065, 0.03
# The band is three standard errors of 10,000: of 80 sound cells one would leave it by chance in
# every fourth run. A cell more than this share of the way to its edge goes on to so many times as
# many experiments, all of which count: luck fades, a fault stays.
NEAR_THE_EDGE, GOES_ON = 0.8, 5
EVER_REJECTS_MOST, EVER_DETECTS_LEAST = 0.05, 0.22
SPLITS = (0.5, 0.2, 0.05)
# A metric that refused whole would hold its band in vain: even sizes of so many units must answer
# nearly always, however the grid is cut.
MUST_ANSWER, ANSWERED_LEAST = 2_000, 0.95
# Where refusing is right at any split: too few units for that tail.
MAY_REFUSE = ("quantile_99",)
# A cell that refuses some goes on until it has answered as many as were asked for; one that would
# need more than this many times as many is short of answers, and its bar fails.
MOST_DRAWN = 40
# 10 deals in each tail: the randomisation test is as exact as with more, only its p is coarser.
DEALS = 399
VALUES_AT_ONCE = 4_000_000
WORKERS = 2

# The days and drift of a test that has 52 % power at its end: .05 relative of the reference's case.
DAYS, PER_DAY, DRIFT = 28, 100, 2.0137
HISTORIES = 40_000

# What a simulated row of columns is called, and its metric: by the figure, and how many there are.
_NAMED = [Column(name) for name in ("spend", "visits", "spend before", "visits before")]
SPEND = Mean(_NAMED[0])
METRICS: dict[tuple[Figure, int], Metric] = {
    ("mean", 1): SPEND,
    ("mean", 2): Mean(_NAMED[0], _NAMED[2]),
    ("ratio", 2): Ratio(_NAMED[0], _NAMED[1]),
    ("ratio", 4): Ratio(_NAMED[0], _NAMED[1], (_NAMED[2], _NAMED[3])),
}
# Quarters, nearly, of what was spent before in strata.
QUARTERS = (15.7, 20.0, 24.3)
MANY_STRATA = 20
_ONCE = Once()

# One row of columns a unit, for so many experiments of so many units.
Draw = Callable[[np.random.Generator, int, int], np.ndarray]


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulated situation; n counts units of assignment."""

    metric: str
    n: int
    split: float
    seed: int
    experiments: int


@dataclass(frozen=True, slots=True)
class Judged:
    """p-values (NaN: refused) and differences of some experiments, and how they were judged."""

    p: np.ndarray
    difference: np.ndarray
    skewness: float
    methods: set[str]

    @property
    def answered(self) -> int:
        return int(np.isfinite(self.p).sum())


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="of the simulation")
    parser.add_argument(
        "--experiments", type=int, default=EXPERIMENTS, help="simulated in a cell of the grid"
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rejections of every cell, and of 28 looks."""
    cells = list(grid(options.seed, options.experiments))
    once = Cell("always", 2_000, 0.5, options.seed, options.experiments)
    with ProcessPoolExecutor(WORKERS) as pool:
        *found, read_once = pool.map(judge_cell, [*cells, once])
    histories = HISTORIES * options.experiments // EXPERIMENTS
    looks = sequential(options.seed, histories)
    return {"cells": found, "sequential": {**looks, "read_once": read_once}}


def bars(figures: dict[str, Any]) -> list[Bar]:
    found: list[Bar] = []
    for cell in figures["cells"]:
        name = f"{cell['metric']} {cell['n']:,} {cell['split']}"
        if must_answer(cell["metric"], cell["n"], cell["split"]):
            share = 1 - cell["refused"]
            found.append(
                Bar(
                    f"{name} answered",
                    share,
                    f"at least {ANSWERED_LEAST}",
                    share >= ANSWERED_LEAST,
                )
            )
        if cell["rejection"] is None:
            continue
        tail = max(cell["lower_tail"], cell["upper_tail"])
        away = abs(cell["rejection"] - ALPHA)
        asked = min(cell["asked"], EXPERIMENTS)
        found += [
            Bar(
                f"{name} experiments answered",
                cell["answered"],
                f"at least {asked:,}",
                cell["answered"] >= asked,
            ),
            Bar(
                f"{name} rejection from 5 %",
                away,
                f"at most {REJECTION_WITHIN}",
                away <= REJECTION_WITHIN,
            ),
            Bar(f"{name} larger tail", tail, f"at most {TAIL_MOST}", tail <= TAIL_MOST),
        ]
    looks = figures["sequential"]
    rejects, detects = looks["ever_rejects"], looks["ever_detects"]
    once = looks["read_once"]["rejection"]
    return [
        *found,
        Bar(
            "ever rejects over 28 looks",
            rejects,
            f"at most {EVER_REJECTS_MOST}",
            rejects <= EVER_REJECTS_MOST,
        ),
        Bar(
            "rejects read once",
            once,
            f"at most {EVER_REJECTS_MOST}",
            once <= EVER_REJECTS_MOST,
        ),
        Bar(
            "ever detects where the test at the end has 52 % power",
            detects,
            f"at least {EVER_DETECTS_LEAST}",
            detects >= EVER_DETECTS_LEAST,
        ),
    ]


def grid(seed: int, experiments: int) -> Iterator[Cell]:
    """Yield the cells, each with a seed of its own."""
    sizes = {
        "spend": (500, 2_000, 10_000),
        "capped_spend": (500, 4_000),
        "proportion": (500, 2_000, 10_000),
        "ratio": (500, 2_000),
        "cuped": (500, 2_000),
        "cuped_ratio": (500,),
        "quantile": (500, 2_000),
        # The extreme quantiles, where order statistics are few.
        "quantile_99": (20_000, 40_000),
        "cuped_spend": (500, 2_000),
        "looks": (2_000,),
        "household": (500, 2_000),
        "store": (20, 60),
        # Last, so that the cells above keep their seeds.
        "strata": (2_000,),
        # Strong levels in groups of which some are too small to stand alone.
        "many_strata": (800, 8_000),
        # One customer in ten visits at all.
        "sparse_ratio": (2_000, 8_000),
    }
    places = [
        (metric, n, split)
        for metric, many in sizes.items()
        for n in many
        for split in SPLITS
        # In smaller variants than these the 99th percentile is the randomisation test's, as above.
        if metric != "quantile_99" or split == SPLITS[0]
    ]
    seeds = np.random.SeedSequence(seed).generate_state(len(places))
    for (metric, n, split), own in zip(places, seeds, strict=True):
        yield Cell(metric, n, split, int(own), experiments)


def must_answer(metric: str, n: int, split: float) -> bool:
    """Whether refusing this cell would be refusing to work."""
    if metric == "store":
        return n >= 60 and split == 0.5
    return metric not in MAY_REFUSE and n >= MUST_ANSWER and split == 0.5


def judge_cell(cell: Cell) -> dict[str, Any]:
    """Simulate a cell's experiments until so many are answered, and count its rejections."""
    rng = np.random.default_rng(cell.seed)
    parts: list[Judged] = []
    drawn, answered = _simulate(cell, rng, cell.experiments, parts)
    if _near_the_edge(_rates(parts), cell.experiments):
        drawn, answered = _simulate(cell, rng, GOES_ON * cell.experiments, parts)
    rates = _rates(parts)
    return {
        "metric": cell.metric,
        "method": "+".join(sorted(set().union(*(part.methods for part in parts)))),
        "n": cell.n,
        "split": cell.split,
        "skew": float(np.nanmean([part.skewness for part in parts])),
        "asked": cell.experiments,
        "drawn": drawn,
        "answered": answered,
        "rejection": sum(rates) if rates else None,
        "lower_tail": rates[0] if rates else None,
        "upper_tail": rates[1] if rates else None,
        "refused": 1 - answered / drawn,
    }


def _simulate(
    cell: Cell, rng: np.random.Generator, wanted: int, parts: list[Judged]
) -> tuple[int, int]:
    """Add to these parts until so many experiments are answered; return how many drawn, answered.

    When to stop follows from what was refused, which does not look at who is better.
    """
    most = max(VALUES_AT_ONCE // (cell.n * WIDTH.get(cell.metric, 1)), 1)
    given = max(round(cell.n * cell.split), 1)
    drawn = sum(len(part.p) for part in parts)
    answered = sum(part.answered for part in parts)
    while answered < wanted and drawn < MOST_DRAWN * wanted:
        if drawn == wanted and not answered:
            break
        due = wanted - (answered if drawn >= wanted else drawn)
        part = JUDGES[cell.metric](rng, min(most, due), cell.n, given)
        parts.append(part)
        drawn, answered = drawn + len(part.p), answered + part.answered
    return drawn, answered


def _near_the_edge(rates: tuple[float, float] | None, experiments: int) -> bool:
    """Whether shares of so many experiments, below and above, are where chance seldom puts them."""
    if rates is None:
        return False
    away = abs(sum(rates) - ALPHA) / REJECTION_WITHIN
    tail = (max(rates) - ALPHA / 2) / (TAIL_MOST - ALPHA / 2)
    # Of fewer experiments chance puts them farther.
    return max(away, tail) > NEAR_THE_EDGE * math.sqrt(EXPERIMENTS / experiments)


def _rates(parts: list[Judged]) -> tuple[float, float] | None:
    """Return the share of answered experiments rejected below and above, None without any."""
    p = np.concatenate([part.p for part in parts])
    up = np.concatenate([part.difference for part in parts]) > 0
    kept = np.isfinite(p)
    if not kept.any():
        return None
    rejected = p <= ALPHA
    return float((rejected & ~up)[kept].mean()), float((rejected & up)[kept].mean())


class Drawn:
    """One simulated experiment as units of `analysis.effects`."""

    def __init__(self, treatment: np.ndarray, control: np.ndarray) -> None:
        self._arms = {"treatment": treatment, "control": control}

    def observed(self) -> dict[str, int]:
        return {name: len(arm) for name, arm in self._arms.items()}

    def aggregates(
        self,
        metrics: Sequence[Metric],
        stratum: str | None = None,  # noqa: ARG002
    ) -> list[dict[str, Aggregates]]:
        return [
            {name: Aggregates.from_rows(arm) for name, arm in self._arms.items()} for _ in metrics
        ]

    def rows(self, metric: Metric, variant: str) -> np.ndarray:  # noqa: ARG002
        return self._arms[variant]


def judge_one(
    metric: Metric,
    treatment: np.ndarray,
    control: np.ndarray,
    plan: Plan = _ONCE,
    sums: Mapping[str, Aggregates] | None = None,
) -> Effect:
    """Return the effect in one experiment, as `analysis.effects` tells it.

    Args:
        metric: Whose columns the rows are, shapes (n, k).
        treatment, control: One row a unit.
        plan: When one looks.
        sums: Of the variants, where they are not plain sums of the rows.
    """
    units = Drawn(treatment, control)
    summed_up = summed(units, {"it": metric}) if sums is None else {"it": sums}
    found = effects(
        units, summed_up, {"it": metric}, "control", ["treatment"], 1 - ALPHA, plan, DEALS
    )
    return found["it"]["treatment"]


def judge_figure(
    draw: Draw, figure: Figure, rng: np.random.Generator, count: int, n: int, given: int
) -> Judged:
    """Judge a mean or a ratio: all near-normal experiments at once, the others one by one."""
    rows = draw(rng, count, n)
    treatment, control = rows[:, :given], rows[:, given:]
    arms = Aggregates.from_rows(treatment), Aggregates.from_rows(control)
    found = contrast(figure, *arms)
    error, df = satterthwaite(
        found.treatment_variance, found.treatment_n, found.control_variance, found.control_n
    )
    p = student_p(found.difference, error, df)
    difference = found.difference.copy()
    normal = near_normal(found.skewness, found.treatment_n, found.control_n, found.bend)
    if figure == "ratio":
        normal &= surely_above(arms[0] + arms[1], 1, np.asarray(float(min(given, n - given))))
    methods = {
        "welch, adjusted" if adjusted else "welch" for adjusted in found.adjusted[normal].tolist()
    }
    metric = METRICS[figure, rows.shape[-1]]
    for place in np.flatnonzero(~normal):
        told = judge_one(metric, treatment[place], control[place])
        p[place] = np.nan if told.p is None else told.p
        difference[place] = told.mean - told.control_mean
        methods.add("refused" if told.p is None else told.method)
    return Judged(p, difference, float(np.nanmean(np.abs(found.skewness))), methods)


def judge_strata(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    """Compare inside four strata of who spends how much, as a plan that post-stratifies does."""
    level = rng.normal(20.0, 5.0, (count, n))
    now, before = (level + rng.normal(0.0, 4.0, (count, n)) for _ in range(2))
    return _inside(now, np.digitize(before, QUARTERS), given)


def judge_many_strata(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    """Compare inside many strata, each with a level of its own."""
    stratum = rng.integers(0, MANY_STRATA, (count, n))
    return _inside(stratum + rng.normal(0.0, 1.0, (count, n)), stratum, given)


def _inside(spend: np.ndarray, stratum: np.ndarray, given: int) -> Judged:
    """Judge spend inside strata, merged where they are small, shapes (count, n)."""
    names = range(int(stratum.max()) + 1)
    arms = {"treatment": slice(None, given), "control": slice(given, None)}
    found: list[list[Effect]] = []
    for one, of in zip(spend[..., None], stratum, strict=True):
        counts = {
            str(name): {arm: int((of[part] == name).sum()) for arm, part in arms.items()}
            for name in names
        }
        merged = merged_strata(counts, list(arms))
        called = np.array([merged[str(name)] for name in names])[of]
        sums = {
            arm: Aggregates.stacked(
                [
                    Aggregates.from_rows(one[part][called[part] == name])
                    for name in dict.fromkeys(merged.values())
                ]
            )
            for arm, part in arms.items()
        }
        found.append([judge_one(SPEND, one[:given], one[given:], sums=sums)])
    return _judged_one_by_one(spend[..., None], found)


def judge_proportion(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    x, y = rng.binomial(given, 0.1, count), rng.binomial(n - given, 0.1, count)
    enough = enough_responders(x, given, y, n - given)
    _, p = proportion_p(x, given, y, n - given)
    methods = {"score"} if enough.any() else {"refused"}
    return Judged(np.where(enough, p, np.nan), x / given - y / (n - given), 2.67, methods)


def judge_always(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    """Read an always-valid sequence once, at its planned end."""
    rows = draw_capped(rng, count, n)
    plan = Always(n)
    return _judged_one_by_one(
        rows, [[judge_one(SPEND, one[:given], one[given:], plan)] for one in rows]
    )


def judge_looks(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    """Judge at two planned looks, half and whole; the first to reject decides."""
    rows = draw_capped(rng, count, n)
    found: list[list[Effect]] = []
    for one in rows:
        treatment, control = one[:given], one[given:]
        halves = [(treatment[: given // 2], control[: (n - given) // 2]), (treatment, control)]
        found.append(
            [
                judge_one(SPEND, up, down, AtLook(look, 2, "obrien_fleming"))
                for look, (up, down) in enumerate(halves, start=1)
            ]
        )
    return _judged_one_by_one(rows, found)


def _judged_one_by_one(rows: np.ndarray, found: Sequence[Sequence[Effect]]) -> Judged:
    """Take the look with the smallest p of each experiment; one refused look is passed over."""
    best = [min(looks, key=lambda one: np.inf if one.p is None else one.p) for looks in found]
    p = np.array([np.nan if one.p is None else one.p for one in best])
    difference = np.array([one.mean - one.control_mean for one in best])
    methods = {"refused" if one.p is None else one.method for one in best}
    return Judged(p, difference, _skewness(rows[..., 0]), methods)


def judge_quantile(
    level: float, rng: np.random.Generator, count: int, n: int, given: int
) -> Judged:
    rows = rng.lognormal(3.0, 1.0, (count, n, 1))
    metric = Quantile(_NAMED[0], level)
    return _judged_one_by_one(rows, [[judge_one(metric, one[:given], one[given:])] for one in rows])


def draw_spend(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """5 % of customers buy, for lognormal amounts: the reference's case."""
    buys = rng.random((count, n)) < 0.05
    spend = np.zeros((count, n))
    spend[buys] = rng.lognormal(3.0, 1.0, int(buys.sum()))
    return spend[..., None]


def draw_capped(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Everybody buys; the highest 1 % are capped, by a cap of the plan."""
    return np.minimum(rng.lognormal(3.0, 1.0, (count, n, 1)), np.exp(3.0 + 2.3263))


def draw_ratio(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Spend a visit: visits of geometric number, each customer with a level of her own."""
    visits = rng.geometric(0.3, (count, n)).astype(np.float64)
    return np.stack([visits * rng.lognormal(2.0, 0.7, (count, n)), visits], axis=-1)


def draw_sparse_ratio(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Margin a visit where one in ten visits at all, and margin does not go with visits."""
    visits = rng.geometric(0.3, (count, n)) * (rng.random((count, n)) < 0.1)
    return np.stack([rng.normal(10.0, 1.0, (count, n)), visits.astype(np.float64)], axis=-1)


def draw_cuped(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Spend now and before, both around the customer's own level."""
    level = rng.lognormal(2.0, 0.7, (count, n))
    return np.stack([level * rng.lognormal(0.0, 0.5, (count, n)) for _ in range(2)], axis=-1)


def draw_cuped_spend(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    """Margin of which most is zero, with that of before: who bought then buys now more likely."""
    likely = rng.beta(0.5, 4.5, (count, n))
    level = rng.lognormal(2.5, 0.7, (count, n))
    return np.stack(
        [
            (rng.random((count, n)) < likely) * level * rng.lognormal(0.0, 0.5, (count, n))
            for _ in range(2)
        ],
        axis=-1,
    )


def draw_cuped_ratio(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    level = rng.lognormal(2.0, 0.5, (count, n))
    visits = [rng.geometric(0.3, (count, n)).astype(np.float64) for _ in range(2)]
    noise = [rng.lognormal(0.0, 0.4, (count, n)) for _ in range(2)]
    columns = [part for v, e in zip(visits, noise, strict=True) for part in (v * level * e, v)]
    return np.stack(columns, axis=-1)


def draw_households(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    return _clusters(rng, count, n, rng.integers(1, 6, n), shared=0.5)


def draw_stores(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    # Stores differ in size by a factor of some 5, and share a quarter of their customers' spend.
    return _clusters(rng, count, n, np.ceil(rng.lognormal(3.0, 0.4, n)).astype(int), shared=0.3)


def _clusters(
    rng: np.random.Generator, count: int, n: int, sizes: np.ndarray, shared: float
) -> np.ndarray:
    """Return the sums and sizes of clusters, shape (count, n, 2); each experiment shuffles them."""
    rows = np.empty((count, n, 2))
    for place in range(count):
        member = np.repeat(np.arange(n), rng.permutation(sizes))
        level = rng.normal(0.0, shared, n)
        spend = np.exp(3.0 + level[member] + rng.normal(0.0, 0.5, len(member)))
        rows[place] = clustered(SPEND, spend[:, None], member)
    return rows


def sequential(seed: int, histories: int) -> dict[str, Any]:
    """Read always-valid sequences on every one of 28 days, without an effect and with one."""
    rng = np.random.default_rng([seed, DAYS])
    planned = DAYS * PER_DAY
    # Gamma spend of shape 2 and scale 1 has variance 2; halves are compared.
    gain = DRIFT * np.sqrt(2.0 * 4 / planned)
    rejects = detects = at_end = done = 0
    n = np.arange(1, DAYS + 1) * PER_DAY
    while done < histories:
        count = min(1_000, histories - done)
        spend = rng.gamma(2.0, 1.0, (2, count, DAYS, PER_DAY // 2, 1))
        control = _so_far(spend[0])
        for added in (0.0, gain):
            found = contrast("mean", _so_far(spend[1] + added), control)
            normal = near_normal(found.skewness, found.treatment_n, found.control_n)
            z = found.difference / np.sqrt(found.variance)
            called = ((always_valid_p(z, n, planned) <= ALPHA) & normal).any(axis=1).sum()
            if added:
                detects += int(called)
                at_end += int((np.abs(z[:, -1]) > 1.96).sum())
            else:
                rejects += int(called)
        done += count
    return {
        "looks": DAYS,
        "histories": done,
        "ever_rejects": rejects / done,
        "ever_detects": detects / done,
        "detects_at_the_end": at_end / done,
    }


def _so_far(values: np.ndarray) -> Aggregates:
    days = Aggregates.from_rows(values)
    return Aggregates(
        *(part.cumsum(axis=1) for part in (days.n, days.first, days.second, days.third))
    )


def _skewness(values: np.ndarray) -> float:
    return float(Aggregates.from_rows(values[..., None]).skewness(np.ones(1)).mean())


# Columns a unit where it has more than one.
WIDTH = {
    "ratio": 2,
    "sparse_ratio": 2,
    "cuped": 2,
    "cuped_spend": 2,
    "cuped_ratio": 4,
    "household": 6,
    "store": 40,
}

JUDGES: dict[str, Callable[[np.random.Generator, int, int, int], Judged]] = {
    "spend": partial(judge_figure, draw_spend, "mean"),
    "capped_spend": partial(judge_figure, draw_capped, "mean"),
    "proportion": judge_proportion,
    "ratio": partial(judge_figure, draw_ratio, "ratio"),
    "sparse_ratio": partial(judge_figure, draw_sparse_ratio, "ratio"),
    "cuped": partial(judge_figure, draw_cuped, "mean"),
    "cuped_ratio": partial(judge_figure, draw_cuped_ratio, "ratio"),
    "cuped_spend": partial(judge_figure, draw_cuped_spend, "mean"),
    "strata": judge_strata,
    "many_strata": judge_many_strata,
    "quantile": partial(judge_quantile, 0.5),
    "quantile_99": partial(judge_quantile, 0.99),
    "always": judge_always,
    "looks": judge_looks,
    "household": partial(judge_figure, draw_households, "ratio"),
    "store": partial(judge_figure, draw_stores, "ratio"),
}
