"""The uplift model's registry port."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from foundation.scores import Interval
from recommender.offer_uplift import OfferUplift
from recommender.reference import Reference
from recommender.uplift_evaluation import Evaluation

UPLIFT = "uplift"
# Logged with each version: decisions after it are news to the model.
TOLD_UNTIL = "told_until"


@dataclass(frozen=True)
class UpliftReport:
    """A model of offers' uplift and how it was judged.

    Attributes:
        evaluation: By cross-fitting; money in minor units a decision.
        drawn: Mean money a decision of the policy that drew the rows.
        drawn_by: Kinds of that policy.
        customers: By what they got, "no offer" among them.
        response_rates: Share of them who redeemed in the window, same keys.
        told_until: The last instant that training knew of.
        reference: How what it was trained on was distributed.
    """

    model: OfferUplift
    evaluation: Evaluation
    drawn: Interval
    drawn_by: tuple[str, ...]
    rows: int
    customers: dict[str, int]
    response_rates: dict[str, float]
    again: int
    left_out: dict[str, int]
    told_until: datetime
    reference: Reference

    @property
    def pays(self) -> bool:
        """Whether targeting beats the best single offer and none, and the model targets at all."""
        return self.evaluation.choice.chosen == "policy" and self.model.model.best != "same"

    @property
    def best_single(self) -> str:
        """The offer that is best for everyone."""
        return self.model.offers[int(self.model.model.average.argmax())]

    def verdict(self) -> str:
        """Say whether the model may serve, why, and what to do otherwise."""
        because, chosen = self.evaluation.choice.because, self.evaluation.choice.chosen
        if self.pays:
            return because
        if chosen == "best_single":
            return f"{because}; show everyone offer {self.best_single!r} by a rule policy"
        if chosen == "none":
            return (
                f"{because}; show none of these offers until they cost less or earn more, or let "
                "the experiment run on for narrower intervals"
            )
        return (
            f"{because}, but learned from all rows the model tells no customer from another; let "
            "the experiment run on and train again"
        )


class UpliftRegistry(Protocol):
    """Tracks uplift models and hands out the one that serves."""

    def register(self, report: UpliftReport, data_digest: str) -> int:
        """Log a report with its model and return the registered version."""
        ...

    def crown(self, version: int) -> None:
        """Make a version the champion."""
        ...

    def challenge(self, version: int) -> None:
        """Make a version the challenger."""
        ...

    def champion_version(self) -> int | None:
        """Return the champion's version, None where there is no champion."""
        ...

    def reference(self, version: int) -> Reference | None:
        """Return what a version was trained on, None of versions of before that was kept."""
        ...

    def load(self, version: int) -> OfferUplift:
        """Return a version's model.

        Raises:
            RegularsError: It cannot be read.
        """
        ...
