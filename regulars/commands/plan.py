"""A campaign's plan: which live offer goes to whom."""

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regulars.commands.house import open_house, progress_shown, real_shoppers
from regulars.commands.options import Json, OutFile
from regulars.commands.telling import print_json, say

if TYPE_CHECKING:
    from regulars.jobs.plan import CampaignPlan


def plan(
    channel: Annotated[str, typer.Option(help="The channel the offers are sent through.")],
    segment: Annotated[
        str | None, typer.Option(help="Only members of this living segment.")
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(help="Local time of the sending; now by default.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Money for rewards and contacts, like 2000 or 99.50.")
    ] = None,
    contacts: Annotated[int | None, typer.Option(min=0, help="Offers sent in all.")] = None,
    per_customer: Annotated[int, typer.Option(min=1, help="Offers a customer at most.")] = 1,
    file: OutFile = None,
    as_json: Json = False,
) -> None:
    """Plan a campaign: who gets which live offer, within all limits, so that most is earned."""
    from adapters.export_files import check_export, write_export
    from foundation.contracts.tables import CHANNELS
    from foundation.errors import RegularsError
    from foundation.money import InvalidAmount, to_minor
    from recommender.campaign import Limits
    from regulars.jobs.plan import Asked, Sources, plan_campaign

    if channel not in CHANNELS:
        raise RegularsError(
            f"--channel {channel!r} is no channel; choose one of {', '.join(CHANNELS)}"
        )
    if file is not None:
        check_export(file)
    try:
        money = None if budget is None else to_minor(budget)
    except InvalidAmount as error:
        raise RegularsError(f"--budget: {error}") from error
    if money is not None and money < 0:
        raise RegularsError(f"--budget {budget} is below 0; give 0 or more, or leave it out")
    house, progress = open_house(), progress_shown()
    zone = house.settings.zone
    instant = house.clock.now() if at is None else at.replace(tzinfo=at.tzinfo or zone)
    asked = Asked(
        channel,
        instant.astimezone(UTC),
        Limits(budget=money, contacts=contacts, per_customer=per_customer),
        segment,
    )
    lake = real_shoppers(house)
    # Opening the database as a job brings its schema up to date.
    with house.database() as url, house.admin(url):
        sources = Sources(
            lake,
            house.profiles(),
            house.uplift,
            house.models,
            house.life,
            partial(house.running, url),
        )
        made = plan_campaign(sources, asked, house.settings, progress)
    if file is not None:
        write_export(file, made.table())
    if as_json:
        print_json(_answer(made))
        return
    for line in made.told(house.settings.currency):
        say(line)
    if file is not None:
        say(f"{len(made.sent):,} offers are written to {file}")


def _answer(made: "CampaignPlan") -> dict[str, Any]:
    planned = made.plan
    return {
        "channel": made.channel,
        "at": made.at,
        "model": made.model,
        "considered": made.considered,
        "left_out": made.left_out,
        "refused": made.refused,
        "reached": made.reached,
        "sent": len(made.sent),
        "value": 0.0 if planned is None else planned.value,
        "bound": 0.0 if planned is None else planned.bound,
        "earned": None if made.earned is None else asdict(made.earned),
        "held_out": None if made.held_out is None else asdict(made.held_out),
        "limits": [] if planned is None else [asdict(limit) for limit in planned.limits],
        "offers": [] if planned is None else planned.by_offer.to_dict("records"),
        "another": 0.0 if planned is None else planned.another,
        "assumptions": made.assumptions,
    }
