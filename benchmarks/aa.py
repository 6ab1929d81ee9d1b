"""Does every method keep its promise of 5 %, in both tails, where nothing was changed?

Experiments without effect are simulated over a grid of metrics, sizes and splits and judged by the
functions that judge real ones. A cell must reject 5 % of the experiments it answers, or refuse
before looking at which variant is better. Then always-valid sequences are read on 28 days.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.run import Bar
from experiments.aggregates import Aggregates
from experiments.compare import compare, compare_always, compare_at_look
from experiments.confidence_sequence import always_valid_p
from experiments.contrast import Figure, contrast
from experiments.effect import Effect
from experiments.metrics import Column, Mean, clustered
from experiments.near_normal import near_normal
from experiments.post_stratification import merged_strata
from experiments.proportion import enough_responders, proportion_p
from experiments.quantile import compare_quantiles
from experiments.randomisation import randomisation
from experiments.welch import satterthwaite, student_p

EXPERIMENTS = 10_000
ALPHA = 0.05
REJECTION_WITHIN, TAIL_MOST = 0.0065, 0.03
EVER_REJECTS_MOST, EVER_DETECTS_LEAST = 0.05, 0.22
SPLITS = (0.5, 0.2, 0.05)
# A metric that refused whole would hold its band in vain: even sizes of so many units must answer
# nearly always, however the grid is cut.
MUST_ANSWER, ANSWERED_LEAST = 2_000, 0.95
# Where refusing is right at any split: too few units for that tail.
MAY_REFUSE = ("quantile_99",)
# Read once, what is right at every look rejects less than it may.
CAUTIOUS = ("always",)
# 10 deals in each tail: the randomisation test is as exact as with more, only its p is coarser.
DEALS = 399
VALUES_AT_ONCE = 4_000_000
WORKERS = 2

# The days and drift of a test that has 52 % power at its end: .05 relative of the reference's case.
DAYS, PER_DAY, DRIFT = 28, 100, 2.0137
HISTORIES = 40_000

SPEND = Mean(Column("spend"))
# Quarters, nearly, of what was spent before in strata.
STRATA = (15.7, 20.0, 24.3)

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


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="of the simulation")
    parser.add_argument(
        "--experiments", type=int, default=EXPERIMENTS, help="simulated in a cell of the grid"
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the rejections of every cell, and of 28 looks."""
    cells = list(grid(options.seed, options.experiments))
    with ProcessPoolExecutor(WORKERS) as pool:
        found = list(pool.map(judge_cell, cells))
    histories = HISTORIES * options.experiments // EXPERIMENTS
    return {"cells": found, "sequential": sequential(options.seed, histories)}


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
        within, most = bands(cell["answered"])
        tail = max(cell["lower_tail"], cell["upper_tail"])
        away = cell["rejection"] - ALPHA
        away = max(away, 0.0) if cell["metric"] in CAUTIOUS else abs(away)
        found += [
            Bar(
                f"{name} rejection from 5 %",
                away,
                f"at most {within:.4f}",
                away <= within,
            ),
            Bar(f"{name} larger tail", tail, f"at most {most:.4f}", tail <= most),
        ]
    looks = figures["sequential"]
    rejects, detects = looks["ever_rejects"], looks["ever_detects"]
    return [
        *found,
        Bar(
            "ever rejects over 28 looks",
            rejects,
            f"at most {EVER_REJECTS_MOST}",
            rejects <= EVER_REJECTS_MOST,
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
        "always": (2_000,),
        "looks": (2_000,),
        "household": (500, 2_000),
        "store": (20, 60),
        # Last, so that the cells above keep their seeds.
        "strata": (2_000,),
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


def bands(answered: int) -> tuple[float, float]:
    """Return how far a rejection may be from 5 %, and the largest tail, of so many experiments.

    What refused in part is counted on fewer than were drawn, and its band is wider by as much:
    three standard errors, as the band of 10,000 is.
    """
    wider = max(math.sqrt(EXPERIMENTS / answered), 1.0)
    return REJECTION_WITHIN * wider, ALPHA / 2 + (TAIL_MOST - ALPHA / 2) * wider


def must_answer(metric: str, n: int, split: float) -> bool:
    """Whether refusing this cell would be refusing to work."""
    if metric == "store":
        return n >= 60 and split == 0.5
    return metric not in MAY_REFUSE and n >= MUST_ANSWER and split == 0.5


def judge_cell(cell: Cell) -> dict[str, Any]:
    """Simulate a cell's experiments, no more and no fewer, and count its rejections."""
    rng = np.random.default_rng(cell.seed)
    parts: list[Judged] = []
    drawn = 0
    while drawn < cell.experiments:
        most = max(VALUES_AT_ONCE // (cell.n * WIDTH.get(cell.metric, 1)), 1)
        count = min(most, cell.experiments - drawn)
        parts.append(JUDGES[cell.metric](rng, count, cell.n, max(round(cell.n * cell.split), 1)))
        drawn += count
    answered = sum(int(np.isfinite(part.p).sum()) for part in parts)
    rates = _rates(parts)
    return {
        "metric": cell.metric,
        "method": "+".join(sorted(set().union(*(part.methods for part in parts)))),
        "n": cell.n,
        "split": cell.split,
        "skew": float(np.nanmean([part.skewness for part in parts])),
        "answered": answered,
        "rejection": sum(rates) if rates else None,
        "lower_tail": rates[0] if rates else None,
        "upper_tail": rates[1] if rates else None,
        "refused": 1 - answered / drawn,
    }


def _rates(parts: list[Judged]) -> tuple[float, float] | None:
    """Return the share of answered experiments rejected below and above, None without any."""
    p = np.concatenate([part.p for part in parts])
    up = np.concatenate([part.difference for part in parts]) > 0
    kept = np.isfinite(p)
    if not kept.any():
        return None
    rejected = p <= ALPHA
    return float((rejected & ~up)[kept].mean()), float((rejected & up)[kept].mean())


def judge_figure(
    draw: Draw, figure: Figure, rng: np.random.Generator, count: int, n: int, given: int
) -> Judged:
    """Judge a mean or a ratio as `compare` does, with all near-normal experiments at once."""
    rows = draw(rng, count, n)
    treatment, control = rows[:, :given], rows[:, given:]
    found = contrast(figure, Aggregates.from_rows(treatment), Aggregates.from_rows(control))
    error, df = satterthwaite(
        found.treatment_variance, found.treatment_n, found.control_variance, found.control_n
    )
    p = student_p(found.difference, error, df)
    normal = near_normal(found.skewness, found.treatment_n, found.control_n)
    methods = {"welch"} if normal.any() else set[str]()
    for place in np.flatnonzero(~normal):
        dealt = randomisation(figure, treatment[place], control[place], deals=DEALS)
        holds = dealt.holds(1 - ALPHA)
        p[place] = dealt.p if holds else np.nan
        methods.add("randomisation" if holds else "refused")
    return Judged(p, found.difference, float(np.nanmean(np.abs(found.skewness))), methods)


def judge_strata(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    """Compare inside four strata of who spends how much, as a plan that post-stratifies does."""
    level = rng.normal(20.0, 5.0, (count, n))
    now, before = (level + rng.normal(0.0, 4.0, (count, n)) for _ in range(2))
    rows, stratum = now[..., None], np.digitize(before, STRATA)
    found: list[list[Effect]] = []
    for spend, of in zip(rows, stratum, strict=True):
        arms = {"treatment": slice(None, given), "control": slice(given, None)}
        counts = {
            str(one): {name: int((of[arm] == one).sum()) for name, arm in arms.items()}
            for one in range(len(STRATA) + 1)
        }
        merged = merged_strata(counts, list(arms))
        called = np.array([merged[str(one)] for one in range(len(STRATA) + 1)])[of]
        sums = [
            Aggregates.stacked(
                [
                    Aggregates.from_rows(spend[arm][called[arm] == one])
                    for one in dict.fromkeys(merged.values())
                ]
            )
            for arm in arms.values()
        ]
        found.append([compare("mean", sums[0], sums[1])])
    return _judged_one_by_one(rows, found)


def judge_proportion(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    x, y = rng.binomial(given, 0.1, count), rng.binomial(n - given, 0.1, count)
    enough = enough_responders(x, given, y, n - given)
    _, p = proportion_p(x, given, y, n - given)
    methods = {"score"} if enough.any() else {"refused"}
    return Judged(np.where(enough, p, np.nan), x / given - y / (n - given), 2.67, methods)


def judge_always(rng: np.random.Generator, count: int, n: int, given: int) -> Judged:
    """Read an always-valid sequence once, at its planned end."""
    rows = draw_capped(rng, count, n)
    return _judged_one_by_one(
        rows,
        [
            [
                compare_always(
                    "mean", Aggregates.from_rows(one[:given]), Aggregates.from_rows(one[given:]), n
                )
            ]
            for one in rows
        ],
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
                compare_at_look(
                    "mean", Aggregates.from_rows(up), Aggregates.from_rows(down), look, 2,
                    "obrien_fleming",
                )
                for look, (up, down) in enumerate(halves, start=1)
            ]
        )  # fmt: skip
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
    values = rng.lognormal(3.0, 1.0, (count, n))
    found = [compare_quantiles(each[:given], each[given:], level, deals=DEALS) for each in values]
    p = np.array([np.nan if one.p is None else one.p for one in found])
    difference = np.array([one.mean - one.control_mean for one in found])
    methods = {"refused" if one.refused else one.method for one in found}
    return Judged(p, difference, _skewness(values), methods)


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
WIDTH = {"ratio": 2, "cuped": 2, "cuped_spend": 2, "cuped_ratio": 4, "household": 6, "store": 40}

JUDGES: dict[str, Callable[[np.random.Generator, int, int, int], Judged]] = {
    "spend": partial(judge_figure, draw_spend, "mean"),
    "capped_spend": partial(judge_figure, draw_capped, "mean"),
    "proportion": judge_proportion,
    "ratio": partial(judge_figure, draw_ratio, "ratio"),
    "cuped": partial(judge_figure, draw_cuped, "mean"),
    "cuped_ratio": partial(judge_figure, draw_cuped_ratio, "ratio"),
    "cuped_spend": partial(judge_figure, draw_cuped_spend, "mean"),
    "strata": judge_strata,
    "quantile": partial(judge_quantile, 0.5),
    "quantile_99": partial(judge_quantile, 0.99),
    "always": judge_always,
    "looks": judge_looks,
    "household": partial(judge_figure, draw_households, "ratio"),
    "store": partial(judge_figure, draw_stores, "ratio"),
}
