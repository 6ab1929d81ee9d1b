"""The service and the keys that it asks for."""

from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich.console import Console

from foundation.access import SCOPES
from regulars.commands.house import administered, open_house
from regulars.commands.options import Json, Port
from regulars.commands.telling import out, print_json, say


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
        admin = stack.enter_context(house.admin(url))
        if not admin.has_keys():
            say("first start: this API key is shown once and stored only as a hash")
            say(f"API key: {admin.make_key('first start', SCOPES)}")
        up = stack.enter_context(running(house, url, port, workers, console=console))
        say(f"API {up.url}/docs")
        if up.console_url:
            say(f"console {up.console_url}")
        watch(up, out)


def key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    as_json: Json = False,
) -> None:
    """Make an API key; it is printed once and stored only as a hash."""
    house = open_house()
    with administered(house) as admin:
        made = admin.make_key(name, SCOPES)
    if as_json:
        print_json({"name": name, "key": made, "scopes": SCOPES})
        return
    say(f"API key: {made}")


def watch(up: Any, told: Console) -> None:
    """Stay until told to stop."""
    try:
        up.watch()
    except (KeyboardInterrupt, SystemExit):
        # Told to stop is what a service ends with when all is well.
        say("stopping", told)
