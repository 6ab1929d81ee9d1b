"""Units: what is assigned for this customer, herself, her household or her home store?"""

from experiments.design import Experiment
from foundation.profile import Profile


def unit_of(experiment: Experiment, customer_id: str, profile: Profile | None) -> str | None:
    """Return the unit she belongs to; None where it is unknown: it may be in either variant."""
    if experiment.unit == "customer":
        return customer_id
    if profile is None:
        return None
    if experiment.unit == "household":
        return profile.household_id
    # Her home store, wherever she shops: the store she chooses today may be the offer's doing.
    store = profile.attributes.get("home_store_id")
    return store if isinstance(store, str) else None
