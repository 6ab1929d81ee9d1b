"""PostgreSQL's oldest decisions, and how they leave it: some at a time, waiting for nobody."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime

from sqlalchemy import text

from adapters.audit_log import Begin

READ_AT_ONCE = 5_000
# A transaction deletes no more, so that it holds no lock for long.
DELETED_AT_ONCE = 1_000


class PostgresOldDecisions:
    """See regulars.jobs.prune.OldDecisions."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    def pages(self, until: int, before: datetime) -> Iterator[Sequence[tuple[str, datetime]]]:
        written_by, last = "0", ""
        while True:
            with self._begin() as connection:
                rows = connection.execute(
                    text(
                        "SELECT decision_id, at, written_by::text AS written_by FROM decisions "
                        "WHERE written_by < CAST(:until AS text)::xid8 AND at < :before "
                        "AND (written_by, decision_id) > (CAST(:written_by AS text)::xid8, :last) "
                        # A batch that is resumed writes its file of all its decisions.
                        "AND NOT EXISTS (SELECT FROM batch_decisions JOIN batches USING (batch_id) "
                        "WHERE finished_at IS NULL "
                        "AND batch_decisions.decision_id = decisions.decision_id) "
                        "ORDER BY decisions.written_by, decision_id LIMIT :most"
                    ),
                    {
                        "until": str(until),
                        "before": before,
                        "written_by": written_by,
                        "last": last,
                        "most": READ_AT_ONCE,
                    },
                ).all()
            if not rows:
                return
            yield [(row.decision_id, row.at) for row in rows]
            # Not from the start again: some of them may have stayed.
            written_by, last = rows[-1].written_by, rows[-1].decision_id

    def delete(self, decision_ids: Collection[str]) -> int:
        deleted, ordered = 0, sorted(decision_ids)
        for first in range(0, len(ordered), DELETED_AT_ONCE):
            with self._begin() as connection:
                deleted += connection.execute(
                    text(
                        # Whose customer is being forgotten just now stays until the next time.
                        "DELETE FROM decisions WHERE decision_id = ANY(ARRAY(SELECT decision_id "
                        "FROM decisions WHERE decision_id = ANY(:some) FOR UPDATE SKIP LOCKED))"
                    ),
                    {"some": ordered[first : first + DELETED_AT_ONCE]},
                ).rowcount
        return deleted

    def delete_batches(self, before: datetime) -> None:
        some = DELETED_AT_ONCE
        while some == DELETED_AT_ONCE:
            with self._begin() as connection:
                some = connection.execute(
                    text(
                        "DELETE FROM batch_decisions WHERE ctid = ANY(ARRAY(SELECT hers.ctid "
                        "FROM batch_decisions AS hers JOIN batches USING (batch_id) "
                        "WHERE finished_at < :before AND NOT EXISTS (SELECT FROM decisions "
                        "WHERE decisions.decision_id = hers.decision_id) "
                        "LIMIT :most FOR UPDATE OF hers SKIP LOCKED))"
                    ),
                    {"before": before, "most": DELETED_AT_ONCE},
                ).rowcount
