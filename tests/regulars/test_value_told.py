"""A run tells how far off its values were, over which time, and for whom that is not known."""

from regulars.commands.segment import error_told, groups_told

ERRORS = {"money_bias": 0.021, "money_bias_low": -0.01, "money_bias_high": 0.052}


def test_the_error_is_told_with_the_weeks_it_was_seen_over() -> None:
    told = error_told(ERRORS | {"weeks_held_out": 13.0, "money_unjudged": 0.0})
    assert told == (
        "whose net sales of the 13 weeks that it never saw were off by +2.1% [-1.0%, +5.2%]"
    )


def test_customers_whose_money_was_not_judged_are_counted() -> None:
    assert error_told(ERRORS | {"weeks_held_out": 13.0, "money_unjudged": 1_204.0}).endswith(
        "; 1,204 customers could not be judged"
    )


def test_a_model_of_before_tells_its_error_without_weeks_or_says_it_has_none() -> None:
    assert "of days that it never saw" in error_told(ERRORS)
    assert error_told({}) == "whose net sales could not be judged on days it never saw"


def test_it_is_told_whether_the_model_s_own_error_is_in_the_intervals_of_groups() -> None:
    assert groups_told({"groups_widened_by": 1.53, "groups_held": 14 / 15}) == (
        "intervals of groups are widened by a factor of 1.53 for the model's own error, and held "
        "93% of groups of those weeks"
    )
    assert "own error is not in the intervals of groups" in groups_told(ERRORS)
