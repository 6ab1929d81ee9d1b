"""Is everything bounded that a caller may send? Every field of every request is walked."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from serving import messages
from serving.office import operations
from serving.wire import LARGEST_BODY

REQUESTS = [
    kind
    for name, kind in vars(messages).items()
    if name.endswith("Request") and isinstance(kind, type) and issubclass(kind, msgspec.Struct)
] + operations.requests()
# Rules of the language: foundation.rules bounds how deep and broad they are.
RULES = ("rule", "eligibility", "audience")


def unbounded(kind: inspect.Type, place: str) -> Iterator[str]:
    """The places of texts, lists and numbers without an upper bound, and of untyped values."""
    match kind:
        case inspect.StructType():
            if not kind.forbid_unknown_fields:
                yield f"{place} takes unknown fields"
            for field in kind.fields:
                if field.encode_name in RULES:
                    continue
                yield from unbounded(field.type, f"{place}.{field.encode_name}")
        case inspect.StrType():
            if kind.max_length is None:
                yield f"{place} is a text without end"
        case inspect.ListType():
            if kind.max_length is None:
                yield f"{place} is a list without end"
            yield from unbounded(kind.item_type, f"{place}[]")
        case inspect.IntType() | inspect.FloatType():
            if kind.ge is None or kind.le is None:
                yield f"{place} is a number without bounds"
        case inspect.DictType(key_type=inspect.LiteralType()):
            yield from unbounded(kind.value_type, f"{place}{{}}")
        case inspect.DictType():
            if kind.max_length is None:
                yield f"{place} is an object without end"
            yield from unbounded(kind.key_type, f"{place} (a name)")
            yield from unbounded(kind.value_type, f"{place}{{}}")
        case inspect.UnionType():
            for one in kind.types:
                yield from unbounded(one, place)
        case inspect.BoolType() | inspect.LiteralType() | inspect.NoneType():
            pass
        case inspect.DateTimeType():
            if not kind.tz:
                yield f"{place} is a time without a zone"
        case _:
            yield f"{place} may be anything: {kind}"


def test_there_are_requests_to_walk() -> None:
    assert {kind.__name__ for kind in REQUESTS} >= {
        "DecisionRequest",
        "OutcomeRequest",
        "ActivationRequest",
        "RedemptionRequest",
        "RecommendationRequest",
    }


@pytest.mark.parametrize("request_kind", REQUESTS)
def test_every_field_of_a_request_has_an_end(request_kind: Any) -> None:
    assert list(unbounded(inspect.type_info(request_kind), request_kind.__name__)) == []


@pytest.mark.parametrize("request_kind", REQUESTS)
@pytest.mark.parametrize("opened", [b"[", b'{"a":', b'{"events":[', b'{"basket":[['])
def test_a_body_of_brackets_is_refused_and_no_more(request_kind: Any, opened: bytes) -> None:
    body = (opened * LARGEST_BODY)[:LARGEST_BODY]
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        msgspec.json.decode(body, type=request_kind)
