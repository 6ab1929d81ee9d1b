"""Is the model live by which a policy ranks? Without it every answer is a fallback, and says so.

A default policy may be there before its model, and changes when that comes; an experiment that
began so would have measured the fallback, and its plan is locked.
"""

from experiments.design import Experiment
from foundation.decision import Policy
from foundation.errors import RegularsError, StoreUnavailable
from recommender.registry import RESPONSE
from recommender.uplift_registry import UPLIFT
from regulars.wiring import House

# Models by the kind of policy that ranks by them.
_MODELS = {"response": RESPONSE, "uplift": UPLIFT}


class NoModel(RegularsError):
    """A policy ranks by a model that has no champion."""


def check_models(house: House, design: Experiment) -> None:
    """Pass an experiment whose variants can be decided for by the policies that they name.

    Raises:
        NoModel: One names a policy whose model nobody promoted.
        StoreUnavailable: One names `uplift`, and the registry does not answer. The response model
            is then taken for granted: that it is missing is told with every answer.
    """
    for variant in design.variants:
        policy = variant.policy
        kind = policy.scored if isinstance(policy, Policy) else policy
        named = f"experiment {design.key!r}: policy {kind!r} of variant {variant.name!r}"
        try:
            missing = _missing(house, kind)
        except StoreUnavailable as error:
            if kind == "response":
                continue
            raise StoreUnavailable(f"{named} needs its model, and {error}") from error
        if missing is not None:
            raise NoModel(f"{named}: {missing}, or name another policy")


def without_model(house: House, policy: Policy) -> str | None:
    """Return what to say of a policy whose model is not live or cannot be asked for, else None."""
    try:
        missing = _missing(house, policy.scored)
    except StoreUnavailable as error:
        return f"whether the {policy.scored} model is live is not known: {error}"
    if missing is None:
        return None
    return f"{missing}; until then answers are fallbacks"


def _missing(house: House, kind: str | None) -> str | None:
    model = None if kind is None else _MODELS.get(kind)
    if model is None or (house.has_trained and house.life.named(model, "champion") is not None):
        return None
    return f"no {model} model is live; train and promote one (regulars train {model})"
