"""Decisions, recommendations and what came of them."""

from fastapi import FastAPI, Request, Response

from serving.messages import DecisionRequest, OutcomeRequest, RecommendationRequest
from serving.openapi import answers, body
from serving.service import DecisionService
from serving.wire import Endpoint, authorise, json_answer, read


def add_decisions(app: FastAPI, service: DecisionService) -> dict[str, Endpoint]:
    """Add the routes the app asks at checkout; return those that are worth a way of their own."""

    @app.post(
        "/v1/decisions",
        openapi_extra=body("DecisionRequest"),
        responses=answers("DecisionAnswer"),
    )
    async def decisions(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Which offers for this customer, in this channel, now?"""
        await authorise(service, request, "decide")
        asked = await read(request, DecisionRequest)
        return json_answer(await service.decide(asked))

    @app.post(
        "/v1/recommendations",
        openapi_extra=body("RecommendationRequest"),
        responses=answers("RecommendationAnswer"),
    )
    async def recommendations(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Which products go with these in the basket?"""
        await authorise(service, request, "decide")
        asked = await read(request, RecommendationRequest)
        return json_answer(await service.recommend(asked))

    @app.post(
        "/v1/outcomes",
        openapi_extra=body("OutcomeRequest"),
        responses=answers("OutcomeAnswer", 409),
    )
    async def outcomes(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Tell what happened: seen, redeemed, bought, returned. Twice counts once."""
        await authorise(service, request, "outcomes")
        told = await read(request, OutcomeRequest)
        return json_answer(await service.telling.tell(told))

    return {"/v1/decisions": decisions}
