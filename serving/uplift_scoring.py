"""Scores: what showing each offer to this customer is expected to earn, by the uplift model."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import numpy as np

from foundation.context import NAMES as CONTEXT_NAMES
from foundation.context import context_features
from foundation.errors import RegularsError
from foundation.offer import Offer
from foundation.profile import Profile, SnapshotFacts
from serving.scoring import ModelMismatch, check_definitions

# What was never shown by chance is not known to earn anything: only exploration shows it.
UNKNOWN = 0.0


class UpliftValues(Protocol):
    """A fitted uplift model; see recommender/offer_uplift.py."""

    @property
    def offers(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def feature_hash(self) -> str: ...

    def values(self, matrix: np.ndarray) -> np.ndarray: ...


class UpliftScorer:
    """An uplift model fitted to one snapshot.

    Raises:
        ModelMismatch: The model was trained on other definitions than the snapshot holds.
    """

    def __init__(self, name: str, uplift: UpliftValues, snapshot: SnapshotFacts) -> None:
        check_definitions(name, uplift.feature_hash, snapshot)
        if uplift.names != (*snapshot.names, *CONTEXT_NAMES):
            raise ModelMismatch(
                f"model {name!r} lists its inputs in another order than snapshot "
                f"{snapshot.version}; run 'regulars train uplift'"
            )
        self.name = name
        self._uplift = uplift

    def scores(
        self,
        profile: Profile,
        offers: Sequence[Offer],
        *,
        channel: str,
        at: datetime,
        time_zone: str,
        basket_amounts: Sequence[int] | None,
    ) -> dict[str, float]:
        """Return each offer's expected incremental margin for one customer, minor units.

        Raises:
            RegularsError: The model answered something that is no number.
        """
        if not offers:
            return {}
        moment = context_features(channel, at, time_zone, basket_amounts)
        found = self._uplift.values(np.concatenate([profile.vector, moment])[None])[0]
        if not np.isfinite(found).all():
            raise RegularsError(
                f"model {self.name!r} answered {found.tolist()}, which are not all numbers; run "
                "'regulars train uplift'"
            )
        known = dict(zip(self._uplift.offers, found.tolist(), strict=True))
        return {offer.offer_id: known.get(offer.offer_id, UNKNOWN) for offer in offers}
