"""Since when does the lake hold what the service wrote? A mark a day, in a note of the lake's.

A mark says that the lake held at an instant whatever transactions before a number had written. The
note is committed with the rows: a lake restored from its backup has the marks of then. Marks of a
database that was restored or failed over are not carried on.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from foundation.feed import Window

NOTE = "held since"
MARKS_EVERY = timedelta(days=1)


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """At an instant the lake held all that transactions before `until` had written."""

    at: datetime
    until: int


def cursor_of(window: Window) -> str:
    """Return the cursor that stands at a window's end."""
    return f"{window.system}:{window.until}"


def goes_on(window: Window, cursor: str | None) -> bool:
    """Whether a window begins where the lake's cursor stands, so that nothing is read anew."""
    return cursor == f"{window.system}:{window.since}"


def marked(note: str | None, cursor: str | None, window: Window, now: datetime) -> str:
    """Return the note that becomes true together with a window's rows."""
    marks = marks_of(note) if goes_on(window, cursor) else []
    # One of a clock that was ahead would keep back all others.
    marks = [mark for mark in marks if mark.at <= now]
    if not marks or marks[-1].at <= now - MARKS_EVERY:
        marks.append(Mark(now, window.until))
    return msgspec.json.encode(marks).decode()


def marks_of(note: str | None) -> list[Mark]:
    """Return the marks of a note, the oldest first."""
    return [] if note is None else msgspec.json.decode(note, type=list[Mark])


def held_by(marks: Sequence[Mark], instant: datetime) -> int:
    """Return before which transaction the lake held by an instant all that was written."""
    return max((mark.until for mark in marks if mark.at <= instant), default=0)
