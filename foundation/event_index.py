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
    """Events of one source: n rows that make up m of what counts once, an order or an interaction.

    Rows of one follow each other. `starts` is each one's first row and `place` its customer's row
    among `customers`, shape (m,). By row, `day` is 1 for the last 24 hours before T, 2 for those
    before, and so on; `codes` are columns of codes, 0 where unknown. `fields` names for each field
    its column and the field's value by code.
    """

    customers: int
    starts: Integers
    place: Integers
    day: Integers
    codes: Mapping[str, Integers]
    fields: Mapping[str, tuple[str, list[str | None]]]

    def times(self, count: Count) -> npt.NDArray[np.int64]:
        """Return how often it happened to each customer, shape (customers,)."""
        where = list(count.where)
        if count.source == "interaction":
            where.append(("kind", (count.event,)))
        if count.days is None:
            fits = np.ones(len(self.day), dtype=np.bool_)
        else:
            fits = self.day <= count.days
        allowed: dict[str, npt.NDArray[np.bool_]] = {}
        for name, values in where:
            column, known = self.fields[name]
            wanted = frozenset(values)
            fitting = np.array([value in wanted for value in known])
            # What is unknown fits no value.
            fitting[0] = False
            allowed[column] = fitting & allowed.get(column, True)
        for column, fitting in allowed.items():
            fits &= fitting.take(self.codes[column], mode="clip")
        happened = np.logical_or.reduceat(fits, self.starts) if len(fits) else fits
        return np.bincount(self.place[happened], minlength=self.customers)


def day_before(at: Integers, as_of: datetime) -> npt.NDArray[np.uint16]:
    """Return which 24 hours before T each instant lies in, from 1; what lies farther is 65535.

    Args:
        at: Microseconds since 1970, all before T.
    """
    instant = (as_of - EPOCH) // timedelta(microseconds=1)
    # Rounded up: exactly 30 days before T is the first instant of a window of 30 days.
    return np.minimum(-((at - instant) // DAY), 65_535).astype(np.uint16)
