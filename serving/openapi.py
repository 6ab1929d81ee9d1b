"""The OpenAPI document: what msgspec reads and writes, which FastAPI does not see by itself."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from serving.examples import EXAMPLES
from serving.messages import schemas
from serving.problem_examples import problem_example
from serving.problems import PROBLEM
from serving.wire import LONGEST_NAME


def body(name: str | None = None, *, replayed: bool = False) -> dict[str, Any]:
    """Describe a request by its message, if it has one."""
    header = {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        "description": "The same key gets the same answer again and does nothing twice",
    }
    described: dict[str, Any] = {
        "parameters": [header] if replayed else [],
        "security": [{"key": []}],
    }
    if name is not None:
        described["requestBody"] = {"required": True, "content": _json(name)}
    return described


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str) -> dict[str, Any]:
    """Describe content by its message."""
    return {"application/json": {"schema": _reference(name)}}


def answers(name: str, *more: int) -> dict[int | str, dict[str, Any]]:
    """Describe the good answer and the refusals, some more than the usual ones."""
    words = {
        400: "The body is no JSON",
        401: "No key, or an unknown one",
        403: "The key lacks the scope",
        404: "There is no such use, decision or customer",
        409: "It was done before in another way: an event_id, an Idempotency-Key, a use; or it is "
        "stored as this version cannot read it",
        413: "The body is too large",
        422: "A field breaks its rule",
        429: "The key asks too often, or too many do; try again after Retry-After seconds",
        503: "The database does not answer; try again",
    }
    statuses = sorted({400, 401, 403, 413, 422, 429, 503, *more})
    problems: dict[int | str, dict[str, Any]] = {s: refused(words[s]) for s in statuses}
    return {200: {"description": "Done", "content": _json(name)}, **problems}


def answered(example: Any) -> dict[int | str, dict[str, Any]]:
    """Describe the good answer of a route whose own types say what it is."""
    return {200: {"content": {"application/json": {"example": example}}}}


def refused(description: str) -> dict[str, Any]:
    """Describe a refusal."""
    content = {PROBLEM: {"schema": _reference("Problem")}}
    return {"description": description, "content": content}


def _show_examples(path: str, operation: dict[str, Any]) -> None:
    """Put examples beside the messages; FastAPI would take the nulls out of them."""
    for status, described in operation["responses"].items():
        if PROBLEM in described.get("content", {}):
            described["content"][PROBLEM]["example"] = problem_example(path, int(status))
    for described in (operation.get("requestBody", {}), *operation["responses"].values()):
        for content in described.get("content", {}).values():
            name = content["schema"].get("$ref", "").rpartition("/")[2]
            if name in EXAMPLES:
                content["example"] = EXAMPLES[name]


def describe(app: FastAPI, more: Mapping[str, Any]) -> None:
    """Put the messages' schemas, some more, and the key into the OpenAPI document."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    _show_examples(path, operation)
            components = document.setdefault("components", {})
            components.setdefault("schemas", {}).update({**schemas()[0], **more})
            components["schemas"]["Problem"] = {
                "type": "object",
                "required": ["type", "title", "status", "code", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                    "field": {"type": "string"},
                },
            }
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described
