"""What a command opens: the house of this deployment, its database, its progress."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foundation.settings import load_settings
from regulars.commands.telling import beside, say

if TYPE_CHECKING:
    from adapters.postgres_admin import PostgresAdmin
    from foundation.lake import Lake
    from regulars.progress import Progress
    from regulars.wiring import House


def open_house() -> "House":
    """Return the deployment that the environment describes."""
    from regulars.wiring import House, quiet_logs

    # Whoever types a command reads its progress, which a service's steps would only cut up.
    quiet_logs("warning")
    return House(load_settings())


def progress_shown() -> "Progress":
    """Return the progress that people see on standard error."""
    from regulars.progress import Progress

    return Progress()


@contextmanager
def administered(house: "House") -> Generator["PostgresAdmin"]:
    """Hold the deployment's database open."""
    with house.database() as url, house.admin(url) as admin:
        yield admin


def real_shoppers(house: "House") -> "Lake":
    """Return the lake without simulated shoppers, and say so where there are some."""
    from regulars.jobs.simulated import RealShoppers, simulated_orders

    orders = simulated_orders(house.lake)
    if not orders:
        return house.lake
    say(f"left out: {orders:,} orders of simulated shoppers, with what was decided", beside)
    return RealShoppers(house.lake)
