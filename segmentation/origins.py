"""Rolling origins: at which past instants is a forecast made again, and what could it know there?

A forecast of the next N days is judged at several past instants (origins), each by a model that
has seen only labels fully known before it: their N days end at or before the origin. Test origins
lie N days apart, so that no day is tested twice.

Source: rolling-origin evaluation, Tashman 2000.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from foundation.errors import RegularsError, TooLittleData

FEWEST_TESTS = 5
# Labels of neighbouring origins share days: three origins in N days tell nearly all of it.
ORIGINS_A_WINDOW = 3
# A year of 30-day windows, so that a long history costs no more than the seasons need.
MOST_TRAINING = 36


@dataclass(frozen=True)
class Origins:
    """All instants, ascending, and the test origins among them; a label takes `days`."""

    instants: tuple[datetime, ...]
    tests: tuple[datetime, ...]
    days: int

    def known_at(self, instant: datetime) -> tuple[datetime, ...]:
        """Return the newest origins whose labels are fully known at an instant, ascending."""
        window = timedelta(days=self.days)
        known = tuple(origin for origin in self.instants if origin + window <= instant)
        return known[-MOST_TRAINING:]


def rolling_origins(
    observed_from: datetime,
    observed_until: datetime,
    days: int,
    active: int,
    tests: int = FEWEST_TESTS,
) -> Origins:
    """Lay origins back from the end of the data.

    Args:
        observed_from, observed_until: First and last instant of the events.
        days: Length of a label's window.
        active: Days of history in front of the first origin, which is what tells who is active.
        tests: Test origins.

    Raises:
        RegularsError: A forecast of less than a day, or nobody could be active.
        TooLittleData: The history is too short for `tests` origins, each with a window's origins
            to learn from.
    """
    if days < 1 or active < 1:
        raise RegularsError(
            f"a forecast of {days} days for customers active in {active} days: both must be at "
            "least 1; name more days"
        )
    latest = observed_until - timedelta(days=days)
    step = timedelta(days=days) / ORIGINS_A_WINDOW
    needed = timedelta(days=active + days * (tests + 1)) + (ORIGINS_A_WINDOW - 1) * step
    if tests < FEWEST_TESTS or observed_until - observed_from < needed:
        raise TooLittleData(
            f"{(observed_until - observed_from).days} days of purchases and {tests} test origins; "
            f"at least {FEWEST_TESTS} origins, and for {tests} of them {needed.days} days of "
            f"purchases, are needed to test a forecast of {days} days; load a longer history"
        )
    room = latest - observed_from - timedelta(days=active)
    instants = tuple(latest - step * back for back in range(room // step, -1, -1))
    chosen = tuple(latest - timedelta(days=days * back) for back in range(tests - 1, -1, -1))
    first = chosen[0] - timedelta(days=days) - step * (MOST_TRAINING - 1)
    return Origins(tuple(i for i in instants if i >= first), chosen, days)
