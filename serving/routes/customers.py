"""One customer: her consents, what is known of her, and how she is forgotten."""

import msgspec
from fastapi import FastAPI, Request, Response

from foundation.access import Scope
from foundation.outcome import Id
from serving.customer_messages import ConsentRequest
from serving.openapi import answers, body
from serving.problems import Problem
from serving.service import DecisionService
from serving.wire import Call, authorise, json_answer, read, replay_of

# An app tells consents; all that is known of a person is for few to see.
CONSENTS: Scope = "outcomes"
PERSON: Scope = "admin"


def add_customers(app: FastAPI, service: DecisionService) -> None:
    """Add the routes that keep to what a customer wants."""

    @app.put(
        "/v1/customers/{customer_id}/consents",
        openapi_extra=body("ConsentRequest", replayed=True),
        responses=answers("ConsentsAnswer", 409),
    )
    async def consents(customer_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Keep whether she may be contacted, by channel; it holds for every decision at once."""
        call = Call.of(request)
        key = await authorise(service, call, CONSENTS)
        asked = await read(call, ConsentRequest)
        replay = replay_of(call, key, asked)
        return json_answer(
            await service.dossiers.consent(_id(customer_id), asked, key.called, replay)
        )

    @app.get(
        "/v1/customers/{customer_id}",
        openapi_extra=body(),
        responses=answers("CustomerAnswer", 404),
    )
    async def customer(customer_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Her profile, segments, consents and journey."""
        await authorise(service, Call.of(request), PERSON)
        return json_answer(await service.dossiers.customer(_id(customer_id)))

    @app.get(
        "/v1/customers/{customer_id}/export",
        openapi_extra=body(),
        responses=answers("CustomerExport", 404),
    )
    async def export(customer_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """All that is known of her, as it is kept."""
        await authorise(service, Call.of(request), PERSON)
        return json_answer(await service.dossiers.export(_id(customer_id)))

    @app.delete(
        "/v1/customers/{customer_id}",
        openapi_extra=body(replayed=True),
        responses=answers("ErasedAnswer", 409),
    )
    async def erase(customer_id: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Forget her. What was counted stays, under a pseudonym drawn by chance."""
        call = Call.of(request)
        key = await authorise(service, call, PERSON)
        replay = replay_of(call, key, None)
        return json_answer(await service.dossiers.erase(_id(customer_id), key.called, replay))


def _id(given: str) -> str:
    try:
        return msgspec.convert(given, Id)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_request", str(error), "customer_id") from error
