"""An index of events, to count one more of them for everybody in a moment.

A marketer who tries out a rule waits for it. The index holds what counted_events.py would find as
of the night it was made, ordered by customer and by what counts once, as codes in arrays: any
count is one pass over them, without sorting or hashing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from foundation.counted_events import Count

Integers = npt.NDArray[np.integer]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000


@dataclass(frozen=True)
class EventIndex:
    """Events of one source, n rows in order of `place` and, within it, of `one`.

    `place` is the customer's row among `customers`; `one` numbers what counts once (an order, an
    interaction); `day` is 1 for the last 24 hours before T, 2 for those before, and so on.
    `codes` are columns of codes, -1 where unknown; `fields` names for each field its column of
    codes and the field's value by code.
    """

    customers: int
    place: Integers
    one: Integers
    day: Integers
    codes: Mapping[str, Integers]
    fields: Mapping[str, tuple[str, list[str | None]]]

    def times(self, count: Count) -> npt.NDArray[np.int64]:
        """Return how often it happened to each customer, shape (customers,)."""
        where = list(count.where)
        if count.source == "interaction":
            where.append(("kind", (count.event,)))
        fits = np.ones(len(self.place), dtype=np.bool_)
        if count.days is not None:
            fits &= self.day <= count.days
        allowed: dict[str, npt.NDArray[np.bool_]] = {}
        for name, values in where:
            column, known = self.fields[name]
            wanted = frozenset(values)
            # The last place is for -1: what is unknown fits no value.
            fitting = np.array([*(value in wanted for value in known), False])
            allowed[column] = fitting & allowed.get(column, True)
        for column, fitting in allowed.items():
            fits &= fitting[self.codes[column]]
        rows = np.flatnonzero(fits)
        ones = self.one[rows]
        first = np.ones(len(rows), dtype=np.bool_)
        first[1:] = ones[1:] != ones[:-1]
        return np.bincount(self.place[rows[first]], minlength=self.customers)


def day_before(at: Integers, as_of: datetime) -> npt.NDArray[np.uint16]:
    """Return which 24 hours before T each instant lies in, from 1; what lies farther is 65535.

    Args:
        at: Microseconds since 1970, all before T.
    """
    instant = (as_of - EPOCH) // timedelta(microseconds=1)
    # Rounded up: exactly 30 days before T is the first instant of a window of 30 days.
    return np.minimum(-((at - instant) // DAY), 65_535).astype(np.uint16)
