"""Shoppers of known true response."""

from typing import Annotated

import typer

from regulars.commands.house import administered, open_house, progress_shown
from regulars.commands.options import Json, Seed
from regulars.commands.telling import print_json, say


def simulate(
    url: Annotated[str, typer.Option(help="The running service.")] = "http://127.0.0.1:8000",
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Send shoppers of known true response to the running service; print report and truth."""
    from regulars.jobs.measure import simulate_experiment

    house, progress = open_house(), progress_shown()
    with administered(house) as admin:
        result = simulate_experiment(house, admin, url, seed, progress)
    if as_json:
        print_json(result.figures())
        return
    for line in result.told(house.settings.currency):
        say(line)
