"""The office's process, started by `regulars serve` beside the API workers.

It listens on a socket in a folder that only its user may enter, so that nobody comes past the
workers, which check keys.
"""

import os
import socket
from pathlib import Path

from foundation.settings import load_settings
from regulars.office.answers import office_answers
from regulars.office.room import Room
from regulars.wiring import House, quiet_logs
from serving import connection
from serving.office.app import create_office


def run(place: Path, grace: int) -> None:
    """Run the office until it is told to stop.

    Args:
        place: Of its socket; what a killed office left there goes.
        grace: Seconds that requests under way may take to end.
    """
    quiet_logs()
    settings = load_settings()
    if settings.database_url is None:
        raise RuntimeError("the office needs REGULARS_DATABASE_URL; 'regulars serve' starts it")
    room = Room(House(settings), settings.database_url)
    app = create_office(office_answers(room))
    try:
        config = connection.config(app, [], timeout_graceful_shutdown=grace)
        connection.Server(config).run(sockets=[bound(place)])
    finally:
        room.close()


def bound(place: Path) -> socket.socket:
    """Return a socket bound to a path, which only this user may open; its server listens."""
    place.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        door.bind(str(place))
    finally:
        os.umask(before)
    return door
