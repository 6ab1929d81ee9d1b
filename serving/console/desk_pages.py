"""What people do and read at the console beside the first page, each for its role."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.responses import RedirectResponse

from foundation.access import Role, User
from foundation.audit import AuditEntry
from foundation.errors import RegularsError, StoreUnavailable
from serving.console.desk import Desk
from serving.console.plain_page import plain_page
from serving.console.wording import moment, sentence

CHANGES_SHOWN = 200


class RoleMissing(Exception):
    """What was asked for is for others."""

    def __init__(self, user: User, role: Role) -> None:
        super().__init__(f"This is for the role {role}; {user.name} is a {user.role}.")


def add_desk_pages(web: FastAPI, desk: Desk) -> None:
    """Add the audit log, and what changes something."""

    @web.get("/audit")
    async def audit(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        required(request, "admin")
        changes = await asyncio.to_thread(desk.changes, CHANGES_SHOWN)
        told = [_told(change, desk) for change in changes]
        return plain_page("audit.html", "Who changed what", changes=told)

    @web.post("/experiments/{key}/stop")
    async def stop(key: str, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        user = required(request, "marketer")
        return await _done(desk.stop_experiment, key, user)

    @web.exception_handler(RoleMissing)
    async def missing(_: Request, error: RoleMissing) -> Response:  # pyright: ignore[reportUnusedFunction]
        return plain_page("told.html", "Not for you", 403, told=str(error))


def required(request: Request, role: Role) -> User:
    """Return who asks, if it is for her."""
    user: User = request.scope["user"]
    if not user.may(role):
        raise RoleMissing(user, role)
    return user


async def _done(work: Callable[..., None], *given: object) -> Response:
    """Do it, and show the first page or why it was not done."""
    try:
        await asyncio.to_thread(work, *given)
    except StoreUnavailable:
        raise
    except RegularsError as refused:
        told = sentence(str(refused))
        return plain_page("told.html", "Not done", 409, told=told)
    return RedirectResponse("/", 303)


def _told(change: AuditEntry, desk: Desk) -> dict[str, str]:
    def words(document: dict[str, Any] | None) -> str:
        return "" if document is None else json.dumps(document, ensure_ascii=False)

    return {
        "at": moment(change.at, desk.zone),
        "who": change.who,
        "action": change.action,
        "subject": change.subject,
        "before": words(change.before),
        "after": words(change.after),
    }
