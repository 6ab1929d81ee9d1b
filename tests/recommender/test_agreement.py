import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from recommender.agreement import same_top, share


def test_the_same_offer_first_is_agreement_whatever_the_scores() -> None:
    assert same_top({"a": 0.2, "b": 0.1}, {"a": 9.0, "b": 3.0})
    assert not same_top({"a": 0.2, "b": 0.1}, {"a": 1.0, "b": 3.0})
    # Alike: the first name, in both.
    assert same_top({"b": 0.1, "a": 0.1}, {"a": 5.0, "b": 5.0})


@pytest.mark.parametrize(("yes", "n"), [(70, 100), (0, 40), (40, 40), (3, 50)])
def test_of_one_decision_a_customer_the_interval_is_wilsons(yes: int, n: int) -> None:
    same = np.array([1.0] * yes + [0.0] * (n - yes))

    found = share(same, np.arange(n))

    # Source: an independent implementation. A design effect of n / (n - 1) is ours.
    low, high = proportion_confint(yes, n, method="wilson")
    assert found.value == yes / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.002)


def test_many_decisions_of_few_customers_are_no_surer_than_the_customers() -> None:
    customers = np.repeat(np.arange(50), 20)
    same = (customers < 35).astype(float)

    found, once = share(same, customers), share(same[::20], np.arange(50))

    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=0.001)
