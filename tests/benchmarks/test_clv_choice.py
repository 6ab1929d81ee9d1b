"""The made-up shops of the choice's benchmark are those of the worlds they are named by."""

import argparse

import numpy as np
import pytest

from benchmarks.clv_choice import made_up_shop, measure
from foundation.errors import RegularsError
from segmentation.clv_champion import summary_of
from segmentation.purchase_models import NAMES, Name, fit
from segmentation.purchase_summary import summarise_days


@pytest.mark.parametrize("world", NAMES)
def test_a_shop_is_likeliest_under_the_model_of_its_world(world: Name) -> None:
    shop = made_up_shop(world, 6_000, np.random.default_rng(11))
    summary = summary_of(summarise_days(shop, 545))
    likelihood = {name: fit(name, summary).log_likelihood for name in NAMES}
    assert max(likelihood, key=lambda name: likelihood[name]) == world


def test_no_shop_is_nothing_to_measure() -> None:
    with pytest.raises(RegularsError, match="--shops 0: at least 1"):
        measure(argparse.Namespace(shops=0, customers=500, seed=0))


@pytest.mark.slow
def test_the_choice_inside_the_history_loses_little() -> None:
    ours = measure(argparse.Namespace(shops=6, customers=1_500, seed=3))["ways"]
    # Benchmark on 36 shops: .12 % each. Of 6 shops one poor choice moves the mean by a percent.
    assert ours["inside the history"]["mae_lost"] < 0.03
    assert ours["inside the history"]["rmse_lost"] < 0.03
