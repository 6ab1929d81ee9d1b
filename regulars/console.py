"""The console's process: `python -m regulars.console PORT`, started by `regulars serve`."""

import sys

from foundation.errors import RegularsError
from foundation.settings import Settings, load_settings
from serving.console import LOOPBACK

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
    import uvicorn

    from regulars.wiring import House, quiet_logs
    from serving.console.page import create_console

    quiet_logs()
    house = House(settings)
    with house.database() as url, house.admin(url) as admin:
        uvicorn.run(
            create_console(house.desk(admin)),
            host=settings.host,
            port=port,
            log_level="warning",
            access_log=False,
            # As NiceGUI's own server has it.
            ws="wsproto",
            # An open page keeps its connection; the end does not wait for it.
            timeout_graceful_shutdown=GRACE_SECONDS,
        )


def _settings() -> Settings:
    settings = load_settings()
    if settings.host not in LOOPBACK:
        raise RegularsError(
            f"setting REGULARS_HOST={settings.host!r}: the console has no login yet and "
            "listens on loopback only; set it to 127.0.0.1"
        )
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
