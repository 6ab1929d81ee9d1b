from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from experiments.design import Experiment, Variant
from experiments.group_sequential import boundaries, crossing
from experiments.looks import newest_look, reached_looks
from experiments.plan import StopRule

START = datetime(2026, 5, 4, tzinfo=UTC)
DAY = timedelta(days=1)
# One unit a day, the first at the start.
SINCE = pd.Series([START + number * DAY for number in range(100)])


def plan(method="pocock", **stop):
    return Experiment(
        "latte",
        "latte",
        [Variant("off", 0.5), Variant("on", 0.5)],
        "off",
        method=method,
        stop=StopRule(**stop),
    )


def test_a_plan_of_one_look_or_of_all_has_no_looks():
    assert newest_look(plan("welch", days=28), SINCE, START + 40 * DAY) is None
    assert newest_look(plan("sequential", days=28), SINCE, START + 40 * DAY) is None


def test_looks_by_days_are_equally_spaced_and_judge_as_of_their_instant():
    weekly = plan(days=28, looks=4)
    for day, number in ((6, 0), (7, 1), (13, 1), (14, 2), (28, 4), (90, 4)):
        look = newest_look(weekly, SINCE, START + day * DAY)
        assert (look.number, look.of) == (number, 4)
        if number:
            assert look.at == START + number * 7 * DAY


def test_looks_by_units_come_with_the_unit_that_makes_them():
    tens = plan(units=40, looks=4)
    for day, number in ((8, 0), (9, 0), (9.5, 1), (19.5, 2), (90, 4)):
        assert newest_look(tens, SINCE, START + day * DAY).number == number
    at = newest_look(tens, SINCE, START + 12 * DAY).at
    assert int((at > SINCE).sum()) == 10


def test_what_comes_first_makes_the_look():
    both = plan(days=28, units=8, looks=4)
    assert newest_look(both, SINCE, START + 4 * DAY).number == 2
    assert newest_look(plan(days=4, units=400, looks=4), SINCE, START + 3 * DAY).number == 3


def test_nobody_assigned_is_before_the_first_look():
    assert newest_look(plan(days=28, looks=4), SINCE[:0], START).number == 0


def test_looks_are_reached_in_their_order_and_the_last_is_the_newest():
    weekly = plan(days=28, looks=4)
    reached = reached_looks(weekly, SINCE, START + 22 * DAY)
    assert [look.number for look in reached] == [1, 2, 3]
    assert newest_look(weekly, SINCE, START + 22 * DAY) == reached[-1]
    assert reached_looks(plan("welch", days=28), SINCE, START + 22 * DAY) == []


@pytest.mark.parametrize("method", ["pocock", "obrien_fleming"])
def test_ramped_traffic_keeps_the_error_at_its_level(method):
    # 5 % of the traffic in the first week, most in the last. Exact: the chance that a path whose
    # information is the units crosses anywhere (Armitage, McPherson and Rowe 1969).
    daily = np.repeat([5, 20, 75, 400], 7)
    since = pd.Series([START + int(day) * DAY for day in np.repeat(np.arange(28), daily)])
    look = newest_look(plan(days=28, looks=4), since, START + 40 * DAY)
    units = [35, 175, 700, 3_500]
    shares = [0.25, 0.5, 0.75, 1.0]

    def error(bounds):
        above, below = crossing(np.divide(units, 3_500), bounds, -bounds)
        return above.sum() + below.sum()

    assert error(boundaries(shares, 0.05, method)) > 0.055
    told = boundaries(shares, 0.05, method, information=look.information)
    assert 0.045 < error(told) <= 0.0501


def test_everybody_on_the_first_day_still_brings_something_each_week():
    since = pd.Series([START] * 50)
    look = newest_look(plan(days=28, looks=4), since, START + 40 * DAY)
    # Time in it is what grew: 7, 14, 21 and 28 days.
    assert look.information == pytest.approx((1, 2, 3, 4))
