"""What is going on: a line and a bar for every step that a person waits for."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Step:
    """One running step: how far it is, and what it is at."""

    def __init__(self, bar: RichProgress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def show(self, text: str) -> None:
        self._bar.update(self._task, detail=text)

    def expect(self, total: int) -> None:
        self._bar.update(self._task, total=total, completed=0)

    def advance(self, by: int = 1) -> None:
        self._bar.advance(self._task, by)


class Progress:
    """Shows steps on standard error, so that standard output stays free for answers."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    @contextmanager
    def step(self, name: str) -> Generator[Step]:
        """Show one step while the block runs, and leave a line with its duration."""
        started = time.monotonic()
        bar = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            # Without a terminal the bar would leave blank lines; the closing line is enough.
            disable=not self.console.is_terminal,
        )
        with bar:
            task = bar.add_task(name, total=None, detail="")
            yield Step(bar, task)
            detail = str(bar.tasks[0].fields["detail"])
        seconds = time.monotonic() - started
        self.console.print(f"  {name:<12} {detail}  [dim]{seconds:.1f} s[/dim]", highlight=False)
