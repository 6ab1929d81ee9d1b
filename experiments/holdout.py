"""The global holdout: customers whom nobody makes any offer, ever, so that the whole programme has
something to be compared with.

It is an experiment like any other, with records and a report of its own, under a reserved key. Its
share is set once and it never stops: whoever was held out for a while and then was not is no
comparison any more. Its unit is the customer, so that it holds also where nothing is known of her.
"""

from experiments.assignment import variant_of
from experiments.design import Experiment, InvalidDesign, Variant

HOLDOUT = "holdout"
HELD_OUT = "held-out"
REACHED = "reached"
# Above a half, most customers would get nothing.
LARGEST = 0.5


def holdout_design(share: float) -> Experiment:
    """Return the holdout of a share of all customers.

    Raises:
        InvalidDesign: The share is not above 0 and at most a half.
    """
    # `not` also catches NaN.
    if not 0 < share <= LARGEST:
        raise InvalidDesign(
            f"a holdout of {share:g} is none: its share is above 0 and at most {LARGEST:g}; "
            "write 0.05 for 5 % of customers"
        )
    return Experiment(
        key=HOLDOUT,
        salt=HOLDOUT,
        variants=[Variant(HELD_OUT, share, policy="none"), Variant(REACHED, 1 - share)],
        control=HELD_OUT,
        # It has no end, and is read every month.
        method="sequential",
        hypothesis="all our offers together earn more than they cost",
    )


def is_held_out(holdout: Experiment | None, customer_id: str) -> bool:
    """Whether nobody may make this customer an offer; nobody is held out without a holdout."""
    return holdout is not None and variant_of(holdout, customer_id).name == HELD_OUT
