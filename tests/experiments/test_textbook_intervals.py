"""Where do textbook intervals break, and does ours refuse there? Do looks at real histories lie?"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.aggregates import Aggregates
from experiments.compare import compare
from experiments.confidence_sequence import always_valid_p
from experiments.contrast import contrast
from experiments.near_normal import near_normal
from experiments.welch import Moments, difference, relative

# The directory of asos_digital_experiments_dataset.parquet (Liu et al., NeurIPS 2021, CC BY 4.0).
HISTORIES = (
    Path(os.environ.get("ASOS_EXPERIMENTS", "")) / "asos_digital_experiments_dataset.parquet"
)
# The directory of the coffee chain's events.
EVENTS = Path(os.environ.get("STARBUCKS_REWARDS", "")) / "transcript.parquet"


def test_the_delta_method_contradicts_the_difference_where_fieller_does_not():
    """Source: an independent calculator's relative interval, (-.03526, 1.44989), p .06191.

    The delta method by hand, at the degrees of freedom of the difference.
    """
    control = Moments.from_sums(1396.87, 52377.9767, 3407)
    treatment = Moments.from_sums(2422.7, 134698.29, 3461)
    parts = [one.variance / one.n for one in (treatment, control)]
    df = sum(parts) ** 2 / (parts[0] ** 2 / (treatment.n - 1) + parts[1] ** 2 / (control.n - 1))
    level = treatment.mean / control.mean
    error = np.sqrt(parts[0] + level**2 * parts[1]) / control.mean
    reach = stats.t.isf(0.025, df) * error
    assert np.round([level - 1 - reach, level - 1 + reach], 5) == pytest.approx([-0.03526, 1.44989])
    assert round(2 * stats.t.sf((level - 1) / error, df), 5) == 0.06191
    # So the two scales disagree about significance; ours do not.
    absolute, share = difference(treatment, control), relative(treatment, control)
    assert absolute.low > 0
    assert share.low is not None
    assert share.low > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "others", "rejects"), [(1_000, 1_000, 0.042), (500, 9_500, 0.129)]
)
def test_welch_on_spend_of_few_buyers_rejects_too_often_and_is_not_ours(given, others, rejects):
    """Source: simulation with known truth; 5 % buy for lognormal(3, 1.25) amounts, nothing else."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(4_000):
        arms = [
            np.where(rng.random(n) < 0.05, rng.lognormal(3, 1.25, n), 0) for n in (given, others)
        ]
        error = np.sqrt(sum(arm.var(ddof=1) / len(arm) for arm in arms))
        found.append((arms[0].mean() - arms[1].mean()) / error)
    z = np.array(found)
    # Three standard errors of 4,000 experiments at 12.9 % are .016.
    assert (np.abs(z) > 1.96).mean() == pytest.approx(rejects, abs=0.016)
    sums = [Aggregates.from_rows(arm[:, None]) for arm in arms]
    own = contrast("mean", *sums)
    assert not near_normal(own.skewness, given, others)
    assert compare("mean", *sums).p is None
    if others > given:
        # Nearly all in one tail.
        assert (z > 1.96).mean() < 0.005 or (z < -1.96).mean() < 0.005


def test_cluster_robust_errors_of_20_stores_reject_too_often_and_are_not_ours():
    """Source: simulation with known truth; ten stores against ten, sizes lognormal(3, .52)."""
    rng = np.random.default_rng(1)
    sizes = np.ceil(rng.lognormal(3.0, 0.52, (20_000, 20)))
    level = rng.normal(0, 0.3, sizes.shape) + rng.normal(0, 0.5, sizes.shape) / np.sqrt(sizes)
    sums = level * sizes
    means, variances = [], []
    for arm in (slice(None, 10), slice(10, None)):
        mean = sums[:, arm].sum(1) / sizes[:, arm].sum(1)
        rest = sums[:, arm] - mean[:, None] * sizes[:, arm]
        means.append(mean)
        variances.append((rest**2).sum(1) / sizes[:, arm].sum(1) ** 2)
    z = np.abs(means[0] - means[1]) / np.sqrt(variances[0] + variances[1])
    # The reference's figures; three standard errors of 20,000 are .0064 and .0057.
    assert (z > stats.norm.isf(0.025)).mean() == pytest.approx(0.100, abs=0.0064)
    assert (z > stats.t.isf(0.025, 18)).mean() == pytest.approx(0.079, abs=0.0057)
    rows = [np.column_stack([sums[0, arm], sizes[0, arm]]) for arm in (slice(10), slice(10, 20))]
    own = compare("ratio", *map(Aggregates.from_rows, rows), tuple(rows))
    assert own.method == "randomisation" or own.refused is not None


@pytest.mark.skipif(not EVENTS.is_file(), reason="set STARBUCKS_REWARDS to its directory")
def test_welch_on_a_real_coffee_chain_rejects_too_often_and_is_not_ours():
    events = pd.read_parquet(EVENTS)
    week = events[(events["event"] == "transaction") & (events["time"] < 168)]
    spent = week.groupby("person")["amount"].sum().reindex(events["person"].unique()).fillna(0)
    values, rng = spent.to_numpy(), np.random.default_rng(1)
    dealt = [rng.choice(values, 2_400, replace=False) for _ in range(4_000)]
    z = np.array(
        [
            (one[:120].mean() - one[120:].mean())
            / np.sqrt(one[:120].var(ddof=1) / 120 + one[120:].var(ddof=1) / 2_280)
            for one in dealt
        ]
    )
    # The reference's 10.4 %, nearly all false losses; three standard errors are .0145.
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.104, abs=0.0145)
    assert (z > 1.96).mean() < 0.005
    arms = [Aggregates.from_rows(part[:, None]) for part in (dealt[0][:120], dealt[0][120:])]
    assert compare("mean", *arms).p is None


@pytest.mark.skipif(not HISTORIES.is_file(), reason="set ASOS_EXPERIMENTS to its directory")
def test_looks_at_real_histories_reject_less_than_peeking_does():
    looks = pd.read_parquet(HISTORIES).query("metric_id == 1").dropna()
    looks = looks[(looks[["count_c", "count_t"]] > 1_000).all(axis=1)]
    variance = looks["variance_c"] / looks["count_c"] + looks["variance_t"] / looks["count_t"]
    z = ((looks["mean_t"] - looks["mean_c"]) / np.sqrt(variance)).to_numpy()
    n = (looks["count_c"] + looks["count_t"]).to_numpy()
    # Tuned, as a plan would, to a number fixed before any look.
    looks = looks.assign(peeked=np.abs(z) > 1.96, always=always_valid_p(z, n, 100_000) <= 0.05)
    by = looks.groupby(["experiment_id", "variant_id"])
    peeked, always = by["peeked"].any(), by["always"].any()
    assert len(peeked) > 50
    assert not (always & ~peeked).any()
    assert always.sum() < peeked.sum()
