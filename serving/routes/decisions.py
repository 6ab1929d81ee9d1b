"""Decisions, recommendations and what came of them."""

from fastapi import FastAPI, Request, Response

from serving.messages import DecisionRequest, OutcomeRequest, RecommendationRequest
from serving.openapi import answers, body
from serving.problems import Problem
from serving.service import DecisionService
from serving.wire import Call, Endpoint, authorise, json_answer, read, replay_of


def add_decisions(app: FastAPI, service: DecisionService) -> dict[str, Endpoint]:
    """Add the routes the app asks at checkout; return those that are worth a way of their own."""

    async def decide(call: Call) -> Response:
        key = await authorise(service, call, "decide")
        asked = await read(call, DecisionRequest)
        return json_answer(await service.decide(asked, replay_of(call, key, asked)))

    @app.post(
        "/v1/decisions",
        openapi_extra=body("DecisionRequest", replayed=True),
        responses=answers("DecisionAnswer", 409),
    )
    async def decisions(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Which offers for this customer, in this channel, now?"""
        return await decide(Call.of(request))

    @app.post(
        "/v1/decisions/{decision_id}/replay",
        openapi_extra=body(),
        responses=answers("ReplayAnswer", 404, 409),
    )
    async def replay(decision_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Make a decision again from its record: the same slate, if all is well."""
        await authorise(service, Call.of(request), "decide")
        # PostgreSQL takes no NUL, and nothing of ours has such an id.
        found = await service.replay(decision_id) if decision_id.isprintable() else None
        if found is None:
            raise Problem(
                404,
                "unknown_decision",
                f"decision {decision_id!r} is not in the database; one made while that was away "
                "comes there later, and old ones are in the lake alone",
                "decision_id",
            )
        return json_answer(found)

    @app.post(
        "/v1/recommendations",
        openapi_extra=body("RecommendationRequest"),
        responses=answers("RecommendationAnswer"),
    )
    async def recommendations(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Which products go with these in the basket?"""
        call = Call.of(request)
        await authorise(service, call, "decide")
        asked = await read(call, RecommendationRequest)
        return json_answer(await service.recommend(asked))

    @app.post(
        "/v1/outcomes",
        openapi_extra=body("OutcomeRequest", replayed=True),
        responses=answers("OutcomeAnswer", 409),
    )
    async def outcomes(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Tell what happened: seen, redeemed, bought, returned. Twice counts once."""
        call = Call.of(request)
        key = await authorise(service, call, "outcomes")
        told = await read(call, OutcomeRequest)
        return json_answer(await service.telling.tell(told, replay_of(call, key, told)))

    return {"/v1/decisions": decide}
