"""Let a challenger become the champion."""

from typing import Annotated

import typer

from regulars.commands.house import administered, open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say


def promote(
    model: Annotated[str, typer.Argument(help="Which model.")] = "response",
    force: Annotated[bool, typer.Option(help="Promote also one that does not pass.")] = False,
    as_json: Json = False,
) -> None:
    """Make the challenger the champion, if it passes the gate; the service takes it over."""
    from regulars.jobs.model_kinds import kind_of
    from regulars.jobs.promote import promote as job
    from regulars.locks import only_one

    kind_of(model)
    house, progress = open_house(), progress_shown()
    with only_one(house.settings.lock_folder, "promote"), administered(house) as admin:
        promoted = job(house, model, progress, force=force)
        admin.touch_catalogue()
        champion, now = promoted.champion, house.clock.now()
        admin.note("promote", f"model {champion.name}", now, overridden=promoted.overridden)
    if as_json:
        print_json(
            {
                "champion": champion.name,
                "kind": champion.kind,
                "overridden": promoted.overridden,
                "gate": promoted.judgement.record,
            }
        )
        return
    for line in promoted.judgement.told:
        say(line)
    for fault in promoted.overridden:
        say(f"overridden: {fault}")
    say(f"{champion.name} ({champion.kind}) is the champion")
