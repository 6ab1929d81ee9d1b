"""What marketers' programs ask: offers, segments, experiments and policies, answers as types."""

from typing import Any, TypeVar
from urllib.parse import urlencode

from regulars_client.asking import Asking, part
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
    Rule,
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

# The service itself gives the office as long.
SECONDS = 65.0

Answer = TypeVar("Answer")


class Marketing:
    """Asks with a key of the scope `marketer`.

    What changes something takes the `version` that was `seen`, at will: what has changed since
    is left alone, and Refused with code `stale_version`. Lists come in pages: the next one begins
    after `next`. Every method raises Refused or Unavailable, see there.
    """

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def offers(self, *, after: str | None = None, limit: int | None = None) -> OfferList:
        """Return offers of the live catalogue."""
        return self._ask("GET", _page("/v1/offers", after, limit), None, OfferList)

    def offer(self, offer_id: str) -> ShownOffer:
        """Return an offer of the live catalogue."""
        return self._ask("GET", f"/v1/offers/{part(offer_id)}", None, ShownOffer)

    def add_offer(self, offer: NewOffer) -> WrittenOffer:
        """Write an offer that there is not yet."""
        return self._ask("POST", "/v1/offers", offer, WrittenOffer)

    def put_offer(
        self, offer_id: str, terms: OfferTerms, *, seen: str | None = None
    ) -> WrittenOffer:
        """Write an offer whole."""
        return self._ask("PUT", f"/v1/offers/{part(offer_id)}", terms, WrittenOffer, seen)

    def withdraw_offer(self, offer_id: str, *, seen: str | None = None) -> WithdrawnOffer:
        """Offer it no more."""
        return self._ask("DELETE", f"/v1/offers/{part(offer_id)}", None, WithdrawnOffer, seen)

    def segments(self, *, after: str | None = None, limit: int | None = None) -> SegmentList:
        """Return living segments."""
        return self._ask("GET", _page("/v1/segments", after, limit), None, SegmentList)

    def segment(self, segment_id: str) -> ShownSegment:
        """Return a living segment's newest version."""
        return self._ask("GET", f"/v1/segments/{part(segment_id)}", None, ShownSegment)

    def preview(self, rule: Rule) -> PreviewAnswer:
        """Return whom a rule would hold; nothing is saved."""
        return self._ask("POST", "/v1/segments/preview", PreviewRequest(rule), PreviewAnswer)

    def add_segment(self, segment: NewSegment) -> WrittenSegment:
        """Save a segment that there is not yet."""
        return self._ask("POST", "/v1/segments", segment, WrittenSegment)

    def put_segment(
        self, segment_id: str, terms: SegmentTerms, *, seen: str | None = None
    ) -> WrittenSegment:
        """Save a segment's next version."""
        return self._ask("PUT", f"/v1/segments/{part(segment_id)}", terms, WrittenSegment, seen)

    def archive_segment(self, segment_id: str, *, seen: str | None = None) -> WrittenSegment:
        """Have runs refresh a segment no more."""
        return self._ask("DELETE", f"/v1/segments/{part(segment_id)}", None, WrittenSegment, seen)

    def experiments(self, *, after: str | None = None, limit: int | None = None) -> ExperimentList:
        """Return experiments, drafts among them."""
        return self._ask("GET", _page("/v1/experiments", after, limit), None, ExperimentList)

    def experiment(self, key: str) -> ShownExperiment:
        """Return an experiment."""
        return self._ask("GET", f"/v1/experiments/{part(key)}", None, ShownExperiment)

    def add_experiment(self, plan: NewExperiment) -> ShownExperiment:
        """Keep a plan as a draft."""
        return self._ask("POST", "/v1/experiments", plan, ShownExperiment)

    def put_experiment(
        self, key: str, terms: ExperimentTerms, *, seen: str | None = None
    ) -> ShownExperiment:
        """Change a draft, or let more into what runs."""
        return self._ask("PUT", f"/v1/experiments/{part(key)}", terms, ShownExperiment, seen)

    def remove_experiment(self, key: str, *, seen: str | None = None) -> RemovedExperiment:
        """Forget a draft."""
        return self._ask("DELETE", f"/v1/experiments/{part(key)}", None, RemovedExperiment, seen)

    def start_experiment(self, key: str, *, seen: str | None = None) -> ShownExperiment:
        """Start a draft; its plan is locked from now on."""
        return self._ask("POST", f"/v1/experiments/{part(key)}/start", None, ShownExperiment, seen)

    def stop_experiment(self, key: str, *, seen: str | None = None) -> ShownExperiment:
        """Stop what runs."""
        return self._ask("POST", f"/v1/experiments/{part(key)}/stop", None, ShownExperiment, seen)

    def report(self, key: str) -> ReportAnswer:
        """Return what an experiment earned."""
        return self._ask("GET", f"/v1/experiments/{part(key)}/report", None, ReportAnswer)

    def policies(self, *, after: str | None = None, limit: int | None = None) -> PolicyList:
        """Return policies, the one that serves by default among them."""
        return self._ask("GET", _page("/v1/policies", after, limit), None, PolicyList)

    def policy(self, name: str) -> ShownPolicy:
        """Return a policy."""
        return self._ask("GET", f"/v1/policies/{part(name)}", None, ShownPolicy)

    def add_policy(self, policy: NewPolicy) -> ShownPolicy:
        """Keep a policy under a name that is free."""
        return self._ask("POST", "/v1/policies", policy, ShownPolicy)

    def put_policy(self, name: str, terms: PolicyTerms, *, seen: str | None = None) -> ShownPolicy:
        """Keep a policy in the place of what there is."""
        return self._ask("PUT", f"/v1/policies/{part(name)}", terms, ShownPolicy, seen)

    def remove_policy(self, name: str, *, seen: str | None = None) -> RemovedPolicy:
        """Forget a policy."""
        return self._ask("DELETE", f"/v1/policies/{part(name)}", None, RemovedPolicy, seen)

    def _ask(
        self, method: str, path: str, asked: Any, answer: type[Answer], seen: str | None = None
    ) -> Answer:
        return self._asking.ask(method, path, asked, answer, seen=seen, seconds=SECONDS)


def _page(path: str, after: str | None, limit: int | None) -> str:
    told = {name: value for name, value in (("after", after), ("limit", limit)) if value}
    return f"{path}?{urlencode(told)}" if told else path
