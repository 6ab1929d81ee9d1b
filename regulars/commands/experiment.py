"""A/B tests."""

from pathlib import Path
from typing import Annotated

import typer

from regulars.commands.experiment_power import experiment_power
from regulars.commands.experiment_report import experiment_overview, experiment_report
from regulars.commands.house import administered, open_house
from regulars.commands.options import Json, shares
from regulars.commands.telling import print_json, say

experiment = typer.Typer(
    help="A/B tests: power, start, ramp up, stop, list, report, overview, analyse a file, holdout."
)
experiment.command("power")(experiment_power)
experiment.command("report")(experiment_report)
experiment.command("overview")(experiment_overview)


@experiment.command("start")
def experiment_start(
    design: Annotated[Path, typer.Argument(help="YAML: key, control, variants.")],
    as_json: Json = False,
) -> None:
    """Start an experiment; its design is fixed from now on."""
    from adapters.policy_file import with_policies
    from adapters.source_files import read_yaml
    from experiments.design import read_design
    from regulars.jobs.experiment import start_experiment, waits_for
    from regulars.jobs.follow_up import with_follow_up
    from regulars.jobs.ranking_models import check_models
    from regulars.jobs.simulated import without_simulated

    house = open_house()
    document = with_policies(read_yaml(design, "experiment"), design.parent)
    now = house.clock.now()
    wanted, counted = with_follow_up(without_simulated(house.lake), read_design(document), now)
    facts = house.profiles().facts()
    vocabulary = None if facts is None else facts.vocabulary
    check_models(house, wanted)
    with administered(house) as admin:
        stored = start_experiment(admin, wanted, now, vocabulary)
    waits = None if vocabulary is None else waits_for(wanted, vocabulary)
    if as_json:
        answer = {"key": wanted.key, "started_at": stored.started_at}
        answer |= {"plan": stored.content_hash, "follow_up_days": wanted.follow_up_days}
        print_json({**answer, "audience_waits": waits})
        return
    say(f"experiment {wanted.key} runs since {stored.started_at:%Y-%m-%d %H:%M} UTC")
    say(f"its plan is locked as {stored.content_hash}")
    if counted is not None:
        say(counted)
    if waits is not None:
        say(f"it assigns nobody before the next 'regulars segment': {waits}")


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


@experiment.command("ramp-up")
def experiment_ramp_up(
    key: Annotated[str, typer.Argument(help="Which experiment.")],
    exposure: Annotated[float, typer.Argument(help="Share that is in from now on, like 0.5.")],
    as_json: Json = False,
) -> None:
    """Let more into a running experiment; whoever is in keeps her variant."""
    house = open_house()
    with administered(house) as admin:
        stored = admin.ramp_up(key, exposure, house.clock.now())
    if as_json:
        print_json({"key": key, "exposure": stored.design.exposure})
        return
    say(f"experiment {key} now takes {stored.design.exposure:.4g} of its customers")


@experiment.command("holdout")
def experiment_holdout(
    share: Annotated[float, typer.Argument(help="Share of all customers, like 0.05.")],
    as_json: Json = False,
) -> None:
    """Hold customers out of every offer for good, to measure the whole programme. Set once."""
    from regulars.jobs.experiment import set_holdout

    house = open_house()
    with administered(house) as admin:
        stored = set_holdout(admin, share, house.clock.now())
    if as_json:
        print_json({"key": stored.design.key, "share": share, "started_at": stored.started_at})
        return
    say(f"{share:.4g} of all customers get no offer from {stored.started_at:%Y-%m-%d %H:%M} UTC on")
    say(f"read what the programme earns with 'regulars experiment report {stored.design.key}'")


@experiment.command("history")
def experiment_history(
    key: Annotated[str, typer.Argument(help="Which experiment.")], as_json: Json = False
) -> None:
    """Say who changed what, the oldest first."""
    import json
    from dataclasses import asdict

    house = open_house()
    with administered(house) as admin:
        entries = admin.history(key)
        stored = admin.experiment(key)
    if as_json:
        entries_told = [asdict(entry) for entry in entries]
        print_json({"key": key, "plan": stored.content_hash, "entries": entries_told})
        return
    say(f"experiment {key}, plan {stored.content_hash}")
    if not entries:
        say("no change is in the log: it began before the log did")
    for entry in entries:
        documents = [json.dumps(d) for d in (entry.before, entry.after) if d is not None]
        said = f": {' -> '.join(documents)}" if documents else ""
        say(f"{entry.at:%Y-%m-%d %H:%M} UTC, {entry.who}: {entry.action}{said}")


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


@experiment.command("analyse")
def experiment_analyse(
    data: Annotated[Path, typer.Option("--data", help="CSV or Parquet file, one row a unit.")],
    variant: Annotated[str, typer.Option("--variant", help="Column that says who got what.")],
    metric: Annotated[
        list[str],
        typer.Option(
            "--metric",
            help="COLUMN or COLUMN:KIND; mean, proportion, ratio, median, p90, winsorised99. "
            "Repeat it for more.",
        ),
    ],
    control: Annotated[str, typer.Option("--control", help="Variant to compare with.")],
    covariate: Annotated[
        str | None, typer.Option("--covariate", help="Column from before the experiment (CUPED).")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Column of what was assigned as a whole.")
    ] = None,
    denominator: Annotated[
        str | None, typer.Option("--denominator", help="Column that ratios divide by.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="Planned shares, like A=.5,B=.5.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", help="Column of who a row is (customer_id, if any).")
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option("--stratify", help="Column of groups from before, to post-stratify by."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the variants of any file with the code that reports on our own experiments."""
    import msgspec

    from experiments.analysis import analysis_lines
    from regulars.jobs.analyse import analyse_file

    planned = None if weights is None else shares(weights)
    analysis = analyse_file(
        data, variant, metric, control, covariate, denominator, cluster, unit, planned, stratify
    )
    if as_json:
        print_json(msgspec.to_builtins(analysis))
        return
    for line in analysis_lines(analysis):
        say(line)
