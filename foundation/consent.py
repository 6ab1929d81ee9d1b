"""Consent: what a customer answered when asked whether a channel may be used for her."""

from datetime import datetime

import msgspec


class ConsentAnswer(msgspec.Struct, frozen=True):
    """One answer: it holds from `at` until her next one for the channel.

    `who` wrote it down, `source` is where she gave it.
    """

    customer_id: str
    channel: str
    granted: bool
    at: datetime
    who: str
    source: str
