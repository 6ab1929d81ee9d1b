"""Let a challenger become the champion."""

from typing import Annotated

import typer

from regulars.commands.house import administered, open_house
from regulars.commands.options import Json, known
from regulars.commands.telling import print_json, say


def promote(
    model: Annotated[str, typer.Argument(help="Which model.")] = "response",
    force: Annotated[bool, typer.Option(help="Promote also a worse one.")] = False,
    as_json: Json = False,
) -> None:
    """Make the challenger the champion, if it is at least as good; the service takes it over."""
    from regulars.jobs.train import promote as job

    known(model, "response")
    house = open_house()
    with administered(house) as admin:
        promoted = job(house.models, force=force)
        admin.touch_catalogue()
    champion = f"response@{promoted.version}"
    if as_json:
        print_json({"champion": champion, "kind": promoted.kind})
        return
    say(f"{champion} ({promoted.kind}) is the champion")
