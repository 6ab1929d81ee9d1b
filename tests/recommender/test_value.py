"""An offer's value is what it causes less what it costs; arbitration ranks by the same."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from foundation.money import Currency
from foundation.scores import Interval
from recommender.value import Arbitration, Contact, InvalidValue, OfferValue, levered, ranked

USD = Currency("USD")
# By hand: 4 points of uplift on a margin of 12.50 earn 50 cents. One in ten redeems at 2.00, which
# costs 20 cents; the letter costs 5, and one in a thousand who opts out with 90.00 to come costs 9.
LETTER = Contact(cost=5, opt_out=0.001, remaining_value=9_000)
COFFEE = OfferValue(0.1, Interval(0.04, 0.02, 0.07), margin=1_250, cost=200, contact=LETTER)


def test_value_is_uplift_times_margin_less_offer_and_contact_costs() -> None:
    assert LETTER.opt_out_loss == pytest.approx(9.0)
    value = COFFEE.incremental_margin
    assert value.value == pytest.approx(50 - 20 - 5 - 9)


def test_the_uplifts_interval_is_carried_through() -> None:
    value = COFFEE.incremental_margin
    # 2 points earn 25, 7 points 87.5; costs of 34 stay as they are.
    assert value.low == pytest.approx(25 - 34)
    assert value.high == pytest.approx(87.5 - 34)


def test_a_negative_margin_turns_the_bounds_around() -> None:
    loss = OfferValue(0.1, Interval(0.04, 0.02, 0.07), -100, 0, Contact()).incremental_margin
    assert (loss.low, loss.value, loss.high) == pytest.approx((-7, -4, -2))


def test_assumptions_go_where_the_figure_goes() -> None:
    rests = OfferValue(
        0.1, Interval(0.04, 0.02, 0.07), 1_250, 200, LETTER, ("a margin rate of 25 %",)
    )
    assert rests.told(USD) == (
        "0.16 USD expected incremental margin [-0.09 USD, 0.54 USD]; assumed: a margin rate of 25 %"
    )


def test_arbitration_reads_as_factors_and_their_product() -> None:
    read = Arbitration.of(COFFEE, context=1.5, lever=2.0)
    # 16 cents over one response in ten are 1.60 a response; tripled by context and lever.
    assert read.value == pytest.approx(160)
    assert read.score == pytest.approx(48)
    assert read.line(USD) == (
        "10.0% response x 1.50 context x 1.60 USD a response x 2.00 lever = 0.48 USD"
    )
    assert read.record()["score"] == pytest.approx(48)


def test_a_margin_known_whole_is_told_by_its_factors() -> None:
    # 16 cents in this context, where 20 % respond instead of the usual 10 %: 80 a response.
    read = Arbitration.of_margin(16.0, usual=0.1, response=0.2, lever=2.0)
    assert (read.response, read.context, read.value) == pytest.approx((0.1, 2.0, 80.0))
    assert read.score == pytest.approx(32.0)
    for usual, response in ((0.0, 0.2), (0.1, 0.0)):
        silent = Arbitration.of_margin(-3.0, usual, response, lever=2.0)
        assert (silent.response, silent.score) == (0.0, -6.0)
    with pytest.raises(InvalidValue, match=r"response 1\.5 is out of range"):
        Arbitration.of_margin(16.0, usual=0.1, response=1.5)


def test_who_never_responds_still_costs_the_contact() -> None:
    silent = Arbitration.of(OfferValue(0.0, Interval(0, 0, 0), 1_250, 200, LETTER), lever=2.0)
    assert silent.score == pytest.approx(-28)
    assert "costs 0.14 USD" in silent.line(USD)


@pytest.mark.parametrize("lever", [0.49, 2.01, float("nan")])
def test_a_lever_out_of_bounds_is_refused(lever: float) -> None:
    with pytest.raises(InvalidValue, match=r"lever .* is out of range; give 0\.5 to 2"):
        Arbitration.of(COFFEE, lever=lever)


@pytest.mark.parametrize("context", [0.0, -1.0, float("inf"), float("nan")])
def test_a_context_that_is_no_factor_is_refused(context: float) -> None:
    with pytest.raises(InvalidValue, match="context"):
        Arbitration.of(COFFEE, context=context)


def test_figures_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidValue, match=r"opt-out probability 1\.5"):
        Contact(opt_out=1.5)
    with pytest.raises(InvalidValue, match="response nan"):
        OfferValue(float("nan"), Interval(0, 0, 0), 1, 1, LETTER)
    with pytest.raises(InvalidValue, match=r"lies outside its interval"):
        OfferValue(0.1, Interval(0.5, 0, 0.1), 1, 1, LETTER)


@given(st.floats(-1e4, 1e4), st.floats(1e-6, 1), st.floats(1e-6, 1), st.floats(0.5, 2))
def test_factors_of_a_whole_margin_multiply_to_it_again(
    margin: float, usual: float, response: float, lever: float
) -> None:
    read = Arbitration.of_margin(margin, usual, response, lever)
    assert read.score == pytest.approx(margin * lever, rel=1e-9, abs=1e-12)
    assert read.response * read.context == pytest.approx(response)


points = st.floats(-0.5, 0.5)
values = st.builds(
    lambda response, uplift, margin, cost, contact: OfferValue(
        response, Interval(uplift, uplift, uplift), margin, cost, Contact(cost=contact)
    ),
    st.just(0.0) | st.floats(1e-6, 1),
    points,
    st.floats(-1_000, 10_000),
    st.floats(0, 2_000),
    st.floats(0, 50),
)


@given(st.lists(values, min_size=2, max_size=8))
def test_arbitration_ranks_as_value_does_when_nothing_is_levered(offers: list[OfferValue]) -> None:
    totals = [offer.incremental_margin.value for offer in offers]
    order = ranked([Arbitration.of(offer) for offer in offers])
    for above, below in pairwise(order):
        # Dividing by the response and multiplying again may move the last digit.
        assert totals[above] >= totals[below] - 1e-9 * max(1.0, abs(totals[below]))


@given(values, st.floats(0.5, 2), st.floats(0.01, 100))
def test_levers_and_context_never_turn_a_loss_into_a_gain(
    offer: OfferValue, lever: float, context: float
) -> None:
    total = offer.incremental_margin.value
    assume(abs(total) > 1e-6)
    assert (Arbitration.of(offer, context, lever).score > 0) == (total > 0)


@given(values, st.floats(0.5, 2))
def test_a_value_known_only_whole_is_levered_as_its_factors_would_be(
    offer: OfferValue, lever: float
) -> None:
    whole = offer.incremental_margin.value
    assert levered(whole, lever) == pytest.approx(Arbitration.of(offer, lever=lever).score)
    with pytest.raises(InvalidValue, match="lever"):
        levered(whole, lever + 2)
