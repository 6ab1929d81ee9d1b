"""One customer: all that is known of her, and that she is forgotten."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from regulars.commands.house import open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say

customer = typer.Typer(help="All that is known of one customer; forget her.", no_args_is_help=True)
Who = Annotated[str, typer.Argument(help="Her id, as it was loaded.")]


@customer.callback()
def _group() -> None:  # pyright: ignore[reportUnusedFunction]
    """All that is known of one customer; forget her."""


@customer.command()
def export(
    customer_id: Who,
    out: Annotated[Path | None, typer.Option("--out", help="Write FILE.json instead.")] = None,
) -> None:
    """Print all that is known of a customer as JSON: database, snapshot, lake."""
    import asyncio

    house = open_house()

    async def exported(url: str) -> Any:
        service = house.service(url)
        try:
            await service.live.read_snapshot()
            return await service.dossiers.export(customer_id)
        finally:
            await service.stop()

    with house.database() as url, house.admin(url):
        told = asyncio.run(exported(url))
    if out is None:
        print_json(told)
        return
    out.write_bytes(msgspec.json.encode(told))
    say(f"all that is known of customer {customer_id!r} is in {out}")


@customer.command()
def erase(customer_id: Who, as_json: Json = False) -> None:
    """Forget a customer: at once in the database, with the next run in snapshot and lake."""
    from adapters.login import login
    from serving.dossier import PENDING

    house = open_house()
    with house.database() as url, house.admin(url):
        rows = house.about_customers(url, lambda known: known.erase(customer_id, login()))
    if as_json:
        print_json({"customer_id": customer_id, "rows": rows, "pending": PENDING})
        return
    for table, number in rows.items():
        say(f"{table}: {number:,} rows forgotten or under a pseudonym")
    for line in PENDING:
        say(line)


@customer.command()
def verify(customer_id: Who, as_json: Json = False) -> None:
    """Search every store for a customer; exit code 1 where she is still named."""
    from adapters.traces import as_rows, traces_of

    house, progress = open_house(), progress_shown()
    settings = house.settings
    if settings.mlflow_tracking_uri is not None:
        say(f"not searched: models at {settings.mlflow_tracking_uri}; they hold no ids by design")
    with house.database() as url, house.admin(url), progress.step("search") as step:
        step.show("database, lake, snapshots, files")
        told = traces_of(
            customer_id,
            url,
            settings.lake_folder,
            settings.snapshot_folder,
            settings.home,
            settings.postgres_folder,
            settings.redis_url,
        )
        step.show(f"{len(told.found):,} places")
    if as_json:
        print_json({"customer_id": customer_id, **as_rows(told)})
    else:
        for line in told.searched:
            say(f"searched {line}")
        for line in told.coincidences:
            say(f"the same digits in {line}; look whether it is her")
        for line in told.found:
            say(f"found in {line}")
        if not told.found:
            say(f"customer {customer_id!r} is named nowhere")
    if told.found:
        raise typer.Exit(1)
