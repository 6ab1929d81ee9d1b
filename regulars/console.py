"""The console's process: `python -m regulars.console PORT`, started by `regulars serve`."""

import os
import sys
from typing import TYPE_CHECKING

from foundation.errors import RegularsError
from foundation.settings import Settings, load_settings
from regulars.reach import check_reach

if TYPE_CHECKING:
    from regulars.checkout import ClientCheckout

GRACE_SECONDS = 2


def main(arguments: list[str]) -> int:
    """Run the console until it is told to stop; 2 for bad input."""
    try:
        _run(_settings(), _port(arguments))
    except RegularsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _run(settings: Settings, port: int) -> None:
    # Imported late: what is wrong with the input is said before seconds of imports.
    from regulars.wiring import House, quiet_logs
    from serving import connection
    from serving.console.page import create_console
    from serving.console.sign_in import SignIn

    quiet_logs()
    house = House(settings)
    with house.database() as url, house.admin(url) as admin:
        sign_in = SignIn(admin.users, house.clock)
        console = create_console(
            house.desk(admin), sign_in, behind_proxy=bool(settings.proxies), checkout=_checkout()
        )
        listening = connection.config(
            console,
            [str(proxy) for proxy in settings.proxies],
            settings.kept_seconds,
            host=settings.host,
            port=port,
            # As NiceGUI's own server has it.
            ws="wsproto",
            # An open page keeps its connection; the end does not wait for it.
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        connection.Server(listening).run()


def _checkout() -> "ClientCheckout | None":
    """Return what the demo loyalty app asks, where the demo runs."""
    from regulars.wiring import APP_SERVICE

    service = os.environ.get(APP_SERVICE)
    if service is None:
        return None
    from regulars.checkout import ClientCheckout
    from regulars_client import Client

    url, _, key = service.partition(" ")
    return ClientCheckout(Client(url, key, seconds=5.0))


def _settings() -> Settings:
    settings = load_settings()
    check_reach(settings)
    return settings


def _port(arguments: list[str]) -> int:
    if len(arguments) != 1 or not arguments[0].isdigit() or not 0 < int(arguments[0]) < 65536:
        raise RegularsError(
            f"console: arguments {arguments} must be one port, 1-65535; "
            "write `python -m regulars.console 8001`"
        )
    return int(arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
