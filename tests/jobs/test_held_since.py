"""Since when does the lake hold what? Marks tell, a day apart, and only of one history."""

from datetime import UTC, datetime, timedelta

from foundation.feed import Window
from regulars.jobs.held_since import Mark, cursor_of, held_by, marked, marks_of

START = datetime(2026, 5, 4, 3, tzinfo=UTC)
DAY = timedelta(days=1)


def nights(*ends: int, every: timedelta = DAY) -> tuple[str | None, str | None]:
    """Return note and cursor after ingests of one database, from one number to the next."""
    note = cursor = None
    since = 0
    for place, until in enumerate(ends):
        window = Window("a", since, until)
        note = marked(note, cursor, window, START + place * every)
        cursor, since = cursor_of(window), until
    return note, cursor


def test_what_was_held_so_long_ago_is_told_by_the_newest_mark_of_then() -> None:
    note, _ = nights(10, 20, 30)
    assert marks_of(note) == [Mark(START, 10), Mark(START + DAY, 20), Mark(START + 2 * DAY, 30)]
    assert held_by(marks_of(note), START - timedelta(seconds=1)) == 0
    assert held_by(marks_of(note), START) == 10
    assert held_by(marks_of(note), START + 1.5 * DAY) == 20
    assert held_by(marks_of(note), START + 9 * DAY) == 30


def test_a_day_has_one_mark_however_often_it_is_read() -> None:
    note, _ = nights(*range(10, 10 + 49), every=timedelta(hours=1))
    assert [mark.until for mark in marks_of(note)] == [10, 34, 58]


def test_another_database_or_an_earlier_point_of_this_one_begins_anew() -> None:
    note, cursor = nights(10, 20)
    later = START + 5 * DAY
    other, again = Window("b", 0, 90), Window("a", 0, 15)
    assert marks_of(marked(note, cursor, other, later)) == [Mark(later, 90)]
    assert marks_of(marked(note, cursor, again, later)) == [Mark(later, 15)]
    # A lake of before there were marks: when it came to hold what is in it, nobody knows.
    assert marks_of(marked(None, cursor, Window("a", 20, 30), later)) == [Mark(later, 30)]


def test_a_mark_of_a_clock_that_was_ahead_is_dropped() -> None:
    note, cursor = nights(10)
    wrong = marked(note, cursor, Window("a", 10, 20), START + 400 * DAY)
    right = marked(wrong, "a:20", Window("a", 20, 30), START + 2 * DAY)
    assert marks_of(right) == [Mark(START, 10), Mark(START + 2 * DAY, 30)]
