"""A shadow scores the decisions of the model that serves, beside it, and answers nobody.

It proves that a model loads, keeps up and does not fail before it is promoted, and how often it
would have put another offer first. What it would have earned is computed later from the records,
which have all it was asked; see regulars/jobs/promotion_value.py.

It works in a thread of its own behind a bounded queue: what finds the queue full is dropped and
counted, so that no answer ever waits for a shadow.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from foundation.decision import DecisionRecord
from foundation.offer import Offer
from foundation.profile import Profile
from recommender.agreement import same_top
from serving import metrics
from serving.scoring import Scorer
from serving.uplift_scoring import UpliftScorer

LONGEST_QUEUE = 256
STOP_SECONDS = 1.0


@dataclass(frozen=True)
class _Asked:
    record: DecisionRecord
    profile: Profile
    offers: Mapping[str, Offer]
    time_zone: str
    scorer: Scorer | UpliftScorer


class Shadow:
    """Scores what it is shown, one after the other, by the shadow of the model that decided."""

    def __init__(self) -> None:
        self._log = structlog.get_logger("shadow")
        # By what a policy ranks by: response or uplift.
        self._scorers: Mapping[str, Scorer | UpliftScorer] = {}
        self._waiting: queue.Queue[_Asked | None] = queue.Queue(LONGEST_QUEUE)
        self._thread: threading.Thread | None = None
        self._told: str | None = None

    @property
    def names(self) -> list[str]:
        return [scorer.name for scorer in self._scorers.values()]

    def take_over(self, scorers: Mapping[str, Scorer | UpliftScorer]) -> None:
        """Score by these from now on; none scores nothing."""
        self._scorers = scorers
        if scorers and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
            self._thread.start()

    def show(
        self,
        record: DecisionRecord,
        profile: Profile | None,
        offers: Mapping[str, Offer],
        time_zone: str,
    ) -> None:
        """Let the shadow see a decision that a model made; returns at once.

        Args:
            offers: The catalogue it was made with.
            time_zone: Of a customer whose own is unknown.
        """
        scorer = self._scorers.get(record.policy.scored or "")
        if scorer is None or profile is None or not record.scores:
            return
        try:
            self._waiting.put_nowait(_Asked(record, profile, offers, time_zone, scorer))
        except queue.Full:
            metrics.SHADOW.labels(scorer.name, "dropped").inc()

    def stop(self) -> None:
        """End the thread; what still waits is dropped."""
        if self._thread is None:
            return
        self._scorers = {}
        with contextlib.suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        self._waiting.put_nowait(None)
        # A daemon: one that hangs in its model ends with the process.
        self._thread.join(timeout=STOP_SECONDS)
        self._thread = None

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None:
            name = asked.scorer.name
            started = time.perf_counter()
            try:
                same = self._same_top(asked)
            except Exception as error:  # A shadow's fault is no fault of the service.
                metrics.SHADOW.labels(name, "failed").inc()
                self._tell(f"{name}: {type(error).__name__}: {error}", error)
                continue
            metrics.SHADOW_SECONDS.labels(name).observe(time.perf_counter() - started)
            metrics.SHADOW.labels(name, "scored").inc()
            champion = str(asked.record.versions.model)
            metrics.SHADOW_TOP.labels(name, champion, "same" if same else "other").inc()

    def _same_top(self, asked: _Asked) -> bool:
        """Score the decision's offers, and return whether the shadow puts the same one first."""
        record = asked.record
        basket = record.context.basket
        found = asked.scorer.scores(
            asked.profile,
            [asked.offers[offer_id] for offer_id in record.scores],
            channel=record.channel,
            at=record.at,
            time_zone=asked.profile.time_zone or asked.time_zone,
            basket_amounts=None if basket is None else [line.amount for line in basket],
        )
        return same_top(found, record.scores)

    def _tell(self, fault: str, error: Exception) -> None:
        # The same fault of every decision is one line.
        if fault != self._told:
            self._told = fault
            self._log.warning("the shadow failed", reason=fault, exc_info=error)
