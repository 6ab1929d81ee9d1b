"""Names of requests that may come again, with what each asked and was answered, in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from foundation.decision import encode
from foundation.errors import KeyReused
from foundation.replay import KEPT_HOURS, Replay

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


async def answer_before(connection: Any, replay: Replay | None) -> str | None:
    """Take the name of one request; return what it was answered before, None where it is new.

    Raises:
        KeyReused: The name belongs to another request.
    """
    asked = {} if replay is None else {replay.name: replay.digest}
    for digest, answer in (await take_names(connection, asked)).values():
        if digest not in asked.values():
            raise KeyReused
        return answer
    return None


async def keep_answer(connection: Any, replay: Replay | None, answer: Any) -> None:
    """Keep what one request was answered."""
    if replay is not None:
        await keep_answers(connection, {replay.name: encode(answer).decode()})


async def free_names(connection: Any, names: Sequence[str]) -> None:
    """Give back the names of requests that did nothing: they may be sent again."""
    await connection.execute("DELETE FROM replays WHERE replay = ANY($1::text[])", names)


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
