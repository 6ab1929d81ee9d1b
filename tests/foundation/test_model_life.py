"""What a rollback goes back to follows from the log of reigns."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from foundation.model_life import Reign, Way, line_of_champions

START = datetime(2026, 1, 1, tzinfo=UTC)


def log(*steps: tuple[int, Way]) -> list[Reign]:
    return [Reign(v, START + timedelta(days=day), way) for day, (v, way) in enumerate(steps)]


def test_a_champion_taken_back_is_not_gone_back_to() -> None:
    steps: list[tuple[int, Way]] = [(1, "trained"), (2, "promoted"), (1, "rolled back")]

    assert line_of_champions(log(*steps)) == [1]
    assert line_of_champions(log(*steps, (3, "forced"))) == [1, 3]


@given(st.lists(st.booleans(), max_size=30))
def test_going_back_as_often_as_forward_ends_where_it_began(forward: list[bool]) -> None:
    # A list of champions is what a person would keep by hand.
    stack, steps = [1], [(1, "trained")]
    for on in forward:
        if on:
            stack.append(len(steps) + 1)
            steps.append((stack[-1], "promoted"))
        elif len(stack) > 1:
            stack.pop()
            steps.append((stack[-1], "rolled back"))
        assert line_of_champions(log(*steps)) == stack  # pyright: ignore[reportArgumentType]
