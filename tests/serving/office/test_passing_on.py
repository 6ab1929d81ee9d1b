"""The way to the office: what a caller hears of one that is away, late or asked too much."""

import asyncio
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from regulars.office.process import bound
from serving.office.passing_on import WAITING, OfficeDoor
from serving.problems import Problem


@pytest.fixture
def place() -> Iterator[Path]:
    # The path of a socket is short, those of tests are not.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "socket"


@pytest.fixture
def silent(place: Path) -> Iterator[socket.socket]:
    """An office that listens and never answers."""
    with bound(place) as listening:
        listening.listen(64)
        yield listening


async def asked(door: OfficeDoor) -> Problem:
    try:
        await door.ask("GET", "/v1/offers", {}, b"")
    except Problem as problem:
        return problem
    raise AssertionError("it was answered")


def test_without_an_office_it_is_said_so() -> None:
    problem = asyncio.run(asked(OfficeDoor(None)))
    assert (problem.status, problem.code) == (503, "no_office")


def test_an_office_that_is_not_there_is_away(place: Path) -> None:
    problem = asyncio.run(asked(OfficeDoor(place)))
    assert (problem.status, problem.code) == (503, "office_away")
    assert problem.response().headers["retry-after"] == "5"


@pytest.mark.usefixtures("silent")
def test_an_office_that_does_not_answer_is_late(place: Path) -> None:
    problem = asyncio.run(asked(OfficeDoor(place, seconds=0.2)))
    assert (problem.status, problem.code) == (503, "office_late")
    assert "Idempotency-Key" in problem.detail


@pytest.mark.usefixtures("silent")
def test_no_more_wait_than_there_is_room_for(place: Path) -> None:
    door = OfficeDoor(place, seconds=0.5)

    async def crowd() -> list[Problem]:
        return await asyncio.gather(*(asked(door) for _ in range(WAITING + 3)))

    codes = [problem.code for problem in asyncio.run(crowd())]
    assert codes.count("overloaded") == 3
    assert codes.count("office_late") == WAITING
    # Whoever comes later finds room again.
    assert asyncio.run(asked(door)).code == "office_late"


def test_what_a_killed_office_left_is_taken_over(place: Path) -> None:
    first = bound(place)
    first.close()
    assert place.exists()
    with bound(place) as again:
        assert again.getsockname() == str(place)
