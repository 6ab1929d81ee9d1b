"""Sleeping customers who came back."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from regulars.commands.house import administered, open_house, real_shoppers
from regulars.commands.options import Json
from regulars.commands.telling import money, print_json, say


def sleepers(
    since: Annotated[
        str | None, typer.Option(help="Run they slept at; the newest whose days are over.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long a return is waited for.")] = 30,
    as_json: Json = False,
) -> None:
    """Say how many dormant and lost customers came back, beside a holdout's natural return."""
    from regulars.jobs.sleepers import sleepers as job

    house = open_house()
    with administered(house) as admin:
        report = job(real_shoppers(house), admin.experiments(), since, days, house.clock.now())
    if as_json:
        print_json(asdict(report))
        return
    say(f"sleeping at run {report.run_id}, back until {report.until:%Y-%m-%d %H:%M} UTC:")
    currency = house.settings.currency
    for name, group in {"all": report.all, **report.by_state}.items():
        say(_returned(name, group, currency))
    for holdout in report.holdouts:
        say(f"experiment {holdout.experiment}:")
        found = holdout.comparison
        if found is None:
            say(f"  no comparison: {holdout.refused}")
            continue
        say(_returned("offered", found.offered, currency))
        say(_returned("held out", found.held_out, currency))
        rate = found.rate_difference
        told = f"{rate.value:+.1%} [{rate.low:+.1%}, {rate.high:+.1%}] came back"
        if found.spend_difference:
            told += f", spend {money(found.spend_difference, currency)}"
        say(f"  difference: {told}")
        for line in (found.refused, holdout.beware):
            if line:
                say(f"  {line}")
    if report.natural:
        say(report.natural)


def _returned(name: str, group: Any, currency: Any) -> str:
    rate = group.rate
    line = (
        f"  {name}: {group.returned:,} of {group.sleeping:,} came back, {rate.value:.1%} "
        f"[{rate.low:.1%}, {rate.high:.1%}]"
    )
    if group.spend:
        return f"{line}, spend a sleeper {money(group.spend, currency)}"
    return f"{line}; {group.refused}"
