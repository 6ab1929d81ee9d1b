import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from foundation.errors import RegularsError, TooLittleData
from foundation.scores import Bin, auc, calibration_error, equal_count_bins, log_loss
from recommender.evaluation import compare_auc

# ------------------------------------------------------------------------------------- the area

ROWS = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        # Few different scores, so that ties are many.
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.one_of(st.just(0.0), st.floats(0.01, 9)), min_size=n, max_size=n),
    )
)


@given(ROWS)
def test_the_area_is_scikit_learns_with_ties_and_weights(
    rows: tuple[list[bool], list[int], list[float]],
) -> None:
    outcome, score, weight = (np.array(part, dtype=float) for part in rows)
    if min(weight[outcome == 1].sum(), weight[outcome == 0].sum()) == 0:
        with pytest.raises(TooLittleData):
            auc(outcome, score, weight)
        return

    # Source: scikit-learn, an independent implementation.
    expected = roc_auc_score(outcome, score, sample_weight=weight)

    assert auc(outcome, score, weight) == pytest.approx(expected, abs=1e-12)


@given(ROWS)
def test_the_area_depends_on_the_order_of_scores_alone(
    rows: tuple[list[bool], list[int], list[float]],
) -> None:
    outcome, score = np.array(rows[0], dtype=float), np.array(rows[1], dtype=float)
    if outcome.sum() in (0, len(outcome)):
        return

    area = auc(outcome, score)

    assert auc(outcome, np.exp(score) * 7 - 3) == pytest.approx(area)
    assert auc(outcome, -score) == pytest.approx(1 - area)
    assert auc(outcome[::-1], score[::-1]) == pytest.approx(area)


def test_areas_worked_out_by_hand() -> None:
    outcome = np.array([0, 0, 1, 1.0])

    assert auc(outcome, np.array([0.1, 0.2, 0.3, 0.4])) == 1.0
    assert auc(outcome, np.array([0.4, 0.3, 0.2, 0.1])) == 0.0
    assert auc(outcome, np.full(4, 0.5)) == 0.5
    # Pairs (responder, other): .4>.1, .4>.3, .3>.1 and a tie .3=.3.
    assert auc(outcome, np.array([0.1, 0.3, 0.3, 0.4])) == 3.5 / 4
    # A weight of two is the row twice: the pairs of row 0 count 2, so (2 + .5 + 2 + 1) / 6.
    assert auc(outcome, np.array([0.1, 0.3, 0.3, 0.4]), np.array([2, 1, 1, 1.0])) == 5.5 / 6


@pytest.mark.parametrize("outcome", [[], [1, 1, 1], [0, 0, 0]])
def test_an_area_without_both_outcomes_is_refused(outcome: list[int]) -> None:
    with pytest.raises(TooLittleData, match="needs responders and non-responders"):
        auc(np.array(outcome, dtype=float), np.arange(len(outcome), dtype=float))


def test_a_missing_score_is_refused_and_not_ranked_somewhere() -> None:
    with pytest.raises(RegularsError, match="1 of 3 scores are missing"):
        auc(np.array([0, 1, 1.0]), np.array([0.1, np.nan, 0.3]))


# --------------------------------------------------------------------------------- its interval


def simulated(
    customers: int, rows_each: int, shift: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customers who do the same in every row: responders score N(shift, 1), others N(0, 1)."""
    draw = np.random.default_rng(seed)
    outcome = (draw.random(customers) < 0.3).astype(float)
    score = draw.normal(outcome * shift)
    repeat = np.repeat(np.arange(customers), rows_each)
    return outcome[repeat], score[repeat], np.array([f"c-{n}" for n in repeat], dtype=object)


def width(outcome: np.ndarray, score: np.ndarray, customers: np.ndarray) -> float:
    found = compare_auc(outcome, {"s": score}, customers, "s", seed=1, rounds=400).auc["s"]
    return found.high - found.low


def test_rows_that_repeat_a_customer_add_no_certainty() -> None:
    outcome, score, customers = simulated(300, 1, 0.8, seed=5)
    again = np.repeat(np.arange(300), 4)

    once = compare_auc(outcome, {"s": score}, customers, "s", seed=1, rounds=200)
    often = compare_auc(
        outcome[again], {"s": score[again]}, customers[again], "s", seed=1, rounds=200
    )

    # Closed form: weights that all grow fourfold cancel out of the area.
    assert often.auc["s"].value == pytest.approx(once.auc["s"].value)
    assert often.auc["s"].low == pytest.approx(once.auc["s"].low)
    assert often.auc["s"].high == pytest.approx(once.auc["s"].high)


def test_clustering_by_customer_widens_the_interval_by_the_root_of_her_rows() -> None:
    outcome, score, customers = simulated(400, 4, 0.8, seed=6)

    clustered = width(outcome, score, customers)
    naive = width(outcome, score, np.arange(len(outcome)))

    # Source: a mean over 4 equal rows has the variance of one, 4 times that of 4 independent ones.
    assert clustered / naive == pytest.approx(2, rel=0.15)


def covered(rows_each: int, by_customer: bool, runs: int) -> int:
    # Source: the area of two normals that differ by d is Phi(d / sqrt(2)).
    shift, hits = 0.8, 0
    truth = stats.norm.cdf(shift / np.sqrt(2))
    for seed in range(runs):
        outcome, score, customers = simulated(200, rows_each, shift, seed=1_000 + seed)
        units = customers if by_customer else np.arange(len(outcome))
        found = compare_auc(outcome, {"s": score}, units, "s", seed=seed, rounds=300).auc["s"]
        hits += found.low <= truth <= found.high
    return hits


def test_the_interval_covers_a_known_truth_as_often_as_it_says() -> None:
    runs = 300

    hits = covered(3, by_customer=True, runs=runs)

    # 95 % within what 300 runs and a percentile bootstrap of 200 customers can tell apart.
    assert stats.binomtest(hits, runs, 0.95).pvalue > 0.001
    assert 0.90 <= hits / runs <= 0.99


def test_an_interval_over_rows_would_promise_too_much() -> None:
    runs = 100

    hits = covered(4, by_customer=False, runs=runs)

    # Half the width it should have: P(|z| < 1.96 / 2) = 67 %.
    assert hits / runs == pytest.approx(0.67, abs=0.15)


def test_the_point_is_the_area_of_all_rows_and_lies_inside() -> None:
    outcome, score, customers = simulated(300, 2, 0.8, seed=7)

    found = compare_auc(outcome, {"s": score}, customers, "s", seed=1, rounds=300).auc["s"]

    assert found.value == pytest.approx(roc_auc_score(outcome, score))
    assert found.low < found.value < found.high


def test_the_gain_is_paired_row_by_row() -> None:
    outcome, score, customers = simulated(300, 2, 0.8, seed=8)
    scores = {"plain": score, "copy": score * 3, "better": score + outcome, "worse": -score}

    found = compare_auc(outcome, scores, customers, "plain", seed=1, rounds=300)

    assert set(found.gain) == {"copy", "better", "worse"}
    # The same order of rows gains nothing in any round.
    assert (found.gain["copy"].low, found.gain["copy"].high) == (0.0, 0.0)
    assert found.gain["better"].low > 0
    assert found.gain["worse"].high < 0
    better = found.gain["better"]
    assert better.value == pytest.approx(found.auc["better"].value - found.auc["plain"].value)
    # Unpaired, the interval would be as wide as both areas' own together.
    spread = sum(found.auc[n].high - found.auc[n].low for n in ("plain", "better"))
    assert better.high - better.low < spread


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    outcome, score, customers = simulated(100, 2, 0.8, seed=9)

    def found(seed: int) -> object:
        return compare_auc(outcome, {"s": score}, customers, "s", seed=seed, rounds=50)

    assert found(1) == found(1)
    assert found(1) != found(2)


@pytest.mark.parametrize(("responding", "word"), [(9, "only 9 responded"), (291, "only 9 did not")])
def test_an_interval_of_too_few_customers_is_refused(responding: int, word: str) -> None:
    customers = np.repeat(np.arange(300), 5)
    outcome = (customers < responding).astype(float)

    with pytest.raises(TooLittleData, match=word):
        compare_auc(outcome, {"s": np.arange(1500.0)}, customers, "s", seed=1, rounds=10)


def test_ten_customers_on_either_side_are_enough() -> None:
    customers = np.arange(20)
    outcome = (customers < 10).astype(float)

    found = compare_auc(outcome, {"s": -customers * 1.0}, customers, "s", seed=1, rounds=50)

    assert found.auc["s"].value == 1.0


def test_an_interval_of_no_rows_is_refused() -> None:
    nothing = np.empty(0)

    with pytest.raises(TooLittleData, match="only 0 responded"):
        compare_auc(nothing, {"s": nothing}, nothing, "s", seed=1)


def test_an_interval_of_missing_scores_is_refused() -> None:
    outcome, score, customers = simulated(100, 1, 0.8, seed=9)
    score[3] = np.nan

    with pytest.raises(RegularsError, match="1 of 100 scores are missing"):
        compare_auc(outcome, {"s": score}, customers, "s", seed=1, rounds=10)


# --------------------------------------------------------------------------- log loss, calibration


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.999)), min_size=1, max_size=30),
)
def test_log_loss_is_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    outcome = np.array([float(o) for o, _ in rows])
    probability = np.array([p for _, p in rows])

    # Source: scikit-learn, an independent implementation.
    assert log_loss(outcome, probability) == pytest.approx(
        sklearn_log_loss(outcome, probability, labels=[0, 1])
    )


def test_being_sure_and_wrong_costs_much_but_is_finite() -> None:
    found = log_loss(np.array([1.0, 0.0]), np.array([0.0, 1.0]))

    # -ln(1e-6), the distance that probabilities keep from 0 and 1.
    assert found == pytest.approx(13.8155, abs=1e-3)


def test_a_calibration_error_worked_out_by_hand() -> None:
    bins = [Bin(10, 0.1, 0.3), Bin(30, 0.5, 0.4), Bin(60, 0.8, 0.8)]

    # (10 x .2 + 30 x .1 + 60 x 0) / 100
    assert calibration_error(bins) == pytest.approx(0.05)


@pytest.mark.parametrize("said", [0.0, 0.2, 0.9])
def test_one_probability_for_all_errs_by_its_distance_from_the_rate(said: float) -> None:
    outcome = np.array([1.0, 0.0] * 50)

    bins = equal_count_bins(outcome, np.full(100, said), bins=5)

    # Every fifth of the rows holds as many responders as others.
    assert calibration_error(bins) == pytest.approx(abs(0.5 - said))


def test_a_true_probability_errs_by_chance_alone() -> None:
    draw = np.random.default_rng(4)
    probability = draw.random(100_000)
    outcome = (draw.random(100_000) < probability).astype(float)

    found = calibration_error(equal_count_bins(outcome, probability))

    # Source: the mean of |normal| is sqrt(2 / pi) sigma, sigma^2 = mean p (1 - p) / n of a bin.
    centres = (np.arange(10) + 0.5) / 10
    expected = np.mean(np.sqrt(2 / np.pi * centres * (1 - centres) / 10_000))
    assert expected / 3 < found < expected * 3


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 12))
def test_bins_share_all_rows_evenly_from_the_lowest_to_the_highest(
    said: list[float], count: int
) -> None:
    probability = np.array(said)
    outcome = (np.arange(len(said)) % 2).astype(float)

    bins = equal_count_bins(outcome, probability, count)

    sizes = [b.n for b in bins]
    assert sum(sizes) == len(said)
    assert max(sizes) - min(sizes) <= 1
    assert len(bins) == min(count, len(said))
    predicted = [b.predicted for b in bins]
    assert predicted == pytest.approx(sorted(predicted))
    # Nothing is lost: bins add up to the whole.
    assert sum(b.n * b.observed for b in bins) == pytest.approx(outcome.sum())
    assert sum(b.n * b.predicted for b in bins) == pytest.approx(probability.sum())


def test_a_calibration_error_of_no_rows_is_refused() -> None:
    with pytest.raises(TooLittleData, match="at least one row"):
        calibration_error(equal_count_bins(np.empty(0), np.empty(0)))
