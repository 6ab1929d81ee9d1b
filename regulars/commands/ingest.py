"""Bring the service's decisions and outcomes into the lake."""

from dataclasses import asdict

from regulars.commands.house import administered, open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say


def ingest(as_json: Json = False) -> None:
    """Bring decisions and outcomes from the service into the lake, each exactly once.

    Decisions that it has held for REGULARS_DECISIONS_KEPT_DAYS leave the database.
    """
    from regulars.jobs.ingest import ingest as job
    from regulars.jobs.prune import prune
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    with only_one(house.settings.lock_folder, "ingest"), administered(house) as admin:
        report = job(house.lake, admin, house.clock, house.settings.time_zone, progress)
        days = house.settings.decisions_kept_days
        pruned = prune(house.lake, admin, admin.old_decisions, house.clock, days, progress)
    if as_json:
        print_json({**asdict(report), "pruned": asdict(pruned)})
        return
    say(
        f"new in the lake: {report.decisions:,} decisions, {report.outcomes:,} outcomes, "
        f"{report.lines:,} purchase lines; {report.refused:,} refused"
    )
    for reason in report.reasons:
        say(f"  refused: {reason}")
    say(
        f"gone from the database: {pruned.decisions:,} decisions that the lake has held for "
        f"{days} days"
    )
    if pruned.missing:
        say(
            f"  {pruned.missing:,} old ones stay there, for the lake does not hold them; look into "
            "its quarantine"
        )
