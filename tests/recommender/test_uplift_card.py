"""An uplift model's card says what it is for, how good it is, for whom, and where not."""

from dataclasses import replace

from foundation.scores import Interval
from recommender.policy_value import Choice
from recommender.uplift_card import uplift_card
from recommender.uplift_evaluation import LearnerFigures
from tests.jobs.test_plan import HELD_OUT, report


def test_the_card_has_every_part_and_each_figure_with_its_interval() -> None:
    found = report()
    learners = {"t": LearnerFigures(None, [], Interval(3.0, 1.0, 5.0), {"advised": "too few"})}
    found = replace(
        found,
        rows=3_000,
        customers={"no offer": 1_500, "a": 1_500},
        response_rates={"a": 0.25},
        left_out={"not drawn by chance": 12},
        evaluation=replace(
            found.evaluation,
            learners=learners,
            rate_p=0.004,
            choice=Choice("policy", "targeting pays"),
            values=replace(
                found.evaluation.values, best_over_none=None, refused={"best_over_none": "unseen"}
            ),
        ),
    )

    card = uplift_card(found, "d1ge57")

    for part in (
        "## Intended use",
        "Not for prices, credit",
        "3,000 decisions drawn by chance (policy random)",
        "12 decisions left out: not drawn by chance",
        "Data digest `d1ge57`, features `91bc`",
        "| a | 1,500 | 25.0% |",
        f"| the model over none | {HELD_OUT.value:g} [{HELD_OUT.low:g}, {HELD_OUT.high:g}] |",
        "| the best single offer over none | unseen |",
        "| chance of its ranking if targeting helps nobody | 0.004 |",
        "| t | too few | 3 [1, 5] |",
        f"Verdict: {found.verdict()}.",
        "## Known limits",
    ):
        assert part in card, part
