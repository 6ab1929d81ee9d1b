"""A small typed client of the decision service: `from regulars_client import Client`."""

from regulars_client.client import Client, Refused, Unavailable
from serving.messages import (
    ActivationAnswer,
    AskedLine,
    AskedPlacement,
    DecisionAnswer,
    EndedAnswer,
    OutcomeAnswer,
    RecommendationAnswer,
    RedemptionAnswer,
)

__all__ = [
    "ActivationAnswer",
    "AskedLine",
    "AskedPlacement",
    "Client",
    "DecisionAnswer",
    "EndedAnswer",
    "OutcomeAnswer",
    "RecommendationAnswer",
    "RedemptionAnswer",
    "Refused",
    "Unavailable",
]
