"""Every message of the office, by name, for the OpenAPI document."""

from typing import Any

import msgspec

from serving.office.experiment_messages import (
    ExperimentList,
    ExperimentTerms,
    NewExperiment,
    RemovedExperiment,
    ReportAnswer,
    ShownExperiment,
)
from serving.office.offer_messages import (
    NewOffer,
    OfferList,
    OfferTerms,
    ShownOffer,
    WithdrawnOffer,
    WrittenOffer,
)
from serving.office.policy_messages import (
    NewPolicy,
    PolicyList,
    PolicyTerms,
    RemovedPolicy,
    ShownPolicy,
)
from serving.office.segment_messages import (
    NewSegment,
    PreviewAnswer,
    PreviewRequest,
    SegmentList,
    SegmentTerms,
    ShownSegment,
    WrittenSegment,
)

REQUESTS: tuple[Any, ...] = (
    NewOffer,
    OfferTerms,
    NewSegment,
    SegmentTerms,
    PreviewRequest,
    NewExperiment,
    ExperimentTerms,
    NewPolicy,
    PolicyTerms,
)
ANSWERS: tuple[Any, ...] = (
    OfferList,
    ShownOffer,
    WithdrawnOffer,
    WrittenOffer,
    SegmentList,
    ShownSegment,
    WrittenSegment,
    PreviewAnswer,
    ExperimentList,
    ShownExperiment,
    RemovedExperiment,
    ReportAnswer,
    PolicyList,
    ShownPolicy,
    RemovedPolicy,
)


def name_of(message: Any) -> str:
    """Return what a message is called in the document; "" for none."""
    return "" if message is None else message.__name__


def schemas() -> dict[str, Any]:
    """Return JSON schemas of every message by name."""
    _, components = msgspec.json.schema_components(
        (*REQUESTS, *ANSWERS), ref_template="#/components/schemas/{name}"
    )
    return components
