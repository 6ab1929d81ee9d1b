"""The command line: each command prints what it did, or with --json one object.

Bad input ends with exit code 2 and one clear line.
"""

import os
import signal
import sys
import warnings
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import typer

from foundation.errors import RegularsError
from regulars.commands.audit import audit
from regulars.commands.benchmark import benchmark
from regulars.commands.demo import demo
from regulars.commands.experiment import experiment
from regulars.commands.ingest import ingest
from regulars.commands.key import key
from regulars.commands.load import load
from regulars.commands.models import models
from regulars.commands.monitor import monitor
from regulars.commands.plan import plan
from regulars.commands.policy import policy
from regulars.commands.promote import promote
from regulars.commands.rollback import rollback
from regulars.commands.segment import segment
from regulars.commands.segments import segments
from regulars.commands.serve import serve
from regulars.commands.shadow import shadow
from regulars.commands.simulate import simulate
from regulars.commands.sleepers import sleepers
from regulars.commands.telling import say_error
from regulars.commands.train import train
from regulars.commands.user import user

app = typer.Typer(
    name="regulars",
    help="Turn customers into regulars: segments, offers, experiments.",
    pretty_exceptions_enable=False,
)
for command in (demo, load, segment, sleepers, serve, ingest, simulate, audit):
    app.command()(command)
for command in (train, models, shadow, promote, rollback, monitor, plan):
    app.command()(command)
# A benchmark reads its own options.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(benchmark)
app.add_typer(experiment, name="experiment")
app.add_typer(key, name="key")
app.add_typer(user, name="user")
app.add_typer(policy, name="policy")
app.add_typer(segments, name="segments")


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    _end_orderly()
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, prog_name="regulars", standalone_mode=False)
    except RegularsError as error:
        sys.exit(_refused(str(error)))
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = "regulars" if context is None else context.command_path
        told = error.format_message().rstrip(".")
        sys.exit(_refused(f"{told}; see '{command} --help'"))
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


def _refused(told: str) -> int:
    say_error(told)
    return 2
