"""The command line: each command prints what it did, or with --json one object.

Bad input ends with exit code 2 and one clear line.
"""

import os
import signal
import sys
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import typer
from rich.console import Console
from rich.table import Table

from foundation.access import SCOPES
from foundation.errors import RegularsError
from foundation.settings import load_settings

# The heavy libraries load inside the commands, so that --help answers at once.
app = typer.Typer(
    name="regulars",
    help="Turn customers into regulars: segments, offers, experiments.",
    pretty_exceptions_enable=False,
)
experiment = typer.Typer(help="A/B tests: start, stop, list, report.")
app.add_typer(experiment, name="experiment")
segments = typer.Typer(
    help="Living segments: list, save, preview, history, export, movement, lookalikes."
)
app.add_typer(segments, name="segments")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Port = Annotated[
    int,
    typer.Option(min=1, max=65534, help="Port of the API; the console takes the next one."),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", help="Write FILE.csv or FILE.parquet instead.")
]
Seed = Annotated[int, typer.Option(min=0, help="Chance of the simulated shoppers.")]
out = Console()
beside = Console(stderr=True)


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    _end_orderly()
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, prog_name="regulars", standalone_mode=False)
    except RegularsError as error:
        sys.exit(_refuse(str(error)))
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = "regulars" if context is None else context.command_path
        told = error.format_message().rstrip(".")
        sys.exit(_refuse(f"{told}; see '{command} --help'"))
    except typer.Abort:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


def _end_orderly() -> None:
    """On SIGTERM (a supervisor) or SIGHUP (a closed terminal) unwind, so that children stop."""

    def end(number: int, _frame: Any) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    # Under nohup it is ignored on purpose.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, end)


def _refuse(told: str) -> int:
    line = "; ".join(told.split("\n"))
    beside.print(f"regulars: {line}", style="red", highlight=False, markup=False, soft_wrap=True)
    return 2


def _house() -> Any:
    from regulars.wiring import House, quiet_logs

    quiet_logs()
    return House(load_settings())


def _progress() -> Any:
    from regulars.progress import Progress

    return Progress()


def _print_json(answer: Any) -> None:
    import msgspec

    # What is no JSON (NaN) becomes null, and a NumPy number a number.
    plain = msgspec.json.encode(
        answer, enc_hook=lambda v: v.item() if hasattr(v, "item") else str(v)
    )
    print(plain.decode())


@app.command()
def demo(
    serve: Annotated[bool, typer.Option(help="Leave the service up at the end.")] = True,
    port: Port = 8000,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """The whole loop on real data: load, segment, train, serve, experiment, report."""
    from regulars.jobs import demo as job
    from regulars.locks import only_one
    from regulars.serve import running

    house, progress = _house(), _progress()
    with ExitStack() as stack:
        stack.enter_context(only_one(house.settings.lock_folder, "demo"))
        url = stack.enter_context(house.database())
        admin = stack.enter_context(house.admin(url))
        prepared = job.prepare(house, admin, progress)
        with progress.step("serve") as step:
            up = stack.enter_context(running(house, url, port, 1, console=serve))
            step.show(up.url)
        result = job.run(house, admin, up.url, prepared, seed, progress)
        if as_json:
            _print_json(result.figures())
        else:
            _show_sizes("Segments by recency, frequency and money", result.segments.rfm)
            for line in result.told(house.settings.currency):
                _say(line)
        if serve:
            # Beside a JSON answer these lines would make it unreadable.
            told = beside if as_json else out
            _say(f"The service is up. Console: {up.console_url}   API: {up.url}/docs", told)
            _say(f"API key: {admin.make_key('demo', SCOPES)}   (Ctrl-C stops everything)", told)
            _watch(up, told)


@app.command()
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

    house, progress = _house(), _progress()
    if source == SOURCE:
        weeks = weeks_to_yesterday(house.clock.now()) if shift else 0
        known = assumed(house.lake, "shift_weeks", None)
        if known is not None and known != weeks:
            raise RegularsError(
                f"completejourney stands in this lake {known} weeks later than it was, this load "
                f"would move it by {weeks}; keep it, or load into another REGULARS_HOME"
            )
        chunks = read_complete_journey(weeks)
    elif mapping is None:
        raise RegularsError(f"source {source} needs --mapping FILE, which says what each column is")
    else:
        chunks = read_source(Path(source), open_mapping(mapping), house.settings.time_zone)
    with only_one(house.settings.lock_folder, "load"):
        report = job(house.lake, chunks, house.clock, progress)
    if as_json:
        _print_json(asdict(report))
        return
    for name, counts in report.tables.items():
        _say(
            f"{name}: {counts.read:,} read, {counts.new:,} new, {counts.repeated:,} known, "
            f"{counts.replaced:,} replaced, {counts.quarantined:,} quarantined"
        )
    for example in report.examples:
        _say(f"  quarantined: {example}")


@app.command()
def segment(
    as_of: Annotated[
        datetime | None, typer.Option(help="Knowledge up to this local time; now by default.")
    ] = None,
    refit_clusters: Annotated[
        bool, typer.Option("--refit-clusters", help="Fit clusters anew, before it is due.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute features and segments, and publish the snapshot that the service reads."""
    from regulars.jobs.segment import Champions
    from regulars.jobs.segment import segment as job
    from regulars.locks import only_one

    house, progress = _house(), _progress()
    made_at = house.clock.now()
    instant = _past(house, as_of, made_at)
    with ExitStack() as stack:
        stack.enter_context(only_one(house.settings.lock_folder, "segment"))
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        report = job(
            house.lake,
            house.publish_snapshot,
            admin,
            house.settings,
            instant,
            progress,
            Champions(house.value_models, house.churn) if house.has_trained else Champions(),
            made_at,
            refit_clusters=refit_clusters,
        )
    if as_json:
        _print_json(asdict(report))
        return
    _show_sizes("Recency, frequency and money", report.rfm)
    _show_sizes("Lifecycle", report.lifecycle)
    if report.without_season:
        _say(report.without_season)
    if report.transitions:
        _show_transitions(report.transitions)
    _show_sizes("Behaviour", report.cluster)
    for name, size in report.living.items():
        _say(f"segment {name}: {size:,} customers")
    for name, reason in report.refused.items():
        _say(f"segment {name} was not refreshed: {reason}")
    if report.unclustered:
        _say(report.unclustered)
    for reason in (report.unvalued, report.unforecast):
        if reason:
            _say(reason)
    if report.value:
        _show_value(report.value, house.settings.currency.show)
    if report.churn:
        _show_churn(report.churn, house.settings.currency)
    if report.clusters:
        why = f", anew: {report.refitted}" if report.refitted else ""
        _say(f"clusters fitted {report.clusters.fitted_at:%Y-%m-%d}{why}")
        for line in report.clusters.model.told():
            _say(line)
    _say(f"snapshot {report.snapshot.version} is live with {report.customers:,} customers")
    if as_of is not None:
        _say(f"the service now knows nothing after {as_of:%Y-%m-%d %H:%M}; run it again without it")


@app.command()
def sleepers(
    since: Annotated[
        str | None, typer.Option(help="Run they slept at; the newest whose days are over.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long a return is waited for.")] = 30,
    as_json: Json = False,
) -> None:
    """Say how many dormant and lost customers came back, beside a holdout's natural return."""
    from regulars.jobs.sleepers import sleepers as job

    house = _house()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        report = job(house.lake, admin.experiments(), since, days, house.clock.now())
    if as_json:
        _print_json(asdict(report))
        return
    _say(f"sleeping at run {report.run_id}, back until {report.until:%Y-%m-%d %H:%M} UTC:")
    currency = house.settings.currency
    for name, group in {"all": report.all, **report.by_state}.items():
        _say(_returned(name, group, currency))
    for holdout in report.holdouts:
        _say(f"experiment {holdout.experiment}:")
        found = holdout.comparison
        if found is None:
            _say(f"  no comparison: {holdout.refused}")
            continue
        _say(_returned("offered", found.offered, currency))
        _say(_returned("held out", found.held_out, currency))
        rate = found.rate_difference
        told = f"{rate.value:+.1%} [{rate.low:+.1%}, {rate.high:+.1%}] came back"
        if found.spend_difference:
            told += f", spend {_money(found.spend_difference, currency)}"
        _say(f"  difference: {told}")
        for line in (found.refused, holdout.beware):
            if line:
                _say(f"  {line}")
    if report.natural:
        _say(report.natural)


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Which model: response, clv or churn.")] = "response",
    test_from: Annotated[
        datetime | None, typer.Option(help="First day held out; the latest quarter by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model beside its baseline, evaluate both on later days, register the better one."""
    from regulars.jobs.train import train as job
    from regulars.locks import only_one

    _known(model, "response", "clv", "churn")
    if test_from is not None and model != "response":
        raise RegularsError(f"--test-from is for the response model; train {model} without it")
    if model == "clv":
        _train_clv(as_json)
        return
    if model == "churn":
        _train_churn(as_json)
        return
    house, progress = _house(), _progress()
    split = None if test_from is None else test_from.replace(tzinfo=house.settings.zone)
    with only_one(house.settings.lock_folder, "train"):
        trained = job(house.lake, house.models, house.settings, progress, split)
    if trained.alias == "champion":
        with ExitStack() as stack:
            url = stack.enter_context(house.database())
            stack.enter_context(house.admin(url)).touch_catalogue()
    report = trained.report
    version = trained.versions[report.champion]
    if as_json:
        _print_json(
            {
                "model": f"response@{version}",
                "alias": trained.alias,
                "kind": report.champion,
                "auc": {k: asdict(v) for k, v in report.comparison.auc.items()},
                "gain_over_baseline": {k: asdict(v) for k, v in report.comparison.gain.items()},
                "calibration_error": {k: h.calibration_error for k, h in report.held_out.items()},
                "test_from": report.test_from,
                "rows_trained": report.rows_trained,
                "rows_held_out": report.rows_held_out,
                "rows_straddling": report.rows_straddling,
                "rows_censored": report.rows_censored,
                "rows_unanswerable": report.rows_unanswerable,
            }
        )
        return
    _say(f"trained on {report.rows_trained:,} exposures, {report.responses_trained:,} responses")
    _say(f"held out from {report.test_from:%Y-%m-%d}: {report.rows_held_out:,} exposures")
    _say(
        f"left out: {report.rows_straddling:,} straddle the split, "
        f"{report.rows_censored:,} are not over, {report.rows_unanswerable:,} had no offer to take"
    )
    for kind, held_out in report.held_out.items():
        area = report.comparison.auc[kind]
        _say(
            f"  {kind:<9} AUC {area.value:.3f} [{area.low:.3f}, {area.high:.3f}], "
            f"calibration error {held_out.calibration_error:.3f}"
        )
    _say(report.verdict())
    _say(f"registered: response@{version} is the {trained.alias}")


def _train_churn(as_json: bool) -> None:
    from regulars.jobs.train_churn import train_churn
    from regulars.locks import only_one

    house, progress = _house(), _progress()
    with only_one(house.settings.lock_folder, "train"):
        trained = train_churn(house.lake, house.churn, house.clock.now(), progress)
    report, name = trained.report, f"churn@{trained.version}"
    if as_json:
        _print_json(
            {
                "model": name,
                "alias": "champion" if trained.champion else None,
                "verdict": report.verdict(),
                "rows_trained": report.rows_trained,
                "held_out": report.pooled.figures(),
                "by_origin": {f"{at:%Y-%m-%d}": c.figures() for at, c in report.by_origin.items()},
            }
        )
        return
    _say(f"trained on {report.rows_trained:,} rows of active customers as of earlier origins")
    for told, held_out in (
        *((f"{at:%Y-%m-%d}", c) for at, c in report.by_origin.items()),
        ("together", report.pooled),
    ):
        figures = (
            f"{word} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
            for word, figure in (
                ("calibration error", held_out.ece),
                ("slope", held_out.slope),
                ("Brier skill", held_out.brier_skill),
                ("AUC", held_out.auc),
            )
        )
        _say(f"  {told}: {held_out.n:,} forecasts, {', '.join(figures)}")
    _say(report.verdict())
    _say(f"registered: {name}{' is the champion' if trained.champion else ', not the champion'}")


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="Which model.")] = "response",
    force: Annotated[bool, typer.Option(help="Promote also a worse one.")] = False,
    as_json: Json = False,
) -> None:
    """Make the challenger the champion, if it is at least as good; the service takes it over."""
    from regulars.jobs.train import promote as job

    _known(model, "response")
    house = _house()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        promoted = job(house.models, force=force)
        admin.touch_catalogue()
    champion = f"response@{promoted.version}"
    if as_json:
        _print_json({"champion": champion, "kind": promoted.kind})
        return
    _say(f"{champion} ({promoted.kind}) is the champion")


@app.command()
def serve(
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="API processes.")] = 1,
    console: Annotated[bool, typer.Option(help="Start the console beside the API.")] = True,
) -> None:
    """Start the API and the console, and keep them and the database alive."""
    from regulars.serve import running

    house = _house()
    with ExitStack() as stack:
        url = stack.enter_context(house.database())
        admin = stack.enter_context(house.admin(url))
        if not admin.has_keys():
            _say("first start: this API key is shown once and stored only as a hash")
            _say(f"API key: {admin.make_key('first start', SCOPES)}")
        up = stack.enter_context(running(house, url, port, workers, console=console))
        _say(f"API {up.url}/docs")
        if up.console_url:
            _say(f"console {up.console_url}")
        _watch(up, out)


@app.command()
def key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    as_json: Json = False,
) -> None:
    """Make an API key; it is printed once and stored only as a hash."""
    house = _house()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        made = admin.make_key(name, SCOPES)
    if as_json:
        _print_json({"name": name, "key": made, "scopes": SCOPES})
        return
    _say(f"API key: {made}")


@app.command()
def ingest(as_json: Json = False) -> None:
    """Bring decisions and outcomes from the service into the lake, each exactly once."""
    from regulars.jobs.ingest import ingest as job
    from regulars.locks import only_one

    house, progress = _house(), _progress()
    with ExitStack() as stack:
        stack.enter_context(only_one(house.settings.lock_folder, "ingest"))
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        report = job(house.lake, admin, house.clock, house.settings.time_zone, progress)
    if as_json:
        _print_json(asdict(report))
        return
    _say(
        f"new in the lake: {report.decisions:,} decisions, {report.outcomes:,} outcomes, "
        f"{report.lines:,} purchase lines; {report.refused:,} refused"
    )
    for reason in report.reasons:
        _say(f"  refused: {reason}")


@app.command()
def simulate(
    url: Annotated[str, typer.Option(help="The running service.")] = "http://127.0.0.1:8000",
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Send shoppers of known true response to the running service; print report and truth."""
    from regulars.jobs.measure import simulate_experiment

    house, progress = _house(), _progress()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        result = simulate_experiment(house, admin, url, seed, progress)
    if as_json:
        _print_json(result.figures())
        return
    for line in result.told(house.settings.currency):
        _say(line)


@experiment.command("start")
def experiment_start(
    design: Annotated[Path, typer.Argument(help="YAML: key, control, variants.")],
    as_json: Json = False,
) -> None:
    """Start an experiment; its design is fixed from now on."""
    from adapters.source_files import read_yaml
    from experiments.design import read_design
    from regulars.jobs.experiment import start_experiment

    house = _house()
    wanted = read_design(read_yaml(design, "experiment"))
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        stored = start_experiment(admin, wanted, house.clock.now())
    if as_json:
        _print_json({"key": wanted.key, "started_at": stored.started_at})
        return
    _say(f"experiment {wanted.key} runs since {stored.started_at:%Y-%m-%d %H:%M} UTC")


@experiment.command("stop")
def experiment_stop(
    key: Annotated[str, typer.Argument(help="Which experiment.")], as_json: Json = False
) -> None:
    """Stop an experiment; nobody is assigned any more."""
    house = _house()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        stored = admin.stop_experiment(key, house.clock.now())
    if as_json:
        _print_json({"key": key, "stopped_at": stored.stopped_at})
        return
    _say(f"experiment {key} is stopped")


@experiment.command("list")
def experiment_list(as_json: Json = False) -> None:
    """List all experiments, the newest first."""
    house = _house()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        stored = admin.experiments()
    rows = [
        {
            "key": s.design.key,
            "variants": [v.name for v in s.design.variants],
            "started_at": s.started_at,
            "stopped_at": s.stopped_at,
        }
        for s in stored
    ]
    if as_json:
        _print_json({"experiments": rows})
        return
    if not rows:
        _say("no experiment yet; start one with 'regulars experiment start FILE'")
    for row in rows:
        state = "running" if row["stopped_at"] is None else f"stopped {row['stopped_at']:%Y-%m-%d}"
        _say(f"{row['key']}: {', '.join(row['variants'])}; {state}")


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

    house, progress = _house(), _progress()
    with ExitStack() as stack:
        admin = stack.enter_context(house.admin(stack.enter_context(house.database())))
        stored = admin.experiment(key)
        with only_one(house.settings.lock_folder, "ingest"):
            bring_in(house.lake, admin, house.clock, house.settings.time_zone, progress)
    report = job(house.lake, stored.design, stored.stopped_at or house.clock.now())
    assumed = statements(house.lake)
    if as_json:
        _print_json({**msgspec.to_builtins(report), "assumptions": assumed})
        return
    for line in summary_lines(report, house.settings.currency.show):
        _say(line)
    for statement in assumed:
        _say(f"assumed: {statement}")


@segments.command("list")
def segments_list(as_json: Json = False) -> None:
    """List living segments: newest version, status and rule."""
    from regulars.jobs.living_segments import definitions

    newest = {name: versions[-1] for name, versions in definitions(_house().lake).items()}
    if as_json:
        _print_json({"segments": [asdict(one) for one in newest.values()]})
        return
    if not newest:
        _say("no living segment yet; save one with 'regulars segments save FILE'")
    for name, one in newest.items():
        _say(f"{name} v{one.version} ({one.draft.status}): {one.draft.name}")


@segments.command("save")
def segments_save(
    file: Annotated[Path, typer.Argument(help="YAML: id, name, rule, author, note, status.")],
    as_json: Json = False,
) -> None:
    """Keep a segment as its next version; 'regulars segment' refreshes it from now on."""
    from adapters.source_files import read_yaml
    from regulars.jobs.customers import registry
    from regulars.jobs.living_segments import save
    from segmentation.living import read_draft

    house = _house()
    features = [feature.name for feature in registry(house.lake)]
    draft = read_draft(read_yaml(file, "segment"))
    saved = save(house.lake, draft, features, house.clock.now())
    if as_json:
        _print_json(asdict(saved))
        return
    _say(f"segment {draft.segment_id} v{saved.version} is saved; the next run refreshes it")


@segments.command("preview")
def segments_preview(
    file: Annotated[Path, typer.Argument(help="YAML of a segment, saved or not.")],
    as_json: Json = False,
) -> None:
    """Say whom a segment would hold, as of the newest run, without saving it."""
    from adapters.source_files import read_yaml
    from regulars.jobs.preview import Preview
    from segmentation.living import read_draft

    house = _house()
    draft = read_draft(read_yaml(file, "segment"))
    report = Preview(house.lake).show(draft.rule)
    if as_json:
        _print_json(asdict(report))
        return
    _say(f"{draft.name}: {report.sentence}")
    share = "" if report.value_share is None else f", {report.value_share:.1%} of all"
    _say(
        f"{report.customers:,} of {report.of:,} customers as of {report.as_of:%Y-%m-%d %H:%M} UTC; "
        f"they spent {house.settings.currency.show(report.value)} in 365 days{share}"
    )
    for overlap in report.overlaps:
        _say(f"  {overlap.both:,} are also among the {overlap.customers:,} of {overlap.segment_id}")
    for distinction in report.distinctions:
        _say(f"  {distinction.sentence} ({distinction.difference:+.2f} standard deviations)")
    _say(f"  for example {', '.join(report.sample) or 'nobody'}")


@segments.command("history")
def segments_history(
    segment_id: Annotated[str, typer.Argument(metavar="ID", help="Which segment.")],
    as_json: Json = False,
) -> None:
    """List a segment's versions: who changed what, when and why."""
    import json

    from regulars.jobs.living_segments import history

    versions = history(_house().lake, segment_id)
    if as_json:
        _print_json({"versions": [asdict(version) for version in versions]})
        return
    for one in versions:
        note = f": {one.draft.note}" if one.draft.note else ""
        _say(f"v{one.version}, {one.at:%Y-%m-%d %H:%M} UTC, {one.draft.author}{note}")
        _say(f"  {one.draft.name} ({one.draft.status}): {json.dumps(one.draft.rule)}")


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
    house = _house()
    instant = _past(house, as_of, house.clock.now())
    if recompute:
        found = membership_recomputed(house.lake, house.settings, segment_id, instant)
    else:
        found = membership_known_at(house.lake, segment_id, instant)
    if file is not None:
        write_export(file, found.table())
    if as_json:
        _print_json(asdict(found))
        return
    beside.print(
        f"{len(found.members):,} members of {segment_id} v{found.version} as of {found.as_of}",
        highlight=False,
        markup=False,
    )
    if file is not None:
        _say(f"written to {file}")
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
    house, progress = _house(), _progress()
    report = find_lookalikes(house.lake, segment_id, size, house.clock.now(), progress)
    if file is not None:
        write_export(file, report.table())
    if as_json:
        _print_json(asdict(report))
        return
    found = report.found
    _say(
        f"{found.members:,} members of {segment_id} and {found.others:,} others as of "
        f"{report.as_of:%Y-%m-%d %H:%M} UTC",
        beside,
    )
    for model, told in found.held_out.items():
        _say(
            f"  {model:<7} held-out lift {told.lift.value:.2f} [{told.lift.low:.2f}, "
            f"{told.lift.high:.2f}] in the top {found.top:.1%}, AUC {told.auc.value:.3f} "
            f"[{told.auc.low:.3f}, {told.auc.high:.3f}]",
            beside,
        )
    _say(found.verdict, beside)
    _say(f"left out, as the rule asks for them: {', '.join(found.left_out) or 'nothing'}", beside)
    if file is not None:
        _say(f"{len(found.ranked):,} look-alikes are written to {file}")
        return
    for one in found.ranked:
        print(f"{one.customer_id}\t{one.score:.4f}")


@segments.command("movement")
def segments_movement(as_json: Json = False) -> None:
    """Compare the two newest runs: drift, migration, and the overlap of living segments."""
    from regulars.jobs.movement import movement

    report = movement(_house().lake)
    if as_json:
        _print_json(asdict(report))
        return
    _say(f"from run {report.before} to run {report.now}")
    for name, reason in report.refused.items():
        _say(f"{name}: {reason}")
    for name, found in report.drift.items():
        verdict = "drifted" if found.drifted else "no more than chance"
        _say(f"{name}: stability index {found.index:.4f}, chance {found.chance:.4f}: {verdict}")
    for name, flows in report.migration.items():
        for flow in flows:
            if flow.before != flow.now:
                _say(
                    f"  {name}: {flow.before} to {flow.now}: {flow.customers:,} customers, "
                    f"{flow.share:.1%} [{flow.low:.1%}, {flow.high:.1%}]"
                )
    for one, others in report.overlap.items():
        both = ", ".join(f"{count:,} in {other}" for other, count in others.items() if other != one)
        _say(f"segment {one}: {others[one]:,} customers{f'; {both}' if both else ''}")


def _past(house: Any, as_of: datetime | None, now: datetime) -> datetime:
    if as_of is None:
        return now
    instant = as_of.replace(tzinfo=as_of.tzinfo or house.settings.zone).astimezone(UTC)
    if instant > now:
        raise RegularsError(
            f"--as-of {as_of:%Y-%m-%d %H:%M} lies in the future, where nothing is known yet; "
            "name a past time, or leave it out for now"
        )
    return instant


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def benchmark(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which benchmark.")],
) -> None:
    """Measure one of the README's numbers; further options are the benchmark's own."""
    from benchmarks.run import run

    sys.exit(run(name, context.args))


def _train_clv(as_json: bool) -> None:
    from regulars.jobs.train_clv import train_clv
    from regulars.locks import only_one

    house, progress = _house(), _progress()
    with only_one(house.settings.lock_folder, "train"):
        trained = train_clv(house.lake, house.value_models, house.clock.now(), progress)
    champion, report = trained.champion, trained.report
    if as_json:
        _print_json(
            {
                "model": champion.name,
                "kind": champion.kind,
                "kept_because": trained.kept_because,
                "metrics": champion.metrics,
                "inner_scores": report.choice.scores if report else None,
                "errors": {k: asdict(e) for k, e in report.errors.items()} if report else None,
                "refused": report.refused if report else None,
            }
        )
        return
    if report is None:
        _say(f"not converged: {trained.kept_because}")
        _say(f"{champion.name} ({champion.kind}) stays the champion")
        return
    for name, error in report.errors.items():
        _say(
            f"  {name:<10} inner score {report.choice.scores.get(name, float('nan')):.3f}; on the "
            f"last {report.weeks_held_out:.0f} weeks MAE {error.mae.value:.3f} "
            f"[{error.mae.low:.3f}, {error.mae.high:.3f}], RMSE {error.rmse.value:.3f}, "
            f"bias {error.bias.value:+.1%} [{error.bias.low:+.1%}, {error.bias.high:+.1%}]"
        )
    for name, reason in report.refused.items():
        _say(f"  {name:<10} refused: {reason}")
    _say(report.verdict())
    _say(
        f"80 % intervals held {report.coverage.value:.1%} "
        f"[{report.coverage.low:.1%}, {report.coverage.high:.1%}]; net sales "
        f"{report.money.bias.value:+.1%} [{report.money.bias.low:+.1%}, "
        f"{report.money.bias.high:+.1%}]"
    )
    _say(f"registered: {champion.name} is the champion")


def _show_value(value: dict[str, Any], show: Any) -> None:
    for segmentation, groups in value["groups"].items():
        title = f"Value by {segmentation}: {value['assumption']}"
        table = Table("group", "customers", "value", "80 % interval", title=title)
        for name, group in groups.items():
            told = "unknown" if group["value"] is None else show(group["value"])
            table.add_row(
                name,
                f"{group['customers']:,}",
                told,
                f"{show(group['low'])} to {show(group['high'])}",
            )
        out.print(table)
    errors = value["errors"]
    _say(
        f"valued by {value['model']} ({value['kind']}), whose net sales were off by "
        f"{errors['money_bias']:+.1%} [{errors['money_bias_low']:+.1%}, "
        f"{errors['money_bias_high']:+.1%}] on days it never saw"
    )


def _known(model: str, *names: str) -> None:
    if model not in names:
        raise RegularsError(f"model {model!r} does not exist; choose one of {', '.join(names)}")


def _watch(up: Any, told: Console) -> None:
    try:
        up.watch()
    except (KeyboardInterrupt, SystemExit):
        # Told to stop is what a service ends with when all is well.
        _say("stopping", told)


def _say(line: str, told: Console = out) -> None:
    told.print(line, highlight=False, markup=False, soft_wrap=True)


def _show_churn(churn: Any, currency: Any) -> None:
    _say(
        f"{churn.model}: {churn.expected:,.0f} of {churn.customers:,} active customers are "
        f"expected not to buy within {churn.days} days"
    )
    table = Table("segment", "customers", "at risk", "95 % of chance", title="Value at risk")
    for name, row in churn.at_risk.items():
        bounds = f"{currency.show(round(row['low']))} to {currency.show(round(row['high']))}"
        at_risk = currency.show(round(row["at_risk"]))
        table.add_row(name, f"{row['customers']:,.0f}", at_risk, bounds)
    out.print(table)
    _say(f"assumed: {churn.assumed}")


def _returned(name: str, group: Any, currency: Any) -> str:
    rate = group.rate
    line = (
        f"  {name}: {group.returned:,} of {group.sleeping:,} came back, {rate.value:.1%} "
        f"[{rate.low:.1%}, {rate.high:.1%}]"
    )
    if group.spend:
        return f"{line}, spend a sleeper {_money(group.spend, currency)}"
    return f"{line}; {group.refused}"


def _money(bounds: Any, currency: Any) -> str:
    value, low, high = (currency.show(x) for x in (bounds.value, bounds.low, bounds.high))
    return f"{value} [{low}, {high}]"


def _show_transitions(transitions: Any) -> None:
    title = f"Lifecycle since run {transitions.before}"
    table = Table("from", "to", "customers", "share", "95 %", title=title, title_justify="left")
    for flow in transitions.flows:
        bounds = f"{flow.low:.1%} to {flow.high:.1%}"
        table.add_row(flow.before, flow.now, f"{flow.customers:,}", f"{flow.share:.1%}", bounds)
    out.print(table)


def _show_sizes(title: str, sizes: dict[str, int]) -> None:
    table = Table("group", "customers", "share", title=title, title_justify="left")
    total = sum(sizes.values())
    for name, size in sizes.items():
        table.add_row(name, f"{size:,}", f"{size / total:.1%}")
    out.print(table)
