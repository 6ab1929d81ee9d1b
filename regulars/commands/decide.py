"""Decisions in a batch: what to send to whom, under the rules of the service."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foundation.errors import RegularsError
from regulars.commands.house import open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import beside, print_json, say

if TYPE_CHECKING:
    from regulars.jobs.decide import AskedBatch, BatchReport
    from regulars.progress import Progress
    from regulars.wiring import House
    from serving.messages import AskedPlacement

LONGEST_NAME, MOST_OFFERS = 200, 20


def decide(
    channel: Annotated[str, typer.Option(help="The channel that is sent through.")],
    placement: Annotated[
        list[str], typer.Option(help="Spot to fill and its most offers, like hero:3; repeatable.")
    ],
    out: Annotated[Path, typer.Option(help="FILE.csv or FILE.parquet, an offer a row.")],
    segment: Annotated[
        str | None, typer.Option(help="Only members of this living segment.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every customer.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Finish a batch that was interrupted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Decide for a whole segment: the service's rules, counters and records, into a file."""
    from adapters.export_files import check_export
    from foundation.contracts.tables import CHANNELS
    from regulars.jobs.decide import AskedBatch
    from regulars.locks import only_one

    if channel not in CHANNELS:
        raise RegularsError(
            f"--channel {channel!r} is no channel; choose one of {', '.join(CHANNELS)}"
        )
    if everybody == (segment is not None):
        raise RegularsError("name a segment with --segment NAME, or say --all; one of both")
    check_export(out)
    if out.exists() and not resume:
        raise RegularsError(
            f"--out {out} is there already, perhaps what a batch before has to send; move it, or "
            "name another file"
        )
    asked = AskedBatch(channel, segment, tuple(_placements(placement)))
    house, progress = open_house(), progress_shown()
    # Opening the database as a job brings its schema up to date.
    with (
        only_one(house.settings.lock_folder, "decide"),
        house.database() as url,
        house.admin(url),
    ):
        report = asyncio.run(_decided(house, url, asked, out, progress, resume=resume))
    if as_json:
        print_json(asdict(report))
        return
    for line in _told(report, out):
        say(line)
    for cause in report.causes:
        say(f"degraded: {cause}", beside)


async def _decided(
    house: "House",
    url: str,
    asked: "AskedBatch",
    out: Path,
    progress: "Progress",
    *,
    resume: bool,
) -> "BatchReport":
    from adapters.export_files import write_export
    from adapters.postgres_batches import PostgresBatches
    from adapters.postgres_journal import PostgresJournal
    from adapters.postgres_pool import PostgresPool
    from regulars.contacts import contact_policy
    from regulars.jobs.candidates import everyone
    from regulars.jobs.decide import decide_batch, sent_rows

    service, pool = house.service(url), PostgresPool(url, connections=2)
    batches = PostgresBatches(pool)
    await service.start()
    try:
        customers = _customers(house, asked.segment, everyone(house.lake))
        report = await decide_batch(
            service, batches, customers, asked, house.clock, progress, resume=resume
        )
        offers = service.live.required().catalogue.by_id
        rows = await sent_rows(
            report,
            batches,
            PostgresJournal(pool),
            {offer_id: offer.title for offer_id, offer in offers.items()},
            contact_policy(house.settings),
            progress,
        )
        write_export(out, rows)
        # Only now: who is killed before it finds the batch again, and writes the file anew.
        await batches.finish(report.batch_id, house.clock.now())
        return report
    finally:
        await service.stop()
        await pool.close()


def _customers(house: "House", segment: str | None, customers: list[str]) -> list[str]:
    from regulars.jobs.plan import required_snapshot

    profiles = house.profiles()
    required_snapshot(profiles, segment)
    if segment is None:
        return customers
    return [
        customer_id
        for customer_id in customers
        if (profile := profiles.get(customer_id)) is not None and segment in profile.segments
    ]


def _placements(asked: list[str]) -> "list[AskedPlacement]":
    from serving.messages import AskedPlacement

    found: dict[str, AskedPlacement] = {}
    for text in asked:
        name, _, number = text.rpartition(":")
        if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or not number.isdecimal():
            raise RegularsError(f"--placement {text!r} is no spot with its limit; write hero:3")
        if not 1 <= int(number) <= MOST_OFFERS:
            raise RegularsError(f"--placement {text!r}: a spot shows 1 to {MOST_OFFERS} offers")
        if name in found:
            raise RegularsError(f"--placement {text!r}: {name!r} is named twice; name it once")
        found[name] = AskedPlacement(name, int(number))
    return list(found.values())


def _told(report: "BatchReport", out: Path) -> list[str]:
    lines = [f"batch {report.batch_id}: {report.decided:,} of {report.customers:,} decided now"]
    if report.before:
        lines.append(f"{report.before:,} had been decided before it was resumed")
    lines += [f"  refused for {code}: {number:,}" for code, number in report.refused.items()]
    if report.withdrawn:
        lines.append(f"{report.withdrawn:,} refused the channel since; they are not in the file")
    lines.append(f"{report.reached:,} customers get {report.offers:,} offers: {out}")
    return lines
