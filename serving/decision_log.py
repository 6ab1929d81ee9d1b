"""What the log says of decisions: which one a line is about, and those that were not made as they
should be.

Never who the customer is: a decision's id finds its record, for those who may read it.
"""

import time
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict

from foundation.decision import DecisionRecord

# While the database is away every decision is degraded: one line stands for all of a second.
SECONDS_BETWEEN = 1.0

_decision: ContextVar[str | None] = ContextVar("decision", default=None)


def deciding(decision_id: str) -> None:
    """Say which decision this request makes: its id stands in every line written from now on."""
    _decision.set(decision_id)


def with_decision(_logger: Any, _method: str, line: EventDict) -> EventDict:
    """Put the decision's id into a log line of its request; a processor of structlog."""
    decision_id = _decision.get()
    if decision_id is not None:
        line.setdefault("decision_id", decision_id)
    return line


class DegradedLog:
    """Tells of degraded decisions, one of them a second, and how many there were."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("serving")
        self._again = 0.0
        self._untold = 0

    def told(self, record: DecisionRecord) -> None:
        """Take note of a decision."""
        if not record.causes:
            return
        self._untold += 1
        now = time.monotonic()
        if now < self._again:
            return
        self._log.warning(
            "degraded",
            decision_id=record.decision_id,
            channel=record.channel,
            fallback=any(slate.fallback for slate in record.slates),
            causes=record.causes,
            decisions=self._untold,
        )
        self._again, self._untold = now + SECONDS_BETWEEN, 0
