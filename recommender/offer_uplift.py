"""What does showing an offer to a customer earn, by the uplift model that serves?

Treatments of the model are offers, its control "no offer", its outcome the customer's money after
the decision, net of what redeemed offers cost. Batch and service call the same function.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from recommender.uplift import UpliftModel
from recommender.value import FREE, Contact, net_of_contact


@dataclass(frozen=True, slots=True)
class Effects:
    """How large effects are and how much customers differ in them, minor units.

    `spread` is their standard deviation over customers, the offers' own averages aside.
    """

    mean: float
    spread: float

    @staticmethod
    def of(effects: np.ndarray) -> "Effects":
        """Return that of customers' effects, shape (n, offers), n at least 1."""
        return Effects(float(effects.mean()), float(np.sqrt(effects.var(axis=0).mean())))


@dataclass(frozen=True)
class OfferUplift:
    """An uplift model and what its numbers mean.

    Attributes:
        offers: Of the model's treatments from 1 on.
        names: Of its inputs: the snapshot's features, then those of the moment.
        feature_hash: Of the definitions that it learned from.
        days: The window after a decision that its money counts.
        trained: What it tells of those it learned from; None of models of before that was kept.
    """

    model: UpliftModel
    offers: tuple[str, ...]
    names: tuple[str, ...]
    feature_hash: str
    days: int
    trained: Effects | None = None

    def values(self, matrix: np.ndarray, contact: Contact = FREE) -> np.ndarray:
        """Return each offer's expected incremental margin, minor units, shape (n, offers).

        Args:
            matrix: Shape (n, len(names)), NaN where unknown.
        """
        return net_of_contact(self.model.effects(matrix), contact)

    def error_of_sum(self, effects: np.ndarray, sent: np.ndarray) -> float | None:
        """Return the standard error of a sum of effects, minor units, None where it is not known.

        See recommender.uplift.UpliftModel.error_of_sum.

        Args:
            effects: The sum of each offer's, before any contact's cost, shape (offers,).
            sent: How many of each offer it sums, shape (offers,).
        """
        return self.model.error_of_sum(effects, sent)

    def to_text(self) -> str:
        """Return everything as JSON: no code is loaded with it."""
        return json.dumps(
            {
                "offers": self.offers,
                "names": self.names,
                "feature_hash": self.feature_hash,
                "days": self.days,
                "trained": None if self.trained is None else asdict(self.trained),
                "model": self.model.document(),
            }
        )

    @staticmethod
    def from_text(text: str) -> "OfferUplift":
        """Return what `to_text` wrote.

        Raises:
            KeyError, ValueError, TypeError, lightgbm.basic.LightGBMError: The text is none of it.
        """
        told = json.loads(text)
        trained = told.get("trained")
        return OfferUplift(
            UpliftModel.of(told["model"]),
            tuple(told["offers"]),
            tuple(told["names"]),
            told["feature_hash"],
            told["days"],
            None if trained is None else Effects(**trained),
        )
