import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.health import sample_ratio, where_it_sits
from experiments.sample_ratio import InvalidSplit

PLANNED = {"off": 0.5, "on": 0.5}


def units(**lost):
    """1,000 units a channel, half each; of a channel named some of `on` are lost."""
    rows = [
        (channel, "on" if number % 2 else "off", number % 5)
        for channel in ("app", "email", "till")
        for number in range(1_000)
        if not (number % 2 and number < lost.get(channel, 0))
    ]
    return pd.DataFrame(rows, columns=["channel", "variant", "day"])


def test_the_split_has_pearsons_p_and_says_how_far_off_it_is():
    split = sample_ratio({"off": 310, "on": 98}, {"off": 0.75, "on": 0.25})
    # Source: scipy.stats.chisquare.
    assert split.p == pytest.approx(stats.chisquare([310, 98], [306, 102]).pvalue)
    assert split.deviation == pytest.approx(4 / 102)
    assert split.holds


def test_traffic_without_a_plan_and_a_plan_without_traffic_are_told():
    with pytest.raises(InvalidSplit, match="'new' was planned at 0 and got 3 units"):
        sample_ratio({"off": 9, "on": 9, "new": 3}, PLANNED)
    with pytest.raises(InvalidSplit, match="nobody was seen in variant 'on'"):
        sample_ratio({"off": 9}, PLANNED)


def test_a_split_broken_in_one_channel_is_found_there():
    said = where_it_sits(units(email=400), ("channel", "day"), PLANNED)
    assert "worst in channel 'email'" in said
    assert "elsewhere the split is as planned" in said


def test_a_split_broken_everywhere_is_not_said_to_be_somewhere():
    said = where_it_sits(units(email=400, app=500, till=400), ("channel",), PLANNED)
    assert "3 places are broken" in said
    assert "'app'" in said


def test_a_whole_split_and_places_too_small_say_nothing():
    assert where_it_sits(units(), ("channel", "day"), PLANNED) is None
    few = pd.DataFrame({"channel": ["app"] * 9, "variant": ["off"] * 9})
    assert where_it_sits(few, ("channel",), PLANNED) is None


def test_chance_alone_seldom_points_somewhere():
    rng = np.random.default_rng(1)
    pointed = 0
    for _ in range(200):
        made = pd.DataFrame(
            {"variant": rng.choice(["off", "on"], 2_000), "day": rng.integers(0, 10, 2_000)}
        )
        pointed += where_it_sits(made, ("day",), PLANNED) is not None
    # At .1 % a time more than 3 of 200 have a chance below 1e-4.
    assert pointed <= 3
