"""Targeting is chosen where effects differ, and left where they do not; its value holds."""

import numpy as np
import pytest
from scipy import stats

from recommender import uplift_evaluation
from recommender.policy_value import Price, treat_by
from recommender.trial import InvalidTrial
from recommender.uplift import fit_uplift
from recommender.uplift_evaluation import FITS, cross_fit, on_test
from recommender.uplift_pictures import tenths_picture
from tests.recommender.uplift_worlds import world


def test_strong_differences_are_found_by_every_figure() -> None:
    planted = world(3000, 1, "split", 1)
    fits: list[int] = []
    found = cross_fit(planted.rows, Price(1.0, 0.4), 0, fitted=lambda: fits.append(1))
    assert len(fits) == FITS
    assert found.choice.chosen == "policy"
    assert found.rate_p is not None
    assert found.rate_p < 0.001
    assert found.learners["same"].advised.qini.value == pytest.approx(0, abs=1e-12)
    for learner in ("t", "dr"):
        assert found.learners[learner].advised.qini.low > 0
        # Truth among the highest 30 %: nearly all have an effect of 1.
        assert found.learners[learner].advised.at.high > 0.9
    # The best rule's gain over treating everyone: .4 saved for those below the 62nd percentile.
    assert found.values.policy_over_best.high > 0.4 * stats.norm.cdf(0.3) - 0.05
    assert found.tenths[0].observed.low > found.tenths[-1].observed.high


def test_a_test_file_is_judged_by_what_was_learned_elsewhere() -> None:
    planted, fresh = world(3000, 2, "split", 3), world(2000, 2, "split", 4)
    found, model = on_test(planted.rows, fresh.rows, Price(1.0, 0.3), 0)
    rule = treat_by(model.effects(fresh.rows.features) - 0.3)
    gain = np.column_stack([np.zeros(2000), fresh.effects - 0.3])[np.arange(2000), rule]
    # Truth: what the rule causes, known row by row.
    assert found.values.policy_over_none.low < gain.mean() < found.values.policy_over_none.high
    assert found.choice.chosen == "policy"
    assert tenths_picture(found.tenths, found.choice.because).axes[0].get_ylabel()
    with pytest.raises(InvalidTrial, match="give both the same"):
        on_test(planted.rows, world(500, 1, "none", 0).rows, Price(), 0)


def test_one_good_treatment_for_all_is_the_choice_where_all_gain_alike() -> None:
    found = cross_fit(world(1500, 1, "same", 2).rows, Price(), 0)
    assert found.choice.chosen == "best_single"
    assert "targeting does not pay" in found.choice.because


@pytest.mark.slow
@pytest.mark.parametrize("cost", [0.0, 0.3])
def test_without_differences_p_is_uniform_and_targeting_is_not_chosen(
    cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bootstraps of the curves are not looked at here, and take most of the time.
    monkeypatch.setattr(uplift_evaluation, "_figures", lambda *_: None)
    seeds = 25
    found = [
        cross_fit(world(600, 1, "same", seed).rows, Price(1.0, cost), seed) for seed in range(seeds)
    ]
    p = [one.rate_p for one in found if one.rate_p is not None]
    assert stats.kstest(p, "uniform").pvalue > 0.001
    # 97 % are not to choose it: 5 or more of 25 have a probability of .0008.
    assert sum(one.choice.chosen == "policy" for one in found) <= 4


@pytest.mark.slow
def test_the_learned_policy_s_interval_holds_its_true_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uplift_evaluation, "_figures", lambda *_: None)
    fresh = world(20_000, 1, "split", 999)
    model = fit_uplift(world(1500, 1, "split", 1000).rows, 0)
    rule = treat_by(model.effects(fresh.rows.features) - 0.3)
    truth = float((rule * (fresh.effects[:, 0] - 0.3)).mean())
    held = 0
    for seed in range(80):
        judged = world(1000, 1, "split", seed).rows
        monkeypatch.setattr(uplift_evaluation, "fit_uplift", lambda *_: model)
        found, _ = on_test(judged, judged, Price(1.0, 0.3), 0)
        gain = found.values.policy_over_none
        held += gain.low <= truth <= gain.high
    # Of 80 intervals of 95 %: fewer than 70 has a probability of .002.
    assert held >= 70
