"""Examples of problems: how each refusal of a route reads, in the documentation."""

from typing import Any

from serving.problems import Problem

_USUAL = {
    400: Problem(400, "not_json", "JSON is malformed: invalid character (byte 17)"),
    401: Problem(401, "no_key", "send the API key as 'Authorization: Bearer rgl_…'"),
    403: Problem(403, "scope_missing", "this API key lacks the scope 'decide'"),
    409: Problem(
        409,
        "idempotency_key_reused",
        "this Idempotency-Key was used for another request; send a new one",
        "Idempotency-Key",
    ),
    413: Problem(413, "too_large", "the body may have at most 2000000 bytes"),
    422: Problem(422, "invalid_request", "Expected `str` of length >= 1", "customer_id"),
    429: Problem(
        429, "rate_exceeded", "this API key may ask 50 times a second; ask again in 0.4 s"
    ),
    503: Problem(
        503, "store_unavailable", "PostgreSQL does not answer (ConnectionRefusedError); try again"
    ),
}


def _ended(word: str, state: str) -> dict[int, Problem]:
    subject = f"{word} '019ad2e4-9f10-7c3e-b7a1-58d0c4e1aa07'"
    return {
        404: Problem(404, f"unknown_{word}", f"{subject} does not exist", f"{word}_id"),
        409: Problem(409, f"{word}_{state}", f"{subject} is {state} already"),
    }


def _kept(subject: str, field: str, missing: str) -> dict[int, Problem]:
    seen = "was seen as '9d0c52ab', it is '41f0e2c7' now; read it again, then write"
    return {
        404: Problem(404, f"unknown_{subject.split()[0]}", f"{subject} {missing}", field),
        412: Problem(412, "stale_version", f"{subject} {seen}", "If-Match"),
    }


# By the first word of the path behind /v1, where it is not the usual one.
_OWN: dict[str, dict[int, Problem]] = {
    "activations": _ended("activation", "redeemed"),
    "customers": {
        404: Problem(
            404,
            "unknown_customer",
            "nothing is known of customer 'c-1017'; is the id written as it was loaded?",
            "customer_id",
        )
    },
    "decisions": {
        404: Problem(
            404,
            "unknown_decision",
            "decision '019ad2e4-5c00-7a11-8c1d-3f2a91bc0d42' is not in the database; one made "
            "while that was away comes there later, and old ones are in the lake alone",
            "decision_id",
        )
    },
    "experiments": {
        **_kept(
            "experiment 'spring-latte'",
            "key",
            "does not exist; GET /v1/experiments lists those that do",
        ),
        409: Problem(
            409,
            "experiment_running",
            "experiment 'spring-latte' is running; give a new one a key of its own",
            "key",
        ),
    },
    "health": {503: Problem(503, "not_ready", "there is no catalogue yet")},
    "offers": _kept(
        "offer 'coffee-1'", "offer_id", "is not in the catalogue; GET /v1/offers lists what is"
    ),
    "outcomes": {
        409: Problem(
            409,
            "event_changed",
            "event 'e-1' was told before with other content; an event does not change",
            "events",
        )
    },
    "policies": _kept(
        "policy 'winter-rules'", "name", "is not kept; GET /v1/policies lists those that are"
    ),
    "redemptions": _ended("redemption", "released"),
    "segments": _kept(
        "segment 'coffee-lovers'", "id", "does not exist; GET /v1/segments lists those that do"
    ),
}


def problem_example(path: str, status: int) -> dict[str, Any]:
    """Return how a route refuses with a status."""
    word = path.removeprefix("/v1").split("/")[1]
    return (_OWN.get(word, {}).get(status) or _USUAL[status]).body
