"""The value of whole slates: each position weighted by how likely the target fills it so.

The item-position model: what an offer earns depends on the offer, its position and the customer,
and not on the offers beside it. Positions are far fewer than slates, so weights stay small where
those of whole slates explode.
"""

from dataclasses import replace

from foundation.errors import RegularsError
from recommender.off_policy import Direct, Logged, OffPolicyValue, off_policy_value


def slate_value(
    logged: Logged, positions: int, *, clip: float | None = None, direct: Direct | None = None
) -> OffPolicyValue:
    """Evaluate a target policy's slates, per decision.

    Args:
        logged: A row for each decision and position, empty ones too: the chance of what was at
            that position (whatever stood above it), the target's chance of the same, and what
            the offer there earned.
        positions: Rows of each decision.
        direct: Forecasts of each position's reward, for the doubly robust value.

    Raises:
        RegularsError: As `off_policy_value`, or the rows are not those of whole slates.

    Source: Li et al. 2018, "Offline evaluation of ranking policies with click models", the
        item-position estimator.
    """
    if positions < 1 or len(logged.reward) % positions:
        raise RegularsError(
            f"{len(logged.reward)} rows are no whole number of slates of {positions} positions; "
            "give a row for each position, empty ones too"
        )
    # A slate earns the sum of its positions; the mean of rows is that over their number.
    if direct is not None:
        direct = direct.times(positions)
    rows = replace(logged, reward=logged.reward * positions)
    return off_policy_value(rows, clip=clip, direct=direct)
