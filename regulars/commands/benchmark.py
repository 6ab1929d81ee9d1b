"""Measure one of the README's numbers."""

import sys
from typing import Annotated

import typer


def benchmark(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which benchmark.")],
) -> None:
    """Measure one of the README's numbers; further options are the benchmark's own."""
    from benchmarks.run import run
    from regulars.wiring import quiet_logs

    # What is logged on the way must not stand in the answer.
    quiet_logs()
    sys.exit(run(name, context.args))
