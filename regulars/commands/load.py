"""Load a source into the lake."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from foundation.errors import RegularsError
from regulars.commands.house import open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say


def load(
    source: Annotated[str, typer.Argument(help="A CSV or Parquet file, or completejourney.")],
    mapping: Annotated[Path | None, typer.Option(help="YAML: which column means what.")] = None,
    shift: Annotated[
        bool, typer.Option(help="Move completejourney by whole weeks to end yesterday.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Load purchases, customers, offers or events into the lake, validated row by row."""
    from adapters.complete_journey import SOURCE, read_complete_journey, weeks_to_yesterday
    from adapters.source_files import open_mapping, read_source
    from regulars.assumptions import assumed
    from regulars.jobs.load import load as job
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    if source == SOURCE:
        weeks = weeks_to_yesterday(house.clock.now()) if shift else 0
        known = assumed(house.lake, "shift_weeks", None)
        if known is not None and known != weeks:
            raise RegularsError(
                f"completejourney stands in this lake {known} weeks later than it was, this load "
                f"would move it by {weeks}; keep it, or load into another REGULARS_HOME"
            )
        chunks = read_complete_journey(weeks)
    elif mapping is None and not Path(source).exists():
        raise RegularsError(
            f"source {source} does not exist; name a CSV or Parquet file, or {SOURCE!r}"
        )
    elif mapping is None:
        raise RegularsError(f"source {source} needs --mapping FILE, which says what each column is")
    else:
        chunks = read_source(Path(source), open_mapping(mapping), house.settings.time_zone)
    with only_one(house.settings.lock_folder, "load"):
        report = job(house.lake, chunks, house.clock, progress)
    if as_json:
        print_json(asdict(report))
        return
    for name, counts in report.tables.items():
        say(
            f"{name}: {counts.read:,} read, {counts.new:,} new, {counts.repeated:,} known, "
            f"{counts.replaced:,} replaced, {counts.quarantined:,} quarantined"
        )
    for example in report.examples:
        say(f"  quarantined: {example}")
