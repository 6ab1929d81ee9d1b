"""The service."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from foundation.access import APP_SCOPES
from foundation.errors import StoreUnavailable
from regulars.commands.house import open_house
from regulars.commands.options import Port
from regulars.commands.telling import beside, out, say

if TYPE_CHECKING:
    from adapters.postgres_admin import PostgresAdmin


def serve(
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="API processes.")] = 1,
    console: Annotated[bool, typer.Option(help="Start the console beside the API.")] = True,
) -> None:
    """Start the API and the console, and keep them and the database alive."""
    from regulars.serve import running

    house = open_house()
    with ExitStack() as stack:
        url = stack.enter_context(house.database())
        admin = None
        try:
            admin = stack.enter_context(house.admin(url))
        except StoreUnavailable as error:
            # A machine that restarts during an outage goes on answering.
            if not house.settings.last_known_folder.exists():
                raise
            # The console shows what is in the database.
            console = False
            say(f"{error}; serving without the console, by what was last known", beside)
        else:
            if not admin.has_keys():
                say("first start: this API key is shown once and stored only as a hash")
                say(f"API key: {admin.make_key('first start', APP_SCOPES)}")
        up = stack.enter_context(running(house, url, port, workers, console=console))
        say(f"API {up.url}/docs")
        if up.console_url and admin is not None:
            say_first_user(admin, out)
            say(f"console {up.console_url}")
        watch(up, out)


def say_first_user(admin: "PostgresAdmin", told: Console) -> None:
    """Make the console's first user where there is none, and say her password this once."""
    password = admin.users.add_first("admin")
    if password is not None:
        say("first start: this password is shown once and stored only as a hash", told)
        say(f"console user admin, password: {password}", told)


def watch(up: Any, told: Console) -> None:
    """Stay until told to stop."""
    try:
        up.watch()
    except (KeyboardInterrupt, SystemExit):
        # Told to stop is what a service ends with when all is well.
        say("stopping", told)
