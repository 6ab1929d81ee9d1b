"""Living segments."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from regulars.commands.house import open_house, progress_shown, real_shoppers
from regulars.commands.options import Json, OutFile, past
from regulars.commands.telling import beside, print_json, say

segments = typer.Typer(
    help="Living segments: list, names, save, preview, history, export, movement, lookalikes."
)


@segments.command("list")
def segments_list(as_json: Json = False) -> None:
    """List living segments: newest version, status and rule."""
    from regulars.jobs.living_segments import definitions, newest_sizes

    lake = open_house().lake
    newest = {name: versions[-1] for name, versions in definitions(lake).items()}
    sizes = newest_sizes(lake)
    if as_json:
        rows = [asdict(one) | {"customers": sizes.get(name)} for name, one in newest.items()]
        print_json({"segments": rows})
        return
    if not newest:
        say("no living segment yet; save one with 'regulars segments save FILE'")
    for name, one in newest.items():
        size = f"{sizes[name]:,} customers" if name in sizes else "not refreshed yet"
        say(f"{name} v{one.version} ({one.draft.status}): {one.draft.name}, {size}")


@segments.command("names")
def segments_names(as_json: Json = False) -> None:
    """List what rules may ask for here: features, groups, attributes, categories and so on."""
    from regulars.jobs.rule_names import rule_names

    names = rule_names(open_house().lake)
    if as_json:
        print_json(names)
        return
    for kind, values in names.items():
        say(f"{kind}: {', '.join(values) or 'none'}")


@segments.command("save")
def segments_save(
    file: Annotated[Path, typer.Argument(help="YAML: id, name, rule, author, note, status.")],
    as_json: Json = False,
) -> None:
    """Keep a segment as its next version; 'regulars segment' refreshes it from now on."""
    from adapters.source_files import read_yaml
    from regulars.jobs.customers import registry
    from regulars.jobs.living_segments import save
    from regulars.jobs.rule_names import strangers
    from segmentation.living import read_draft

    house = open_house()
    features = [feature.name for feature in registry(house.lake)]
    draft = read_draft(read_yaml(file, "segment"))
    saved = save(house.lake, draft, features, house.clock.now())
    if as_json:
        print_json(asdict(saved))
        return
    say(f"segment {draft.segment_id} v{saved.version} is saved; the next run refreshes it")
    for stranger in strangers(house.lake, draft.rule):
        say(f"beware: {stranger}")


@segments.command("preview")
def segments_preview(
    file: Annotated[Path, typer.Argument(help="YAML of a segment, saved or not.")],
    as_json: Json = False,
) -> None:
    """Say whom a segment would hold, as of the newest run, without saving it."""
    from adapters.source_files import read_yaml
    from regulars.jobs.preview import Preview
    from regulars.jobs.rule_names import strangers
    from segmentation.living import read_draft

    house = open_house()
    draft = read_draft(read_yaml(file, "segment"))
    report = Preview(real_shoppers(house), house.settings.currency).show(draft.rule)
    if as_json:
        print_json(asdict(report))
        return
    for stranger in strangers(house.lake, draft.rule):
        say(f"beware: {stranger}")
    say(f"{draft.name}: {report.sentence}")
    share = "" if report.value_share is None else f", {report.value_share:.1%} of all"
    say(
        f"{report.customers:,} of {report.of:,} customers as of {report.as_of:%Y-%m-%d %H:%M} UTC; "
        f"they spent {house.settings.currency.show(report.value)} in 365 days{share}"
    )
    for overlap in report.overlaps:
        say(f"  {overlap.both:,} are also among the {overlap.customers:,} of {overlap.segment_id}")
    for distinction in report.distinctions:
        told = distinction.sentence(house.settings.currency)
        say(f"  {told} ({distinction.difference:+.2f} standard deviations)")
    say(f"  for example {', '.join(report.sample) or 'nobody'}")


@segments.command("history")
def segments_history(
    segment_id: Annotated[str, typer.Argument(metavar="ID", help="Which segment.")],
    as_json: Json = False,
) -> None:
    """List a segment's versions: who changed what, when and why."""
    import json

    from regulars.jobs.living_segments import history

    versions = history(open_house().lake, segment_id)
    if as_json:
        print_json({"versions": [asdict(version) for version in versions]})
        return
    for one in versions:
        note = f": {one.draft.note}" if one.draft.note else ""
        say(f"v{one.version}, {one.at:%Y-%m-%d %H:%M} UTC, {one.draft.author}{note}")
        say(f"  {one.draft.name} ({one.draft.status}): {json.dumps(one.draft.rule)}")


@segments.command("export")
def segments_export(
    segment_id: Annotated[str, typer.Argument(metavar="ID", help="Which segment.")],
    as_of: Annotated[
        datetime | None, typer.Option(help="Members known at this local time; now by default.")
    ] = None,
    recompute: Annotated[
        bool, typer.Option(help="Evaluate as of then by all that is known today.")
    ] = False,
    file: OutFile = None,
    as_json: Json = False,
) -> None:
    """Print a segment's members as they were known at a time, one customer_id a line."""
    from adapters.export_files import check_export, write_export
    from regulars.jobs.membership import membership_known_at, membership_recomputed

    if file is not None:
        check_export(file)
    house = open_house()
    instant = past(house, as_of, house.clock.now())
    if recompute:
        found = membership_recomputed(real_shoppers(house), house.settings, segment_id, instant)
    else:
        found = membership_known_at(house.lake, segment_id, instant)
    if file is not None:
        write_export(file, found.table())
    if as_json:
        print_json(asdict(found))
        return
    beside.print(
        f"{len(found.members):,} members of {segment_id} v{found.version} as of {found.as_of}",
        highlight=False,
        markup=False,
    )
    if file is not None:
        say(f"written to {file}")
        return
    for customer_id in found.members:
        print(customer_id)


@segments.command("lookalikes")
def segments_lookalikes(
    segment_id: Annotated[
        str, typer.Argument(metavar="ID", help="A living segment, or a group like rfm=Champions.")
    ],
    size: Annotated[int, typer.Option(min=1, help="How many customers.")],
    file: OutFile = None,
    as_json: Json = False,
) -> None:
    """Print the customers most like a segment's newest members, with the lift on held-out ones."""
    from adapters.export_files import check_export, write_export
    from regulars.jobs.lookalikes import find_lookalikes

    if file is not None:
        check_export(file)
    house, progress = open_house(), progress_shown()
    report = find_lookalikes(real_shoppers(house), segment_id, size, house.clock.now(), progress)
    if file is not None:
        write_export(file, report.table())
    if as_json:
        print_json(asdict(report))
        return
    found = report.found
    say(
        f"{found.members:,} members of {segment_id} and {found.others:,} others as of "
        f"{report.as_of:%Y-%m-%d %H:%M} UTC",
        beside,
    )
    for model, told in found.held_out.items():
        say(
            f"  {model:<7} held-out lift {told.lift.value:.2f} [{told.lift.low:.2f}, "
            f"{told.lift.high:.2f}] in the top {found.top:.1%}, AUC {told.auc.value:.3f} "
            f"[{told.auc.low:.3f}, {told.auc.high:.3f}]",
            beside,
        )
    say(found.verdict, beside)
    say(f"left out, as the rule asks for them: {', '.join(found.left_out) or 'nothing'}", beside)
    if file is not None:
        say(f"{len(found.ranked):,} look-alikes are written to {file}")
        return
    for one in found.ranked:
        print(f"{one.customer_id}\t{one.score:.4f}")


@segments.command("movement")
def segments_movement(as_json: Json = False) -> None:
    """Compare the two newest runs: drift, migration, and the overlap of living segments."""
    from regulars.jobs.movement import movement

    report = movement(open_house().lake)
    if as_json:
        print_json(asdict(report))
        return
    say(f"from run {report.before} to run {report.now}")
    for name, reason in report.refused.items():
        say(f"{name}: {reason}")
    for name, found in report.drift.items():
        verdict = "drifted" if found.drifted else "no more than chance"
        say(f"{name}: stability index {found.index:.4f}, chance {found.chance:.4f}: {verdict}")
    for name, flows in report.migration.items():
        for flow in flows:
            if flow.before != flow.now:
                say(
                    f"  {name}: {flow.before} to {flow.now}: {flow.customers:,} customers, "
                    f"{flow.share:.1%} [{flow.low:.1%}, {flow.high:.1%}]"
                )
    for one, others in report.overlap.items():
        both = ", ".join(f"{count:,} in {other}" for other, count in others.items() if other != one)
        say(f"segment {one}: {others[one]:,} customers{f'; {both}' if both else ''}")
