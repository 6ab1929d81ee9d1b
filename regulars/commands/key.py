"""API keys: made, listed, followed by a successor, revoked."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from foundation.access import APP_SCOPES, SCOPES, Scope
from foundation.errors import RegularsError
from regulars.commands.house import administered, open_house
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say

if TYPE_CHECKING:
    from adapters.postgres_keys import StoredKey

key = typer.Typer(help="API keys: add, list, rotate, revoke.")
Which = Annotated[str, typer.Argument(help="Its number, or its name where one key bears it.")]


@key.command("add")
def key_add(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[
        list[str],
        typer.Option("--scope", help=f"One of {', '.join(SCOPES)}; repeat it for more."),
    ] = list(APP_SCOPES),  # noqa: B006
    days: Annotated[
        float | None, typer.Option("--days", help="How long it is valid; for ever by default.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests a second; unlimited by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an API key; it is printed once and stored only as a hash."""
    scopes, lasts = _scopes(scope), _days(days)
    if rate is not None and not 0 < rate <= 1e6:
        raise RegularsError(f"--rate {rate:g}: give requests a second above 0, at most a million")
    with administered(open_house()) as admin:
        made, number = admin.keys.make(name, scopes, lasts=lasts, rate=rate)
    if as_json:
        print_json({"number": number, "name": name, "key": made, "scopes": scopes})
        return
    say(f"API key: {made}")
    say(f"it is number {number} and may {', '.join(scopes)}; it is not shown again")


@key.command("list")
def key_list(as_json: Json = False) -> None:
    """List all keys, the newest first: what they may do, how long, and when they were last used."""
    with administered(open_house()) as admin:
        stored = admin.keys.all()
    now = datetime.now(UTC)
    if as_json:
        print_json({"keys": [asdict(one) | {"valid": one.valid(now)} for one in stored]})
        return
    if not stored:
        say("no key yet; make one with 'regulars key add NAME'")
    for one in stored:
        rate = "" if one.rate is None else f", {one.rate:g} a second"
        used = "never used" if one.last_used is None else f"last used {one.last_used}"
        say(f"{one.number} {one.name}: {', '.join(one.scopes)}{rate}; {_life(one, now)}; {used}")


@key.command("rotate")
def key_rotate(
    which: Which,
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=24 * 365, help="How long the old key goes on.")
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Make a successor with the same scopes and rate; the old key ends after the overlap."""
    with administered(open_house()) as admin:
        made, old = admin.keys.rotate(which, timedelta(hours=overlap_hours))
    if as_json:
        answer = {"number": old.successor, "name": old.name, "key": made, "scopes": old.scopes}
        print_json({**answer, "old": old.number, "old_ends": old.expires_at})
        return
    say(f"API key: {made}")
    say(f"it is number {old.successor}; key {old.number} ends {old.expires_at:%Y-%m-%d %H:%M} UTC")


@key.command("revoke")
def key_revoke(which: Which, as_json: Json = False) -> None:
    """Make a key invalid; running services refuse it within a second."""
    with administered(open_house()) as admin:
        gone = admin.keys.revoke(which)
    if as_json:
        print_json({"number": gone.number, "name": gone.name})
        return
    say(f"key {gone.number} ({gone.name}) is revoked")


def _scopes(given: list[str]) -> list[Scope]:
    for one in given:
        if one not in SCOPES:
            raise RegularsError(f"--scope {one!r}: choose of {', '.join(SCOPES)}")
    return [scope for scope in SCOPES if scope in given]


def _days(days: float | None) -> timedelta | None:
    if days is None:
        return None
    # `not` also catches NaN.
    if not 0 < days <= 36_500:
        raise RegularsError(f"--days {days:g}: give days above 0, at most 36500")
    return timedelta(days=days)


def _life(one: "StoredKey", now: datetime) -> str:
    follows = "" if one.successor is None else f", followed by {one.successor}"
    if one.revoked_at is not None:
        return f"revoked {one.revoked_at:%Y-%m-%d}{follows}"
    if one.expires_at is None:
        return f"valid{follows}"
    word = "valid until" if one.valid(now) else "ended"
    return f"{word} {one.expires_at:%Y-%m-%d %H:%M} UTC{follows}"
