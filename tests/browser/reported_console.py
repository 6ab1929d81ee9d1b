"""A console on a desk that holds one report.

`python -m tests.browser.reported_console PORT DATABASE_URL [proxied]`; who signs in is in the
database.
"""

import sys
from zoneinfo import ZoneInfo

from adapters.postgres_admin import PostgresAdmin
from experiments.programme import Concluded, Programme, programme
from experiments.report import Report
from foundation.access import User
from foundation.audit import AuditEntry
from foundation.clock import SystemClock
from foundation.errors import NothingToDo, RegularsError
from foundation.money import Currency
from recommender.model_card import ModelCard
from serving.connection import Server, config
from serving.console.desk import Holdings, Segments, Trial
from serving.console.page import create_console
from serving.console.sign_in import SignIn
from tests.experiments.reported import BROKEN, EVIL, PLAN, REPORT, START


class ReportedDesk:
    """See serving.console.desk.Desk."""

    currency = Currency("USD")
    zone = ZoneInfo("UTC")

    def segments(self) -> Segments:
        raise NothingToDo("no segments")

    def champion(self) -> ModelCard:
        raise NothingToDo("no champion")

    def trial(self) -> Trial:
        return Trial(PLAN, START, None, REPORT, None, ("margins are assumed",), ())

    def programme(self) -> Programme:
        def one(key: str, report: Report) -> Concluded:
            return Concluded(key, START, START, report)

        running = Concluded("now", START, None, None, f"nobody yet {EVIL}")
        return programme(
            [running, one("broken", BROKEN), *(one(f"e-{n}", REPORT) for n in range(3))],
            one("holdout", REPORT),
        )

    def holdings(self) -> Holdings:
        return Holdings(snapshot=None, lake_version=1, recorded=0, ingested=0)

    def changes(self, most: int) -> list[AuditEntry]:
        return [AuditEntry(START, EVIL, "stop", f"experiment {EVIL}", None, {"why": EVIL})]

    def stop_experiment(self, key: str, user: User) -> None:
        raise RegularsError(f"experiment {key!r} does not run, {user.name}")


if __name__ == "__main__":
    sign_in = SignIn(PostgresAdmin(sys.argv[2]).users, SystemClock())
    proxies = ["127.0.0.1/32"] if sys.argv[3:] == ["proxied"] else []
    console = create_console(ReportedDesk(), sign_in, behind_proxy=bool(proxies))
    Server(config(console, proxies, port=int(sys.argv[1]), ws="wsproto")).run()
