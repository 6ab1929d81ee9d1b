"""A/B tests."""

from pathlib import Path
from typing import Annotated

import typer

from regulars.commands.house import administered, open_house, progress_shown
from regulars.commands.options import Json
from regulars.commands.telling import print_json, say

experiment = typer.Typer(help="A/B tests: start, stop, list, report.")


@experiment.command("start")
def experiment_start(
    design: Annotated[Path, typer.Argument(help="YAML: key, control, variants.")],
    as_json: Json = False,
) -> None:
    """Start an experiment; its design is fixed from now on."""
    from adapters.source_files import read_yaml
    from experiments.design import read_design
    from regulars.jobs.experiment import start_experiment

    house = open_house()
    wanted = read_design(read_yaml(design, "experiment"))
    with administered(house) as admin:
        stored = start_experiment(admin, wanted, house.clock.now())
    if as_json:
        print_json({"key": wanted.key, "started_at": stored.started_at})
        return
    say(f"experiment {wanted.key} runs since {stored.started_at:%Y-%m-%d %H:%M} UTC")


@experiment.command("stop")
def experiment_stop(
    key: Annotated[str, typer.Argument(help="Which experiment.")], as_json: Json = False
) -> None:
    """Stop an experiment; nobody is assigned any more."""
    house = open_house()
    with administered(house) as admin:
        stored = admin.stop_experiment(key, house.clock.now())
    if as_json:
        print_json({"key": key, "stopped_at": stored.stopped_at})
        return
    say(f"experiment {key} is stopped")


@experiment.command("list")
def experiment_list(as_json: Json = False) -> None:
    """List all experiments, the newest first."""
    house = open_house()
    with administered(house) as admin:
        stored = admin.experiments()
    if as_json:
        rows = [
            {
                "key": one.design.key,
                "variants": [variant.name for variant in one.design.variants],
                "started_at": one.started_at,
                "stopped_at": one.stopped_at,
            }
            for one in stored
        ]
        print_json({"experiments": rows})
        return
    if not stored:
        say("no experiment yet; start one with 'regulars experiment start FILE'")
    for one in stored:
        state = "running" if one.stopped_at is None else f"stopped {one.stopped_at:%Y-%m-%d}"
        say(f"{one.design.key}: {', '.join(v.name for v in one.design.variants)}; {state}")


@experiment.command("report")
def experiment_report(
    key: Annotated[str, typer.Argument(help="Which experiment.")], as_json: Json = False
) -> None:
    """Bring the newest outcomes in and say what an experiment earned."""
    import msgspec

    from experiments.report import summary_lines
    from regulars.assumptions import statements
    from regulars.jobs.ingest import ingest as bring_in
    from regulars.jobs.report import experiment_report as job
    from regulars.locks import only_one

    house, progress = open_house(), progress_shown()
    with administered(house) as admin:
        stored = admin.experiment(key)
        with only_one(house.settings.lock_folder, "ingest"):
            bring_in(house.lake, admin, house.clock, house.settings.time_zone, progress)
    report = job(house.lake, stored.design, stored.stopped_at or house.clock.now())
    assumed = statements(house.lake)
    if as_json:
        print_json({**msgspec.to_builtins(report), "assumptions": assumed})
        return
    for line in summary_lines(report, house.settings.currency.show):
        say(line)
    for statement in assumed:
        say(f"assumed: {statement}")
