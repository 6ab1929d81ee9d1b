"""Do a thousand experiments on a million customers share customers by chance alone?

Every pair of experiments is tested for independence (chi-square of who is in whose first variant);
if assignment works, these p-values are uniform. Weights are judged by the worst variant of all
experiments, in standard deviations of a binomial count: one count of 16,000 is beyond 4 by chance,
and the worst of the 1,500 distinct ones here in 9 sets of salts of 100 (about 3.5 is usual). Salts
are fixed, so a run either always passes or never. A ramp-up from 5 to 50 % must move nobody who
was in; `moved_among` are the assignments it was counted over. Seconds are processor time of one
core, for positions and variants of ready ids, compiling left out.
"""

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as arrow
from scipy import stats

from benchmarks.run import Bar
from experiments.assignment_arrays import as_ids, assigned_variants
from experiments.design import Experiment, Variant
from foundation.errors import RegularsError
from regulars.progress import Progress

SPLITS = ((0.5, 0.5), (0.2, 0.8), (0.05, 0.95), (0.34, 0.33, 0.33))
LOW, HIGH = 0.05, 0.5
# Customers at a time: a matrix of their variants in every experiment stays at 100 MB. Each
# experiment is ramped up on one such chunk, in turn, and one in so many on all customers: all of
# them on all would take four times as long as everything else.
CHUNK = 25_000
ONE_IN = 50
TIMED = "assigned_variants of ready ids, everybody exposed, in processor seconds of one core"
LEAST_KS, MOST_SIGMA, LEAST_PER_SECOND = 0.01, 4.0, 1_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--experiments", type=int, default=1_000)
    parser.add_argument("--customers", type=int, default=1_000_000)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return how independent, even, quick and steady assignments are.

    Raises:
        RegularsError: There are too few experiments or customers to say anything.
    """
    if options.experiments < 2 or options.customers < 10_000:
        raise RegularsError(
            f"--experiments {options.experiments} --customers {options.customers}: at least 2 "
            "experiments and 10,000 customers are needed"
        )
    designs = [_design(number) for number in range(options.experiments)]
    ids = as_ids([f"c-{number}" for number in range(options.customers)])
    assigned_variants(designs[0], ids[:1])
    progress = Progress()
    first = np.zeros(len(designs))
    together = np.zeros((len(designs), len(designs)))
    counts = [np.zeros(len(design.variants)) for design in designs]
    seconds = 0.0
    with progress.step("assigning") as step:
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            in_first = np.empty((len(designs), len(chunk)), np.float32)
            for row, design in enumerate(designs):
                begun = time.process_time()
                found = assigned_variants(design, chunk)
                seconds += time.process_time() - begun
                counts[row] += np.bincount(found, minlength=len(design.variants))
                in_first[row] = found == 0
            # Exact: sums of ones up to 2**24 are whole in single precision.
            together += in_first @ in_first.T
            first += in_first.sum(axis=1)
            step.show(f"{start + len(chunk):,} customers")
    p_values = independence_p_values(first, together, len(ids))
    with progress.step("ramping up"):
        chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
        ramped = [
            (one, ids if n % ONE_IN == 0 else chunks[n % len(chunks)])
            for n, one in enumerate(designs)
        ]
        moved = sum(_moved(one, some) for one, some in ramped)
    return {
        "ks_p": float(stats.kstest(p_values, "uniform").pvalue),
        "weight_deviation_sigma": max(
            float(np.max(np.abs(count - due) / np.sqrt(due * (1 - due / len(ids)))))
            for count, due in (
                (count, len(ids) * np.array([variant.weight for variant in design.variants]))
                for count, design in zip(counts, designs, strict=True)
            )
        ),
        "per_second": len(designs) * len(ids) / seconds,
        "per_second_of": TIMED,
        "moved": moved,
        "moved_among": sum(len(some) for _, some in ramped),
        "share_of_pairs_below_5_percent": float(np.mean(p_values < 0.05)),
        "pairs": len(p_values),
        "experiments": len(designs),
        "customers": len(ids),
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    """Hold the figures to the bars."""
    ks, sigma = figures["ks_p"], figures["weight_deviation_sigma"]
    quick, moved = figures["per_second"], figures["moved"]
    return [
        Bar("ks_p", ks, f"above {LEAST_KS}", ks > LEAST_KS),
        Bar("weight_deviation_sigma", sigma, f"within {MOST_SIGMA:g}", sigma <= MOST_SIGMA),
        Bar("per_second", quick, f"at least {LEAST_PER_SECOND:,}", quick >= LEAST_PER_SECOND),
        Bar("moved", moved, "0", moved == 0),
    ]


def independence_p_values(
    first: npt.NDArray[np.float64], together: npt.NDArray[np.float64], customers: int
) -> npt.NDArray[np.float64]:
    """Return the chi-square p-value of each pair of experiments, shape (pairs,).

    Args:
        first: Customers in each experiment's first variant, shape (n,).
        together: Customers in the first variant of both, shape (n, n).

    Source: Pearson's chi-square of a table of two by two, without continuity correction.
    """
    one, other = np.triu_indices(len(first), k=1)
    a, b = first[one], first[other]
    apart = together[one, other] - a * b / customers
    spread = a * (customers - a) * b * (customers - b) / customers**3
    return stats.chi2.sf(apart**2 / spread, 1)


def _design(number: int) -> Experiment:
    key = f"experiment-{number}"
    split = SPLITS[number % len(SPLITS)]
    variants = [Variant(f"v{place}", weight) for place, weight in enumerate(split)]
    return Experiment(key=key, salt=key, variants=variants, control="v0")


def _moved(design: Experiment, ids: arrow.LargeStringArray) -> int:
    """Return how many of those in at the low exposure are out, or elsewhere, at the high one."""
    before = assigned_variants(_exposed(design, LOW), ids)
    after = assigned_variants(_exposed(design, HIGH), ids)
    return int(np.count_nonzero((before >= 0) & (before != after)))


def _exposed(design: Experiment, share: float) -> Experiment:
    return Experiment(
        key=design.key,
        salt=design.salt,
        variants=design.variants,
        control=design.control,
        exposure=share,
    )
