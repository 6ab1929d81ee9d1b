"""What the snapshot knows of one customer: her features as of last night, and her segments."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np


@dataclass(frozen=True, slots=True)
class Profile:
    """One customer in a published snapshot.

    `vector` holds the customer features in the order of the snapshot's names, shape (n,), NaN
    where unknown; `segments` names her group in each segmentation (rfm, lifecycle, cluster).
    """

    customer_id: str
    household_id: str | None
    time_zone: str | None
    vector: np.ndarray
    segments: dict[str, str]


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
    """What happened to a customer since the snapshot that a decision must respect.

    `redemptions` counts her redemptions by offer.
    """

    redemptions: dict[str, int]
