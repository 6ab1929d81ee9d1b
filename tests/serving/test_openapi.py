"""Does the OpenAPI document say all that a program's author must know? Every route is walked."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from experiments.report import Report
from regulars.wiring import House
from serving import messages
from serving.api import create_app
from serving.examples import EXAMPLES
from serving.office import operations

MESSAGES = {
    kind.__name__: kind
    for kind in (
        *vars(messages).values(),
        *operations.requests(),
        *(one.answer for one in operations.OPERATIONS),
    )
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
}
# They write nothing: asked twice, they are answered twice.
READS = {
    ("post", "/v1/decisions/{decision_id}/replay"): "it makes a decision again and keeps nothing",
    ("post", "/v1/recommendations"): "it looks products up",
    ("post", "/v1/segments/preview"): "it counts whom a rule would hold, and saves nothing",
}
ROOT = Path(messages.__file__).parent.parent
SUBJECTS = {
    "activations": "activation",
    "customers": "customer",
    "decisions": "decision",
    "experiments": "experiment",
    "offers": "offer",
    "policies": "policy",
    "redemptions": "redemption",
    "segments": "segment",
}
METHODS = {"get", "post", "put", "delete", "patch"}


@pytest.fixture(scope="module")
def document(small_house: House) -> dict[str, Any]:
    # As a program reads it.
    app = create_app(small_house.service("postgresql://nobody@127.0.0.1:1/none"))
    return msgspec.json.decode(msgspec.json.encode(app.openapi()))


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield method, path, operation


def test_every_write_takes_an_idempotency_key_and_tells_its_conflict(
    document: dict[str, Any],
) -> None:
    writes = 0
    for method, path, operation in operations_of(document):
        named = {(one["in"], one["name"]) for one in operation.get("parameters", ())}
        repeatable = ("header", "Idempotency-Key") in named
        assert repeatable == (method != "get" and (method, path) not in READS), (method, path)
        if repeatable:
            writes += 1
            assert "409" in operation["responses"], (method, path)
    assert writes == 8 + sum(one.changes for one in operations.OPERATIONS)


def contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each route is sent and well answered, with where that is."""
    for method, path, operation in operations_of(document):
        bodies = {"request": operation.get("requestBody", {})}
        bodies |= {s: told for s, told in operation["responses"].items() if s.startswith("2")}
        assert len(bodies) > 1, (method, path)
        for name, told in bodies.items():
            for kind, content in told.get("content", {}).items():
                yield f"{method} {path} {name} {kind}", content


def test_every_body_and_good_answer_has_an_example_that_is_one(document: dict[str, Any]) -> None:
    seen = set[str]()
    for place, content in contents(document):
        assert "example" in content, place
        example, schema = content["example"], content["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        if not name:
            assert isinstance(example, {"object": dict, "string": str}[schema["type"]]), place
            continue
        seen.add(name)
        message = msgspec.convert(example, MESSAGES[name], strict=True)
        # A field that the message does not have would be read over.
        assert part_of(example, msgspec.to_builtins(message)), place
    # No example of a message that is gone.
    assert seen == EXAMPLES.keys()


def refusals() -> list[tuple[int, str]]:
    """Status and code of every problem in the code, what varies in it as a pattern."""
    texts = [
        path.read_text()
        for package in ("serving", "regulars/office")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "problem_examples.py"
    ]
    found = re.findall(r'Problem\(\s*(\d{3}),\s*f?"([^"]+)"', "".join(texts))
    return [(int(status), re.sub(r"\{[^}]*\}", "[a-z]+", code)) for status, code in found]


def test_every_problem_has_an_example_that_is_one(document: dict[str, Any]) -> None:
    schema, known, seen = document["components"]["schemas"]["Problem"], refusals(), set[int]()
    for method, path, operation in operations_of(document):
        for status, told in operation["responses"].items():
            if status.startswith("2"):
                continue
            place = f"{method} {path} {status}"
            assert told["content"].keys() == {"application/problem+json"}, place
            example = told["content"]["application/problem+json"]["example"]
            assert set(schema["required"]) <= example.keys() <= schema["properties"].keys(), place
            code = example["code"]
            assert (example["status"], example["type"]) == (int(status), f"urn:regulars:{code}")
            assert any(s == int(status) and re.fullmatch(c, code) for s, c in known), place
            # Of another subject it would mislead.
            word = path.removeprefix("/v1").split("/")[1]
            if status == "404":
                assert code == f"unknown_{SUBJECTS[word]}", place
            seen.add(int(status))
    assert seen == {400, 401, 403, 404, 409, 412, 413, 422, 429, 503}


def test_a_field_that_is_no_more_would_be_seen() -> None:
    assert part_of({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}], "d": 3})
    assert not part_of({"a": [{"b": 1, "e": 2}]}, {"a": [{"b": 1}]})
    assert not part_of({"a": [1, 2]}, {"a": [1]})


def part_of(example: Any, whole: Any) -> bool:
    """Whether an example says nothing that a message does not say."""
    if isinstance(example, dict):
        return all(n in whole and part_of(one, whole[n]) for n, one in example.items())
    if isinstance(example, list):
        return len(example) == len(whole) and all(map(part_of, example, whole))
    return example == whole


def test_what_a_message_leaves_open_is_exemplified_as_it_is() -> None:
    report = EXAMPLES["ReportAnswer"]["report"]
    told = msgspec.convert(report, Report, strict=True)
    assert part_of(report, msgspec.to_builtins(told))
    assert told.reason == told.sample_ratio.reason
