"""Bring the champion before this one back."""

from dataclasses import asdict
from typing import Annotated

import typer

from regulars.commands.house import administered, open_house
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say


def rollback(
    model: Annotated[str, typer.Argument(help="Which model.")] = "response",
    as_json: Json = False,
) -> None:
    """Bring the previous champion back; the service takes it over."""
    from regulars.jobs.model_kinds import kind_of
    from regulars.jobs.promote import rollback as job
    from regulars.locks import only_one

    kind_of(model)
    house = open_house()
    with only_one(house.settings.lock_folder, "promote"), administered(house) as admin:
        champion, taken_back = job(house, model)
        admin.touch_catalogue()
        now = house.clock.now()
        admin.note("rollback", f"model {taken_back.name}", now, champion=champion.name)
    if as_json:
        print_json(
            {
                "champion": champion.name,
                "kind": champion.kind,
                "taken_back": taken_back.name,
                "history": [asdict(reign) for reign in house.life.reigns(model)],
            }
        )
        return
    say(f"{champion.name} ({champion.kind}) is the champion again, in place of {taken_back.name}")
