"""A small typed client of the decision service: `from regulars_client import Client`."""

from foundation.outcome import BoughtLine, Outcome
from regulars_client.asking import Refused, Unavailable
from regulars_client.client import Client
from regulars_client.marketing import Marketing
from serving.customer_messages import (
    ConsentsAnswer,
    CustomerAnswer,
    CustomerExport,
    ErasedAnswer,
)
from serving.messages import (
    ActivationAnswer,
    AskedLine,
    AskedPlacement,
    DecisionAnswer,
    EndedAnswer,
    OutcomeAnswer,
    RecommendationAnswer,
    RedemptionAnswer,
    ReplayAnswer,
)
from serving.office.experiment_messages import ExperimentTerms, NewExperiment
from serving.office.offer_messages import NewOffer, OfferTerms
from serving.office.policy_messages import NewPolicy, PolicyTerms
from serving.office.segment_messages import NewSegment, SegmentTerms

__all__ = [
    "ActivationAnswer",
    "AskedLine",
    "AskedPlacement",
    "BoughtLine",
    "Client",
    "ConsentsAnswer",
    "CustomerAnswer",
    "CustomerExport",
    "DecisionAnswer",
    "EndedAnswer",
    "ErasedAnswer",
    "ExperimentTerms",
    "Marketing",
    "NewExperiment",
    "NewOffer",
    "NewPolicy",
    "NewSegment",
    "OfferTerms",
    "Outcome",
    "OutcomeAnswer",
    "PolicyTerms",
    "RecommendationAnswer",
    "RedemptionAnswer",
    "Refused",
    "ReplayAnswer",
    "SegmentTerms",
    "Unavailable",
]
