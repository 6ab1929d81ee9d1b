"""Names of requests that may come again, with what each asked and was answered, in PostgreSQL."""

from collections.abc import Mapping
from typing import Any

from foundation.replay import KEPT_HOURS

# A pass takes no more, so that it holds no lock for long.
_FORGOTTEN_AT_ONCE = 10_000


async def take_names(
    connection: Any, asked: Mapping[str, bytes]
) -> dict[str, tuple[bytes, str | None]]:
    """Take the names of new requests; what old ones asked and were answered is returned.

    Waits for a rival transaction of the same name, and then finds its answer.

    Args:
        asked: Digest by name.
    """
    if not asked:
        return {}
    # One order for all, so that no two transactions wait in a circle.
    names = sorted(asked)
    new = await connection.fetch(
        "INSERT INTO replays (replay, digest) SELECT * FROM unnest($1::text[], $2::bytea[]) "
        "ON CONFLICT DO NOTHING RETURNING replay",
        names,
        [asked[name] for name in names],
    )
    old = set(names) - {row["replay"] for row in new}
    if not old:
        return {}
    rows = await connection.fetch(
        "SELECT replay, digest, answer FROM replays WHERE replay = ANY($1::text[])", list(old)
    )
    return {row["replay"]: (row["digest"], row["answer"]) for row in rows}


async def keep_answers(connection: Any, answers: Mapping[str, str]) -> None:
    """Keep what requests were answered, in JSON by name."""
    if answers:
        await connection.executemany(
            "UPDATE replays SET answer = $2 WHERE replay = $1", list(answers.items())
        )


async def forget_names(connection: Any) -> int:
    """Forget what is older than names are kept; return how many those were."""
    rows = await connection.fetch(
        "DELETE FROM replays WHERE replay IN (SELECT replay FROM replays "
        "WHERE at < now() - make_interval(hours => $1) "
        "ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1",
        KEPT_HOURS,
        _FORGOTTEN_AT_ONCE,
    )
    return len(rows)
