"""The demo: the whole loop on real data, then the service."""

import os
from contextlib import ExitStack
from typing import Annotated

import typer

from foundation.access import APP_SCOPES
from regulars.commands.house import open_house, progress_shown
from regulars.commands.options import Json, Port, Seed
from regulars.commands.serve import say_first_user, watch
from regulars.commands.telling import beside, out, print_json, say, show_sizes


def demo(
    serve: Annotated[bool, typer.Option(help="Leave the service up at the end.")] = True,
    port: Port = 8000,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """The whole loop on real data: load, segment, train, serve, experiment, report."""
    from regulars.jobs import demo as job
    from regulars.locks import only_one
    from regulars.serve import check_port, running
    from regulars.wiring import LOG_LEVEL

    # That of the processes which the demo starts, too.
    os.environ.setdefault(LOG_LEVEL, "warning")
    house, progress = open_house(), progress_shown()
    # Told before the minutes of work, not after them.
    for one in (port, port + 1) if serve else (port,):
        check_port(house.settings.host, one)
    with ExitStack() as stack:
        stack.enter_context(only_one(house.settings.lock_folder, "demo"))
        url = stack.enter_context(house.database())
        admin = stack.enter_context(house.admin(url))
        prepared = job.prepare(house, admin, progress)
        app_key = admin.make_key("demo loyalty app", APP_SCOPES) if serve else None
        if app_key is not None:
            stack.callback(admin.revoke_key, app_key)
        with progress.step("serve") as step:
            up = stack.enter_context(running(house, url, port, 1, console=serve, app_key=app_key))
            step.show(up.url)
        result = job.run(house, admin, up.url, prepared, seed, progress)
        if as_json:
            print_json(result.figures())
        else:
            show_sizes("Segments by recency, frequency and money", result.segments.rfm)
            for line in result.told(house.settings.currency):
                say(line)
            key = result.measured.design.key
            say(f"Experiment {key} runs on and takes every customer. Before one of your own:")
            say(f"  regulars experiment stop {key}")
        if serve:
            # Beside a JSON answer these lines would make it unreadable.
            told = beside if as_json else out
            say(f"The service is up. Console: {up.console_url}   API: {up.url}/docs", told)
            say(f"A customer's app, as it would ask: {up.console_url}/app", told)
            say_first_user(admin, told)
            say(f"API key: {admin.make_key('demo', APP_SCOPES)}   (Ctrl-C stops everything)", told)
            watch(up, told)
