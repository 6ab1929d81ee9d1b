"""Event faults: events told twice, too late, or before what caused them.

An event told again under its own id is kept once by the lake and needs no counting here.
"""

import msgspec


class EventFaults(msgspec.Struct, frozen=True):
    """Events of the units in a report that are not as they should be.

    `redemptions_repeated` are the same customer's of one offer at one instant under several ids,
    `lines_repeated` the same product and amount at one instant on several receipts: both are
    counted in the figures. `late` happened after the report's end and are left out. `early` name a
    decision that was made only after they happened.
    """

    redemptions_repeated: int = 0
    lines_repeated: int = 0
    late: int = 0
    early: int = 0

    def warnings(self) -> list[str]:
        """Return a line for each kind of fault that there is."""
        told = {
            "redemption(s) were told again under another id and are counted as often": (
                self.redemptions_repeated
            ),
            "receipt line(s) stand on two receipts of one instant and are counted twice": (
                self.lines_repeated
            ),
            "event(s) happened after the report's end and are left out": self.late,
            "event(s) happened before the decision they name; compare the clocks of the channels": (
                self.early
            ),
        }
        return [f"{count:,} {line}" for line, count in told.items() if count]
