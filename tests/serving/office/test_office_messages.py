"""Do the office's messages say what the contracts and plans behind them do?"""

import subprocess
import sys
from typing import Any, get_args

import msgspec
import pytest

from experiments.design import Experiment, Unit
from experiments.metric_titles import Better
from experiments.plan import Method
from foundation.contracts.tables import HIGHEST_LEVER, LOWEST_LEVER, OFFER_KINDS, OFFERS
from foundation.decision import Policy
from regulars.office.answers import office_answers
from serving.office import experiment_messages, offer_messages, policy_messages
from serving.office.operations import OPERATIONS


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        (offer_messages.OfferKind, OFFER_KINDS),
        (experiment_messages.Unit, get_args(Unit)),
        (experiment_messages.Method, get_args(Method)),
        (experiment_messages.Better, get_args(Better)),
        (policy_messages.PolicyKind, get_args(Policy.__annotations__["kind"])),
    ],
)
def test_words_are_those_of_the_domain(spelled: Any, meant: tuple[str, ...]) -> None:
    assert get_args(spelled) == tuple(meant)


def test_an_offer_has_every_column_of_the_contract() -> None:
    assert set(offer_messages.NewOffer.__struct_fields__) == set(OFFERS.names)
    lever = msgspec.json.schema(offer_messages.OfferTerms)["$defs"]["OfferTerms"]["properties"]
    bounds = next(one for one in lever["lever"]["anyOf"] if one["type"] == "number")
    assert (bounds["minimum"], bounds["maximum"]) == (LOWEST_LEVER, HIGHEST_LEVER)


def test_a_plan_has_every_field_of_a_design() -> None:
    asked = set(experiment_messages.NewExperiment.__struct_fields__)
    assert asked == set(Experiment.__struct_fields__)
    assert set(policy_messages.PolicyTerms.__struct_fields__) == set(Policy.__struct_fields__)


def test_every_operation_has_who_answers_it() -> None:
    class Empty:
        """A room that nobody enters."""

    assert set(office_answers(Empty())) == {operation.key for operation in OPERATIONS}  # pyright: ignore[reportArgumentType]


def test_a_client_loads_no_statistics() -> None:
    heavy = ("pandas", "scipy", "numpy", "sklearn", "pyarrow")
    loaded = f"import sys, regulars_client; print([m for m in {heavy} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert told.stdout.strip() == "[]", told.stderr
