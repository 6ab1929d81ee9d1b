"""Watch the model that serves."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from regulars.commands.house import open_house, progress_shown, real_shoppers
from regulars.commands.options import Json, known
from regulars.commands.telling import out, print_json, say

WORST = 10


def monitor(
    model: Annotated[str, typer.Argument(help="Which model: response.")] = "response",
    as_json: Json = False,
) -> None:
    """Tell drift of the champion's inputs, scores and calibration, the worst first."""
    from regulars.jobs.monitor import monitor as job

    known(model, "response")
    house, progress = open_house(), progress_shown()
    found = job(real_shoppers(house), house.models, house.settings, progress)
    watched = found.watched
    if as_json:
        told = None
        if watched is not None:
            judged = watched.calibration
            told = {
                "since": watched.since,
                "exposures": watched.exposures,
                "customers": watched.customers,
                "outdated": watched.outdated,
                "outcomes": watched.outcomes,
                "next_outcome": watched.next_outcome,
                "moved": [asdict(one) for one in watched.moved],
                "calibration": judged.figures() if judged else None,
                "refused": watched.refused,
                "advice": watched.advice(),
            }
        print_json({"model": found.model, "refused": found.refused, "watched": told})
        return
    if watched is None:
        say(f"{found.model}: {found.refused}")
        return
    say(
        f"{found.model}: {watched.exposures:,} exposures of {watched.customers:,} customers since "
        f"{watched.since:%Y-%m-%d}; left out: {watched.outdated:,} recorded under other "
        "definitions"
    )
    judged = watched.calibration
    if judged is not None:
        for word, figure in (
            ("observed/expected", judged.observed_expected),
            ("calibration slope", judged.slope),
        ):
            say(
                f"{word} {figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}] on "
                f"{judged.n:,} outcomes since"
            )
    for part, reason in watched.refused.items():
        say(f"{part}: nothing to tell yet: {reason}")
    if watched.moved:
        table = Table("moved most", "index", "chance alone", "asks for")
        for one in watched.moved[:WORST]:
            table.add_row(one.name, f"{one.index:.3f}", f"{one.chance:.3f}", one.level)
        out.print(table)
    for line in watched.advice():
        say(line)
