"""What the snapshot knows of one customer: her features as of last night, and her segments."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np


@dataclass(frozen=True, slots=True)
class Profile:
    """One customer in a published snapshot.

    `vector` holds the customer features in the order of the snapshot's names, shape (n,), NaN
    where unknown; `segments` names her group in each segmentation (rfm, lifecycle, cluster);
    `redemptions` counts by offer what she redeemed before, where the service was not told of it and
    the offer has a cap per customer.
    """

    customer_id: str
    household_id: str | None
    time_zone: str | None
    vector: np.ndarray
    segments: dict[str, str]
    redemptions: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What a snapshot says of itself."""

    version: str
    as_of: datetime
    names: tuple[str, ...]
    feature_hash: str
    customers: int


@dataclass(frozen=True, slots=True)
class LiveState:
    """What the service was told of a customer, at any time, that a decision must respect.

    `redemptions` counts her redemptions by offer; those in her profile come on top.
    """

    redemptions: dict[str, int]
