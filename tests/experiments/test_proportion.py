import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from experiments.proportion import enough_responders, proportion_interval, proportion_p

COUNTS = st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
    lambda sizes: st.tuples(
        st.integers(0, sizes[0]), st.just(sizes[0]), st.integers(0, sizes[1]), st.just(sizes[1])
    )
)


def restricted_rates(x, n, y, m, delta):
    """Independent of the cubic: the likelihood's maximum by search."""

    def loss(q):
        p = q + delta
        return -(stats.binom.logpmf(x, n, p) + stats.binom.logpmf(y, m, q))

    low, high = max(0.0, -delta), min(1.0, 1 - delta)
    q = optimize.minimize_scalar(
        loss, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-12}
    ).x
    return q + delta, q


@pytest.mark.parametrize("counts", [(30, 500, 700, 9_500), (5, 56, 1, 29), (20, 40, 10, 60)])
def test_at_the_bounds_the_corrected_score_is_the_normal_quantile(counts):
    # Source of the definition: Gart and Nam 1990 with Miettinen and Nurminen's N / (N - 1).
    x, n, y, m = counts
    for delta, wanted in zip(proportion_interval(*counts), (1.959964, -1.959964), strict=True):
        p, q = restricted_rates(x, n, y, m, float(delta))
        variance = (p * (1 - p) / n + q * (1 - q) / m) * (n + m) / (n + m - 1)
        third = p * (1 - p) * (1 - 2 * p) / n**2 - q * (1 - q) * (1 - 2 * q) / m**2
        z = (x / n - y / m - float(delta)) / np.sqrt(variance)
        skewness = third / variance**1.5
        assert z == pytest.approx(wanted + skewness * (wanted**2 - 1) / 6, abs=2e-4)


def test_equal_sizes_need_no_correction():
    # Closed form: the pooled score, chi-square with N - 1.
    score, p = proportion_p(60, 500, 90, 500)
    table = np.array([[60, 440], [90, 410]])
    chi = stats.chi2_contingency(table, correction=False).statistic * 999 / 1000
    assert float(score) == pytest.approx(-np.sqrt(chi))
    assert float(p) == pytest.approx(stats.chi2.sf(chi, 1))


@settings(max_examples=40, deadline=None)
@given(COUNTS)
def test_interval_and_p_value_agree_and_mirror(counts):
    x, n, y, m = counts
    low, high = (float(bound) for bound in proportion_interval(x, n, y, m))
    assert -1 <= low <= high <= 1
    assert low - 1e-9 <= x / n - y / m <= high + 1e-9
    p = float(proportion_p(x, n, y, m)[1])
    assert 0 <= p <= 1
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (low > 1e-12 or high < -1e-12)
    mirrored = proportion_interval(y, m, x, n)
    assert (float(mirrored[0]), float(mirrored[1])) == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "m", "rate"),
    [
        (250, 250, 0.05),
        (100, 400, 0.15),
        (100, 1_900, 0.12),
        (500, 9_500, 0.02),
        (200, 200, 0.9),
        # About as many as are just enough: the count decides whether it is judged.
        (100, 1_900, 0.1),
        (85, 340, 0.1),
        (85, 85, 0.1),
    ],
)
def test_both_tails_hold_at_lopsided_splits(n, m, rate):
    # Exact enumeration of all tables of some weight. The uncorrected score has 3.2 % above and
    # 1.6 % below at 500 of 10,000 and a rate of .02.
    x, y = np.arange(n + 1), np.arange(m + 1)
    px, py = stats.binom.pmf(x, n, rate), stats.binom.pmf(y, m, rate)
    x, px, y, py = x[px > 1e-8], px[px > 1e-8], y[py > 1e-8], py[py > 1e-8]
    score, p = proportion_p(x[:, None], n, y[None, :], m)
    weight = px[:, None] * py[None, :] * enough_responders(x[:, None], n, y[None, :], m)
    weight /= weight.sum()
    below = float(weight[(p <= 0.05) & (score < 0)].sum())
    above = float(weight[(p <= 0.05) & (score > 0)].sum())
    assert abs(below + above - 0.05) <= 0.0065
    assert max(below, above) <= 0.03


def test_few_expected_responders_are_not_enough():
    assert not enough_responders(1, 25, 29, 475)
    assert enough_responders(8, 100, 32, 400)
    assert not enough_responders(7, 100, 32, 400)
    assert not enough_responders(99, 100, 396, 400)
