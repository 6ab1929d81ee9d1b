"""Context features: what the request itself says. Training and serving call the same function."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from foundation.contracts.tables import CHANNELS

NAMES: tuple[str, ...] = (
    *(f"context_channel={channel}" for channel in CHANNELS),
    "context_hour",
    "context_weekend",
    "context_basket_amount",
    "context_basket_lines",
)


def context_features(
    channel: str,
    at: datetime | None,
    time_zone: str,
    basket_amounts: Sequence[int] | None,
) -> np.ndarray:
    """Return the request's features in the order of NAMES.

    Args:
        channel: Channel that asks.
        at: Aware instant of the exposure; None where only its day is known.
        time_zone: The store's or customer's own zone, for hour and weekend; they are unknown
            where it is no IANA name.
        basket_amounts: Amount of each basket line in minor units; None where there is no basket.

    Returns:
        Floats, shape (len(NAMES),); what is unknown is NaN.
    """
    local = None if at is None else _local(at, time_zone)
    return np.array(
        [
            *_channel(channel),
            np.nan if local is None else float(local.hour),
            np.nan if local is None else float(local.weekday() >= 5),
            np.nan if basket_amounts is None else float(sum(basket_amounts)),
            np.nan if basket_amounts is None else float(len(basket_amounts)),
        ]
    )


@lru_cache(maxsize=64)
def _channel(channel: str) -> tuple[float, ...]:
    return tuple(float(channel == known) for known in CHANNELS)


def _local(at: datetime, time_zone: str) -> datetime | None:
    try:
        return at.astimezone(ZoneInfo(time_zone))
    except (KeyError, ValueError, OSError):
        # One customer's misspelt zone must not cost her the answer.
        return None
