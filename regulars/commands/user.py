"""Who may use the console."""

from dataclasses import asdict
from typing import Annotated

import typer

from foundation.access import ROLES
from foundation.errors import RegularsError
from regulars.commands.house import administered, open_house
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say

user = typer.Typer(help="Who may use the console: add, list, remove, password.")
Name = Annotated[str, typer.Argument(help="The name she signs in with.")]


@user.command("add")
def user_add(
    name: Name,
    role: Annotated[
        str, typer.Option(help=f"One of {', '.join(ROLES)}; each may do what those before it may.")
    ] = "viewer",
    as_json: Json = False,
) -> None:
    """Let somebody in; her password is made here, printed once and stored only as a hash."""
    if role not in ROLES:
        raise RegularsError(f"--role {role!r}: choose one of {', '.join(ROLES)}")
    with administered(open_house()) as admin:
        password = admin.users.add(name, role)
    _told(name, password, as_json)


@user.command("list")
def user_list(as_json: Json = False) -> None:
    """List everybody, with roles and last visits."""
    with administered(open_house()) as admin:
        stored = admin.users.all()
    if as_json:
        print_json({"users": [asdict(one) for one in stored]})
        return
    if not stored:
        say("no user yet; let somebody in with 'regulars user add NAME'")
    for one in stored:
        seen = "" if one.seen_at is None else f", last seen {one.seen_at:%Y-%m-%d %H:%M} UTC"
        say(f"{one.name}: {one.role}{seen}")


@user.command("remove")
def user_remove(name: Name, as_json: Json = False) -> None:
    """Let somebody in no more; her open pages close within seconds."""
    with administered(open_house()) as admin:
        admin.users.remove(name)
    if as_json:
        print_json({"name": name})
        return
    say(f"user {name} is removed")


@user.command("password")
def user_password(name: Name, as_json: Json = False) -> None:
    """Make a new password, printed once; her sessions end, and a lock is lifted."""
    with administered(open_house()) as admin:
        password = admin.users.renew_password(name)
    _told(name, password, as_json)


def _told(name: str, password: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "password": password})
        return
    say(f"console user {name}, password: {password}")
    say("it is not shown again; she can change it at the console")
