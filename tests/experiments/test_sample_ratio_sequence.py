from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.sample_ratio import InvalidSplit, sample_ratio_p_value
from experiments.sample_ratio_sequence import (
    CONCENTRATION,
    always_valid_p_values,
    sample_ratio_sequence,
)

START = datetime(2026, 5, 4, tzinfo=UTC)


def test_the_p_value_is_the_inverse_of_the_bayes_factor_of_the_counts():
    # Source: scipy's Dirichlet-multinomial over its multinomial, whose coefficients cancel.
    planned = [0.5, 0.3, 0.2]
    variants = np.random.default_rng(1).choice(3, 400, p=[0.4, 0.3, 0.3])
    p = always_valid_p_values(variants, planned)
    lowest = 1.0
    for n in range(1, 401):
        counts = np.bincount(variants[:n], minlength=3)
        prior = CONCENTRATION * np.asarray(planned)
        factor = stats.dirichlet_multinomial.logpmf(counts, prior, n) - stats.multinomial.logpmf(
            counts, n, planned
        )
        lowest = min(lowest, float(np.exp(-factor)))
        assert p[n - 1] == pytest.approx(lowest, rel=1e-8)


def test_read_after_every_unit_it_hardly_ever_alarms_where_the_usual_test_often_does():
    rng = np.random.default_rng(2)
    ever, usual = 0, 0
    looks = range(100, 5_001, 100)
    for _ in range(300):
        variants = rng.choice(2, 5_000, p=[0.8, 0.2])
        ever += always_valid_p_values(variants, [0.8, 0.2])[-1] < 0.05
        seen = np.cumsum(variants)
        usual += any(
            sample_ratio_p_value([n - seen[n - 1], seen[n - 1]], [0.8, 0.2]) < 0.05 for n in looks
        )
    # Above 25 of 300 the chance is below .01 at 5 %.
    assert ever <= 25
    assert usual > 75


def test_a_fault_is_found_and_stays_found_when_later_units_cover_it_up():
    rng = np.random.default_rng(3)
    broken = rng.choice(2, 3_000, p=[0.6, 0.4])
    # Then the lost ones come back.
    made_up = np.concatenate([broken, np.ones(int(3_000 - 2 * broken.sum()), dtype=np.int64)])
    p = always_valid_p_values(made_up, [0.5, 0.5])
    assert p[-1] < 0.001
    counts = np.bincount(made_up)
    assert sample_ratio_p_value(counts.tolist(), [0.5, 0.5]) > 0.9


def test_the_first_alarm_is_dated_in_the_order_of_assignment():
    n = 2_000
    units = pd.DataFrame(
        {
            "unit_id": [f"c-{number:05}" for number in range(n)],
            "variant": ["on" if number % 4 == 0 else "off" for number in range(n)],
            "since": [START + timedelta(hours=number) for number in range(n)],
        }
    )
    planned = {"off": 0.5, "on": 0.5}
    found = sample_ratio_sequence(units.sample(frac=1, random_state=1), planned, 0.001)
    p = always_valid_p_values((units["variant"] == "on").to_numpy().astype(int), [0.5, 0.5])
    first = int(np.argmax(p < 0.001))
    assert found.alarm_unit == first + 1
    assert found.alarm_at == units["since"].iloc[first]
    sound = units.assign(variant=["off", "on"] * (n // 2))
    assert sample_ratio_sequence(sound, planned, 0.001).alarm_unit is None


@pytest.mark.parametrize(
    ("variants", "planned"), [([], [0.5, 0.5]), ([0, -1], [0.5, 0.5]), ([0, 1], [0.5, 0.4])]
)
def test_what_has_no_split_is_refused(variants, planned):
    with pytest.raises(InvalidSplit):
        always_valid_p_values(np.asarray(variants, dtype=int), planned)
