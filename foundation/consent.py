"""Consent: what a customer answered when asked whether a channel may be used for her."""

from datetime import datetime

import msgspec


class ConsentAnswer(msgspec.Struct, frozen=True):
    """One answer: it holds from `at` until her next one for the channel.

    Without `at` it is given now, by the clock of who keeps it, and follows all that she answered
    before, whatever clock dated those. `who` wrote it down, `source` is where she gave it.
    """

    customer_id: str
    channel: str
    granted: bool
    at: datetime | None
    who: str
    source: str
