"""Who changed what."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from regulars.commands.house import administered, open_house
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say


def audit(
    last: Annotated[int, typer.Option(min=1, max=100_000, help="So many changes.")] = 50,
    as_json: Json = False,
) -> None:
    """Say who changed what and when, the newest first."""
    with administered(open_house()) as admin:
        entries = admin.audit.newest(last)
    if as_json:
        print_json({"entries": [asdict(entry) for entry in entries]})
        return
    if not entries:
        say("nothing was changed yet")
    for entry in entries:
        documents = [json.dumps(d) for d in (entry.before, entry.after) if d is not None]
        said = f": {' -> '.join(documents)}" if documents else ""
        say(f"{entry.at:%Y-%m-%d %H:%M} UTC, {entry.who}: {entry.action} {entry.subject}{said}")
