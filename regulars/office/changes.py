"""Changes: each is one transaction with its audit entry and the answer that a repetition gets."""

from collections.abc import Callable
from typing import Any

import msgspec

from adapters.postgres_admin import PostgresAdmin
from foundation.errors import KeyReused
from foundation.replay import Replay
from serving.office.asking import Asked, Told
from serving.problems import Problem

Change = Callable[[PostgresAdmin], Told]


class _Kept(msgspec.Struct):
    """What was answered, so that it can be answered again to the letter."""

    status: int
    version: str | None
    body: msgspec.Raw


def changed(admin: PostgresAdmin, asked: Asked[Any], change: Change) -> Told:
    """Make a change once, and answer its repetition as it was answered.

    Nothing of it is kept where it is refused: the same request may then be sent again.

    Raises:
        KeyReused: The request's name belongs to another one.
        RegularsError: As the change.
    """
    with admin.acting(asked.who).together() as joined:
        if asked.replay is None:
            return change(joined)
        before = joined.answers.taken(asked.replay)
        if before is not None:
            return _again(asked.replay, *before)
        told = change(joined)
        body = msgspec.Raw(msgspec.json.encode(told.body))
        kept = msgspec.json.encode(_Kept(told.status, told.version, body))
        joined.answers.keep(asked.replay, kept.decode())
        return told


def _again(replay: Replay, digest: bytes, answer: str | None) -> Told:
    if digest != replay.digest or answer is None:
        raise KeyReused
    kept = msgspec.json.decode(answer, type=_Kept)
    return Told(kept.body, kept.version, kept.status)


def check_seen(asked: Asked[Any], version: str | None, what: str) -> None:
    """Pass a change by somebody who has seen what she changes.

    Args:
        version: Of what there is; None where there is nothing.
        what: The subject, as in "offer 'coffee-1'".

    Raises:
        Problem: It is another version.
    """
    seen = asked.if_match
    if seen is None or (version is not None and seen in ("*", version)):
        return
    now = "there is none" if version is None else f"it is {version!r} now"
    detail = f"{what} was seen as {seen!r}, {now}; read it again, then write"
    raise Problem(412, "stale_version", detail, "If-Match")
