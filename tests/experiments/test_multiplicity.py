import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from experiments.multiplicity import InvalidPValues, adjusted

# Source: reference/experiments.md.
P = (0.005, 0.06, 0.007, 0.04, 0.01, 0.03)
REFERENCE = {
    "benjamini_hochberg": (0.02, 0.06, 0.02, 0.048, 0.02, 0.045),
    "benjamini_yekutieli": (0.049, 0.147, 0.049, 0.1176, 0.049, 0.11025),
    "holm": (0.03, 0.09, 0.035, 0.09, 0.04, 0.09),
}
THEIRS = {"benjamini_hochberg": "fdr_bh", "benjamini_yekutieli": "fdr_by", "holm": "holm"}


@pytest.mark.parametrize("correction", REFERENCE)
def test_the_reference_values_to_the_digits_shown(correction):
    assert [round(p, 6) for p in adjusted(P, correction)] == list(REFERENCE[correction])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from(list(THEIRS)))
def test_statsmodels_agrees(p_values, correction):
    theirs = multipletests(p_values, method=THEIRS[correction])[1]
    assert np.allclose(adjusted(p_values, correction), theirs)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.sampled_from(list(THEIRS)))
def test_an_adjusted_p_value_is_never_smaller_and_keeps_the_order(p_values, correction):
    answer = np.asarray(adjusted(p_values, correction))
    assert (answer >= np.asarray(p_values) - 1e-12).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(answer[order]) >= -1e-12).all()


def test_no_comparison_needs_no_adjustment():
    assert adjusted([], "holm") == []


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.1])
def test_what_is_no_p_value_is_refused(wrong):
    with pytest.raises(InvalidPValues, match="must each lie in"):
        adjusted([0.1, wrong], "holm")
