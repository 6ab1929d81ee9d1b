"""Watch the model that serves."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from regulars.commands.house import administered, open_house, progress_shown, real_shoppers
from regulars.commands.options import Json, known
from regulars.commands.telling import out, print_json, say

if TYPE_CHECKING:
    from recommender.watch import Moved

WORST = 10


def monitor(
    model: Annotated[str, typer.Argument(help="Which model: response or uplift.")] = "response",
    as_json: Json = False,
) -> None:
    """Tell drift of the champion's inputs, scores and calibration, the worst first."""
    known(model, "response", "uplift")
    if model == "uplift":
        _monitor_uplift(as_json)
    else:
        _monitor_response(as_json)


def _monitor_response(as_json: bool) -> None:
    from regulars.jobs.monitor import monitor as job

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
    _say_moved(watched.moved)
    for line in watched.advice():
        say(line)


def _monitor_uplift(as_json: bool) -> None:
    from regulars.jobs.monitor import monitor_uplift

    house, progress = open_house(), progress_shown()
    with administered(house) as admin:
        experiments = admin.experiments()
    lake = real_shoppers(house)
    found = monitor_uplift(lake, house.uplift, experiments, house.settings, progress)
    watched = found.watched
    if as_json:
        told = None if watched is None else asdict(watched) | {"advice": watched.advice()}
        print_json({"model": found.model, "refused": found.refused, "watched": told})
        return
    if watched is None:
        say(f"{found.model}: {found.refused}")
        return
    say(
        f"{found.model}: {watched.decisions:,} decisions on {watched.customers:,} customers since "
        f"{watched.since:%Y-%m-%d}; left out: {watched.outdated:,} recorded under other definitions"
    )
    if watched.seen is not None:
        say(f"effects on {watched.seen.rows:,} later decisions drawn by chance, by fifth:")
        show = house.settings.currency.show
        for one in watched.seen.bins:
            seen = one.observed
            say(
                f"  predicted {show(one.predicted)}: seen {show(seen.value)} "
                f"[{show(seen.low)}, {show(seen.high)}]"
            )
        for part in watched.seen.parts:
            say(f"{part.name} {part.told}")
    for part, reason in watched.refused.items():
        say(f"{part}: nothing to tell yet: {reason}")
    _say_moved(watched.moved)
    for line in watched.advice():
        say(line)


def _say_moved(moved: "list[Moved]") -> None:
    if not moved:
        return
    table = Table("moved most", "index", "chance alone", "asks for")
    for one in moved[:WORST]:
        table.add_row(one.name, f"{one.index:.3f}", f"{one.chance:.3f}", one.level)
    out.print(table)
