"""What the office does, a row an operation: the API's routes and documentation are made of it."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI

from serving.office.asking import MOST, USUAL
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
from serving.openapi import answers, body
from serving.wire import LONGEST_NAME

_WORDS = {
    404: "There is none of this id",
    409: "It stands in the way of something, or is there already; or the Idempotency-Key was used "
    "for another request",
    412: "It is not the version of If-Match any more",
    503: "The office, the lake or the database is away or at work; try again",
}

_ID = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}


@dataclass(frozen=True)
class Operation:
    """A method and path, what it does in a sentence, what it is sent and answers."""

    method: str
    path: str
    does: str
    answer: Any
    body: Any = None
    status: int = 200
    changes: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.method, self.path

    @property
    def subject(self) -> str | None:
        """The name of the id in the path."""
        _, brace, rest = self.path.partition("{")
        return rest.partition("}")[0] if brace else None

    @property
    def paged(self) -> bool:
        return self.method == "GET" and self.subject is None

    @property
    def conditional(self) -> bool:
        """Whether If-Match is heeded: it changes what is there."""
        return self.changes and self.subject is not None


def add(app: FastAPI, operation: Operation, endpoint: Any) -> None:
    """Add the route of an operation, documented whole."""
    name = None if operation.body is None else operation.body.__name__
    described = body(name, replayed=operation.changes)
    described["parameters"] += _parameters(operation)
    app.add_api_route(
        operation.path,
        endpoint,
        methods=[operation.method],
        operation_id=re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip("_"),
        summary=operation.does,
        tags=["marketer"],
        responses=_answers(operation),
        status_code=operation.status,
        openapi_extra=described,
    )


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if operation.subject is not None:
        found.append(_parameter(operation.subject, "path", _ID, "Which one") | {"required": True})
    if operation.conditional:
        seen = "The ETag that was seen: what has changed since is left alone"
        found.append(_parameter("If-Match", "header", _ID, seen))
    if operation.paged:
        limit = {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}
        found.append(_parameter("after", "query", _ID, "Those behind this id"))
        found.append(_parameter("limit", "query", limit, "So many at most"))
    return found


def _parameter(name: str, place: str, schema: dict[str, Any], told: str) -> dict[str, Any]:
    return {"name": name, "in": place, "schema": schema, "description": told}


def _answers(operation: Operation) -> dict[int | str, dict[str, Any]]:
    more = [404] if operation.subject is not None else []
    more += [409] if operation.method != "GET" or operation.path.endswith("report") else []
    more += [412] if operation.conditional else []
    told = answers(operation.answer.__name__, *(status for status in more if status != 412))
    if 412 in more:
        told[412] = dict(told[409])
    good = told.pop(200)
    if not operation.paged and not operation.path.endswith(("report", "preview")):
        good["headers"] = {
            "ETag": {"description": "The version shown", "schema": {"type": "string"}}
        }
    for status, words in _WORDS.items():
        if status in told:
            told[status]["description"] = words
    return {operation.status: good, **told}


def _listed(path: str, does: str, answer: Any) -> Operation:
    return Operation("GET", path, does, answer)


def _made(path: str, does: str, answer: Any, body: Any) -> Operation:
    return Operation("POST", path, does, answer, body, 201, changes=True)


def _written(path: str, does: str, answer: Any, body: Any) -> Operation:
    return Operation("PUT", path, does, answer, body, changes=True)


def _removed(path: str, does: str, answer: Any) -> Operation:
    return Operation("DELETE", path, does, answer, changes=True)


OPERATIONS: tuple[Operation, ...] = (
    _listed("/v1/offers", "List the live catalogue's offers", OfferList),
    _made(
        "/v1/offers",
        "Write a new offer; it is live within a second",
        WrittenOffer,
        NewOffer,
    ),
    _listed("/v1/offers/{offer_id}", "Show an offer", ShownOffer),
    _written(
        "/v1/offers/{offer_id}",
        "Write an offer whole, in the place of what there is",
        WrittenOffer,
        OfferTerms,
    ),
    _removed(
        "/v1/offers/{offer_id}",
        "Withdraw an offer: nobody is shown it or may take it; its history stays",
        WithdrawnOffer,
    ),
    _listed("/v1/segments", "List living segments, each in its newest version", SegmentList),
    _made(
        "/v1/segments",
        "Save a new living segment",
        WrittenSegment,
        NewSegment,
    ),
    Operation(
        "POST",
        "/v1/segments/preview",
        "Say whom a rule would hold, without saving it",
        PreviewAnswer,
        PreviewRequest,
    ),
    _listed("/v1/segments/{id}", "Show a living segment's newest version", ShownSegment),
    _written(
        "/v1/segments/{id}",
        "Save a living segment's next version",
        WrittenSegment,
        SegmentTerms,
    ),
    _removed(
        "/v1/segments/{id}",
        "Archive a living segment: runs refresh it no more, its versions stay",
        WrittenSegment,
    ),
    _listed("/v1/experiments", "List experiments, drafts among them", ExperimentList),
    _made(
        "/v1/experiments",
        "Keep the plan of a new experiment as a draft",
        ShownExperiment,
        NewExperiment,
    ),
    _listed("/v1/experiments/{key}", "Show an experiment", ShownExperiment),
    _written(
        "/v1/experiments/{key}",
        "Change a draft; of what runs, a larger exposure lets more in",
        ShownExperiment,
        ExperimentTerms,
    ),
    _removed("/v1/experiments/{key}", "Forget a draft", RemovedExperiment),
    Operation(
        "POST",
        "/v1/experiments/{key}/start",
        "Start a draft; its plan is locked from now on",
        ShownExperiment,
        changes=True,
    ),
    Operation(
        "POST",
        "/v1/experiments/{key}/stop",
        "Stop an experiment; nobody is assigned any more",
        ShownExperiment,
        changes=True,
    ),
    Operation(
        "GET",
        "/v1/experiments/{key}/report",
        "Bring the newest outcomes in and say what an experiment earned",
        ReportAnswer,
    ),
    _listed("/v1/policies", "List policies, the one that serves by default among them", PolicyList),
    _made(
        "/v1/policies",
        "Keep a new policy, for variants of experiments to name",
        ShownPolicy,
        NewPolicy,
    ),
    _listed("/v1/policies/{name}", "Show a policy", ShownPolicy),
    _written(
        "/v1/policies/{name}",
        "Write a policy; `default` serves from the next second on",
        ShownPolicy,
        PolicyTerms,
    ),
    _removed(
        "/v1/policies/{name}",
        "Forget a policy; `default` is then that of the settings again",
        RemovedPolicy,
    ),
)


def requests() -> list[Any]:
    """Return every message that is read."""
    return list(dict.fromkeys(one.body for one in OPERATIONS if one.body is not None))


def schemas() -> dict[str, Any]:
    """Return JSON schemas of every message by name."""
    told = dict.fromkeys(one.answer for one in OPERATIONS)
    _, components = msgspec.json.schema_components(
        (*requests(), *told), ref_template="#/components/schemas/{name}"
    )
    return components
