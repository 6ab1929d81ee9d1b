"""`regulars experiment report` and `overview`: what one experiment earned, and all of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foundation.errors import RegularsError
from regulars.commands.house import administered, open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import out, print_json, say

if TYPE_CHECKING:
    from adapters.postgres_admin import PostgresAdmin
    from experiments.programme import Programme
    from foundation.money import Currency
    from regulars.wiring import House

Html = Annotated[
    Path | None, typer.Option("--html", help="Write FILE.html, to read, send and print.")
]


def experiment_report(
    key: Annotated[str, typer.Argument(help="Which experiment.")],
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Bring the newest outcomes in and say what an experiment earned."""
    import msgspec

    from experiments.report import summary_lines
    from experiments.report_page import report_page
    from regulars.assumptions import statements
    from regulars.contacts import contact_costs
    from regulars.jobs.overview import report_of
    from regulars.jobs.report import More
    from regulars.jobs.uplift_bins import UpliftModels

    _check_page(html)
    house = open_house()
    with administered(house) as admin:
        stored = admin.experiment(key)
        _bring_in(house, admin)
    now = house.clock.now()
    models = UpliftModels(house.life, house.uplift) if house.has_trained else None
    more = More(models, house.settings.time_zone)
    report = report_of(house.lake, stored, now, contact_costs(house.settings), more)
    assumed = statements(house.lake)
    if html is not None:
        zone = house.settings.zone
        stopped = None if stored.stopped_at is None else stored.stopped_at.astimezone(zone)
        page = report_page(
            report,
            stored.design,
            stored.started_at.astimezone(zone),
            stopped,
            now.astimezone(zone),
            house.settings.currency,
            assumed,
        )
        html.write_text(page, encoding="utf-8")
    if as_json:
        print_json({**msgspec.to_builtins(report), "assumptions": assumed})
        return
    for line in summary_lines(report, house.settings.currency.show):
        say(line)
    for statement in assumed:
        say(f"assumed: {statement}")
    if html is not None:
        say(f"written to {html}")


def experiment_overview(html: Html = None, as_json: Json = False) -> None:
    """Say what all experiments together brought, and what the holdout says of the programme."""
    import msgspec

    from experiments.programme_page import programme_page
    from regulars.assumptions import statements
    from regulars.contacts import contact_costs
    from regulars.jobs.overview import overview

    _check_page(html)
    house = open_house()
    with administered(house) as admin:
        _bring_in(house, admin)
        stored = admin.experiments()
    now, currency = house.clock.now(), house.settings.currency
    found = overview(house.lake, stored, now, contact_costs=contact_costs(house.settings))
    assumed = statements(house.lake)
    if html is not None:
        page = programme_page(found, now.astimezone(house.settings.zone), currency, assumed)
        html.write_text(page, encoding="utf-8")
    if as_json:
        print_json({**msgspec.to_builtins(found), "assumptions": assumed})
        return
    _tell(found, currency)
    for statement in assumed:
        say(f"assumed: {statement}")
    if html is not None:
        say(f"written to {html}")


def _check_page(html: Path | None) -> None:
    if html is not None and html.suffix not in (".html", ".htm"):
        raise RegularsError(f"--html {html}: a page ends in .html; name it so")
    if html is not None and not html.absolute().parent.is_dir():
        raise RegularsError(f"--html {html}: folder {html.absolute().parent} does not exist")


def _bring_in(house: "House", admin: "PostgresAdmin") -> None:
    from regulars.jobs.ingest import ingest
    from regulars.locks import only_one

    with only_one(house.settings.lock_folder, "ingest"):
        ingest(house.lake, admin, house.clock, house.settings.time_zone, progress_shown())


def _tell(found: "Programme", currency: "Currency") -> None:
    from rich.table import Table

    from experiments.programme_words import entry_lines, programme_lines

    if found.entries:
        table = Table("experiment", "state", "decision", "incremental margin", "95 % interval")
        for one in entry_lines(found, currency):
            table.add_row(one.key, one.state, one.decision, one.words, one.between)
        out.print(table)
    for line in programme_lines(found, currency):
        say(f"{line.label}: {line.words}{f' ({line.between})' if line.between else ''}")
        if line.note:
            say(f"  {line.note}")
