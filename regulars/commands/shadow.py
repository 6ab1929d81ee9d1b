"""Let a model score beside the champion, answering nobody."""

from typing import Annotated

import typer

from regulars.commands.house import administered, open_house
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say


def shadow(
    model: Annotated[
        str, typer.Argument(help="A version, e.g. response@7, or a model: its challenger.")
    ] = "response",
    end: Annotated[bool, typer.Option("--end", help="Let none of the model's do so.")] = False,
    as_json: Json = False,
) -> None:
    """Let a version score beside the champion; 'regulars models' tells how it does."""
    from regulars.jobs.shadow import end_shadow, set_shadow
    from regulars.locks import only_one

    house = open_house()
    with only_one(house.settings.lock_folder, "promote"), administered(house) as admin:
        version = end_shadow(house, model) if end else set_shadow(house, model)
        admin.touch_catalogue()
        done = "end shadow" if end else "shadow"
        admin.note(done, f"model {version.name}", house.clock.now())
    if as_json:
        print_json(
            {"shadow": None if end else version.name, "ended": version.name if end else None}
        )
        return
    if end:
        say(f"{version.name} is no shadow any more")
    else:
        say(f"{version.name} scores beside the champion; 'regulars models' tells how it does")
