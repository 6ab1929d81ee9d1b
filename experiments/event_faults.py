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
