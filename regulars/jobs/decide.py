"""Decide: a batch of the service's decisions for a whole segment, into a file for the sender.

A batch that was killed goes on where it was: its decisions are recorded with its name, and nobody
is decided for twice.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as arrow

from foundation.clock import Clock
from foundation.contact_policy import ContactPolicy, consented
from foundation.decision import DecisionRecord
from foundation.errors import RegularsError
from foundation.pseudonym import PREFIX
from regulars.progress import Progress, Step
from serving.batch import BLOCK
from serving.batches import Batches
from serving.ids import new_id
from serving.journal import Journal
from serving.messages import AskedPlacement
from serving.service import DecisionService

PAGE = 5_000
SCHEMA = arrow.schema(
    [
        ("customer_id", arrow.string()),
        ("decision_id", arrow.string()),
        ("decided_at", arrow.timestamp("us", tz="UTC")),
        ("channel", arrow.string()),
        ("placement", arrow.string()),
        ("rank", arrow.int64()),
        ("offer_id", arrow.string()),
        ("title", arrow.string()),
    ]
)


@dataclass(frozen=True)
class AskedBatch:
    """Whom a batch is for, and what is to be filled; `segment` None means everybody."""

    channel: str
    segment: str | None
    placements: tuple[AskedPlacement, ...]

    @property
    def request(self) -> str:
        """What tells one batch from another."""
        spots = {one.name: one.limit for one in self.placements}
        return json.dumps([self.channel, self.segment, spots], sort_keys=True)


@dataclass
class BatchReport:
    """What became of a batch; `before` were decided for before it was resumed.

    `reached` are shown an offer; `refused` counts customers by the code that bars all offers;
    `degraded` ones got what is popular, `causes` say why; `withdrawn` refused the channel since
    they were decided for, and are not in the file.
    """

    batch_id: str
    customers: int = 0
    before: int = 0
    decided: int = 0
    reached: int = 0
    offers: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    degraded: int = 0
    causes: list[str] = field(default_factory=list[str])
    withdrawn: int = 0


async def decide_batch(
    service: DecisionService,
    batches: Batches,
    customers: Sequence[str],
    asked: AskedBatch,
    clock: Clock,
    progress: Progress,
    *,
    resume: bool,
) -> BatchReport:
    """Decide for every customer once, in blocks that are recorded as a whole.

    Raises:
        RegularsError: An unfinished batch asked for the same, and this one is not to resume it;
            or it is, and there is none.
        StoreUnavailable: The database went away; the batch can be resumed.
    """
    if resume and not await batches.unfinished(asked.request):
        raise RegularsError(
            "--resume: no batch of this channel, segment and placements is unfinished; leave it "
            "out to begin a new one, in which whom the one before reached counts as contacted"
        )
    await service.batch.models_loaded()
    begun = await batches.begin(new_id(clock), asked.request, clock.now())
    if begun.resumed and not resume:
        raise RegularsError(
            f"batch {begun.batch_id} asked for the same and is not finished; add --resume to "
            "finish it: whom it decided for keeps that decision"
        )
    report = BatchReport(begun.batch_id, customers=len(customers))
    with progress.step("decide") as step:
        step.expect(len(customers))
        for start in range(0, len(customers), BLOCK):
            block = customers[start : start + BLOCK]
            left = await batches.undecided(begun.batch_id, block)
            made = await service.batch.decide(begun.batch_id, left, asked.channel, asked.placements)
            report.before += len(block) - len(left)
            report.decided += len(made)
            step.advance(len(block))
            step.show(f"{report.before + report.decided:,} of {len(customers):,} customers")
    return report


async def sent_rows(
    report: BatchReport,
    batches: Batches,
    journal: Journal,
    titles: dict[str, str],
    policy: ContactPolicy,
    progress: Progress,
) -> arrow.Table:
    """Return what is to be sent, an offer a row, and complete the report.

    Who refused the channel since she was decided for is left out.
    """
    pages: list[arrow.Table] = [SCHEMA.empty_table()]
    refused: Counter[str] = Counter()
    causes: dict[str, None] = {}
    after = ""
    with progress.step("file") as step:
        while records := await batches.records(report.batch_id, after, PAGE):
            after = records[-1].customer_id
            states = await journal.live_states([one.customer_id for one in records])
            rows: list[dict[str, object]] = []
            for record, state in zip(records, states, strict=True):
                # Who was forgotten since she was decided for is nobody to send to.
                former = record.customer_id.startswith(PREFIX)
                hers = [] if former else list(_rows(record, titles))
                codes = set(record.refusals.values())
                if not record.scores and len(codes) == 1:
                    refused[codes.pop()] += 1
                report.degraded += bool(record.causes)
                causes |= dict.fromkeys(record.causes)
                if hers and not consented(policy, record.channel, state.consents):
                    report.withdrawn += 1
                    continue
                report.reached += bool(hers)
                rows += hers
            report.offers += len(rows)
            pages.append(arrow.Table.from_pylist(rows, schema=SCHEMA))
            _show(step, report)
    report.refused, report.causes = dict(refused), list(causes)
    return arrow.concat_tables(pages)


def _rows(record: DecisionRecord, titles: dict[str, str]) -> Iterator[dict[str, object]]:
    for slate in record.slates:
        for one in slate.offers:
            decided: datetime = record.at
            yield {
                "customer_id": record.customer_id,
                "decision_id": record.decision_id,
                "decided_at": decided,
                "channel": record.channel,
                "placement": slate.placement,
                "rank": one.rank,
                "offer_id": one.offer_id,
                # An offer may have left the catalogue since.
                "title": titles.get(one.offer_id),
            }


def _show(step: Step, report: BatchReport) -> None:
    step.show(f"{report.reached:,} customers, {report.offers:,} offers")
