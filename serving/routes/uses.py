"""Activations and redemptions of offers."""

from fastapi import FastAPI, Request, Response

from foundation.uses import Ended, State
from serving.messages import ActivationRequest, EndedAnswer, RedemptionRequest
from serving.openapi import answers, body
from serving.problems import Problem
from serving.service import DecisionService
from serving.wire import Call, authorise, json_answer, read, replay_name, replay_of


def add_uses(app: FastAPI, service: DecisionService) -> None:
    """Add the routes that keep, use and give back an offer."""

    @app.post(
        "/v1/activations",
        openapi_extra=body("ActivationRequest", replayed=True),
        responses=answers("ActivationAnswer", 409),
    )
    async def activations(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Keep one use of an offer for a customer; the answer says until when, or why not."""
        call = Call.of(request)
        key = await authorise(service, call, "outcomes")
        asked = await read(call, ActivationRequest)
        return json_answer(await service.claims.activate(asked, replay_name(call, key)))

    @app.post(
        "/v1/activations/{activation_id}/cancel",
        openapi_extra=body(replayed=True),
        responses=answers("EndedAnswer", 404, 409),
    )
    async def cancel(activation_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give a reservation back before its time. Twice is the same as once."""
        call = Call.of(request)
        key = await authorise(service, call, "outcomes")
        use_id = _known_form(activation_id, "activation")
        ended = await service.claims.cancel(use_id, replay_of(call, key, None))
        return _ended(ended, "released", "activation", activation_id)

    @app.post(
        "/v1/redemptions",
        openapi_extra=body("RedemptionRequest", replayed=True),
        responses=answers("RedemptionAnswer", 409),
    )
    async def redemptions(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Use an offer now; it counts under every cap, and is told as an outcome."""
        call = Call.of(request)
        key = await authorise(service, call, "outcomes")
        asked = await read(call, RedemptionRequest)
        return json_answer(await service.claims.redeem(asked, replay_name(call, key)))

    @app.post(
        "/v1/redemptions/{redemption_id}/reverse",
        openapi_extra=body(replayed=True),
        responses=answers("EndedAnswer", 404, 409),
    )
    async def reverse(redemption_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Give a use back after a return: cap, stock, budget and cost. Twice is as once."""
        call = Call.of(request)
        key = await authorise(service, call, "outcomes")
        use_id = _known_form(redemption_id, "redemption")
        ended = await service.claims.reverse(use_id, replay_of(call, key, None))
        return _ended(ended, "reversed", "redemption", redemption_id)


def _known_form(use_id: str, word: str) -> str:
    # PostgreSQL takes no NUL, and nothing of ours has such an id.
    if not use_id.isprintable():
        raise Problem(404, f"unknown_{word}", f"{word} {use_id!r} does not exist", f"{word}_id")
    return use_id


def _ended(ended: Ended, wanted: State, word: str, use_id: str) -> Response:
    if ended.state is None:
        raise Problem(404, f"unknown_{word}", f"{word} {use_id!r} does not exist", f"{word}_id")
    if ended.state != wanted:
        raise Problem(409, f"{word}_{ended.state}", f"{word} {use_id!r} is {ended.state} already")
    return json_answer(EndedAnswer(ended.state, ended.changed))
