"""Do the workers of a machine share its callers?"""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from serving import turns
from serving.turns import Door, Turns, lay_out


def shared_by_two(folder: Path) -> list[Turns]:
    file = folder / "connections"
    lay_out(file, 2)
    return [Turns((file, place)) for place in range(2)]


def test_who_has_more_leaves_the_next_to_the_other(tmp_path: Path) -> None:
    first, second = shared_by_two(tmp_path)

    assert not first.others_first()
    first.tell(1)
    assert first.others_first()
    assert not second.others_first()
    second.tell(1)
    assert not first.others_first()


def test_a_worker_that_is_alone_always_has_its_turn() -> None:
    alone = Turns()
    alone.tell(100)
    assert not alone.others_first()


def test_who_comes_back_begins_with_none(tmp_path: Path) -> None:
    first, second = shared_by_two(tmp_path)
    first.tell(5)
    second.tell(3)
    Turns((tmp_path / "connections", 0))
    assert second.others_first()


class Held(asyncio.Protocol):
    """Keeps its connection."""

    def __init__(self, held: list[asyncio.BaseTransport]) -> None:
        self._held = held

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._held.append(transport)


def doors(
    listener: socket.socket, shared: list[Turns], held: list[list[asyncio.BaseTransport]]
) -> list[Door]:
    return [
        # Each on a descriptor of its own, as processes have.
        Door(listener.dup(), lambda mine=mine: Held(mine), lambda mine=mine: len(mine), turn)
        for turn, mine in zip(shared, held, strict=True)
    ]


@pytest.mark.parametrize("calls", [1, 16])
def test_callers_are_shared_evenly(tmp_path: Path, calls: int) -> None:
    """Whether they come one after the other or together."""

    async def served() -> list[int]:
        held: list[list[asyncio.BaseTransport]] = [[], []]
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            opened = doors(listener, shared_by_two(tmp_path), held)
            callers: list[socket.socket] = []
            for _ in range(32 // calls):
                for _ in range(calls):
                    callers.append(socket.create_connection(listener.getsockname()))
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            for door in opened:
                door.close()
        for caller in callers:
            caller.close()
        return [len(mine) for mine in held]

    assert asyncio.run(served()) == [16, 16]


def test_callers_do_not_wait_for_a_worker_that_is_dead(tmp_path: Path) -> None:
    async def served() -> float:
        alive, _ = shared_by_two(tmp_path)
        held: list[asyncio.BaseTransport] = []
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            (door,) = doors(listener, [alive], [held])
            begun = time.monotonic()
            callers = [socket.create_connection(listener.getsockname()) for _ in range(20)]
            while len(held) < len(callers):
                await asyncio.sleep(0.001)
            taken = time.monotonic() - begun
            door.close()
        for caller in callers:
            caller.close()
        return taken

    assert asyncio.run(served()) < 20 * turns.PAUSE_SECONDS + 1
