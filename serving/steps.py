"""How long does each step of a decision take, and among how many offers does it choose?

Measuring every decision would cost a per cent of its time and tell nothing more: one in EVERY is
measured, in turn, so that a percentile of those is one of all. A decision that is traced is
measured, too, and its steps become spans.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import Histogram

from foundation.decision import DecisionRecord

# OpenTelemetry takes its time to import, and most deployments trace nothing.
if TYPE_CHECKING:
    from serving.tracing import Traces

EVERY = 16
# In the order they are taken; see docs/observability.md.
STEPS = ("profile", "state", "eligibility", "score", "slate", "answer", "record")

SECONDS = Histogram(
    "regulars_step_seconds",
    f"Time of a step of a decision; of one decision in {EVERY}",
    ["step"],
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1),
)
CANDIDATES = Histogram(
    "regulars_candidate_offers",
    f"Offers that were judged, and those that might be shown; of one decision in {EVERY}",
    ["kind"],
    buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200, 500),
)

Lap = Callable[[str], None]


def unwatched(step: str) -> None:
    """Take no time."""


class Stopwatch:
    """The steps of one decision, with the nanosecond at which each one ended."""

    __slots__ = ("_began", "_laps", "in_turn", "traced")

    def __init__(self, *, in_turn: bool, traced: bool) -> None:
        self.in_turn = in_turn
        self.traced = traced
        self._began = time.perf_counter_ns()
        self._laps: list[tuple[str, int]] = []

    def lap(self, step: str) -> None:
        """Say that a step has just ended, and the next one begins."""
        self._laps.append((step, time.perf_counter_ns()))

    def steps(self) -> list[tuple[str, int, int]]:
        """Return each step with its beginning and end."""
        found: list[tuple[str, int, int]] = []
        began = self._began
        for step, ended in self._laps:
            found.append((step, began, ended))
            began = ended
        return found


class Steps:
    """Hands out stopwatches and tells Prometheus and the trace what they showed."""

    def __init__(self, traces: "Traces | None") -> None:
        self._traces = traces
        self._turn = 0
        # Found once: looking a label up costs as much as the observation.
        self._seconds = {step: SECONDS.labels(step) for step in STEPS}
        self._judged, self._eligible = CANDIDATES.labels("judged"), CANDIDATES.labels("eligible")

    def watch(self) -> Stopwatch | None:
        """Return a stopwatch that runs, None for a decision that is not measured."""
        self._turn += 1
        in_turn = self._turn >= EVERY
        if in_turn:
            self._turn = 0
        traced = self._traces is not None and self._traces.recording()
        return Stopwatch(in_turn=in_turn, traced=traced) if in_turn or traced else None

    def told(self, watch: Stopwatch, record: DecisionRecord) -> None:
        """Tell how long the steps of a decision took."""
        steps = watch.steps()
        if watch.in_turn:
            for step, began, ended in steps:
                self._seconds[step].observe((ended - began) / 1e9)
            self._eligible.observe(len(record.scores))
            self._judged.observe(len(record.scores) + len(record.refusals))
        if watch.traced and self._traces is not None:
            self._traces.told(steps, record)
