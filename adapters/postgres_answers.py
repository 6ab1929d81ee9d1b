"""What requests that may come again were answered, for those that change things in a transaction.

The same names and the same table as on the hot path, see postgres_replays.
"""

from sqlalchemy import text

from adapters.audit_log import Begin
from foundation.replay import Replay


class PostgresAnswers:
    """Names of requests, what each asked and was answered."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin

    def taken(self, replay: Replay) -> tuple[bytes, str | None] | None:
        """Take a name; what it asked before and was answered, None where it is new.

        Waits for a rival transaction of the same name, and then finds its answer.
        """
        with self._begin() as connection:
            new = connection.execute(
                text(
                    "INSERT INTO replays (replay, digest) VALUES (:name, :digest) "
                    "ON CONFLICT DO NOTHING"
                ),
                {"name": replay.name, "digest": replay.digest},
            )
            if new.rowcount:
                return None
            row = connection.execute(
                text("SELECT digest, answer::text FROM replays WHERE replay = :name"),
                {"name": replay.name},
            ).one()
            return bytes(row.digest), row.answer

    def keep(self, replay: Replay, answer: str) -> None:
        """Keep what a request was answered."""
        with self._begin() as connection:
            connection.execute(
                text("UPDATE replays SET answer = CAST(:answer AS json) WHERE replay = :name"),
                {"name": replay.name, "answer": answer},
            )
