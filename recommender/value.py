"""What is sending an offer to a customer expected to earn?

Expected incremental margin = uplift x margin - offer cost - contact cost, all in minor units. The
uplift is what the offer causes; its cost falls due with every response, caused or not; a contact
costs what the channel takes and what is lost if the customer forbids further contacts.

Marketers read the same ranking as response x context x value x lever, where value is the expected
incremental margin of one response. With context and lever 1 the product is the expected incremental
margin itself, whatever its sign, so both rank offers alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from foundation.contracts.tables import HIGHEST_LEVER, LOWEST_LEVER
from foundation.errors import RegularsError
from foundation.money import Currency
from foundation.scores import Interval


class InvalidValue(RegularsError):
    """A probability, cost or lever outside its range."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What one contact through a channel costs.

    Attributes:
        cost: Postage, message or call, in minor units.
        opt_out: The chance that she forbids further contacts because of it, in [0, 1].
        remaining_value: What she is expected to bring yet that would be lost, in minor units:
            discounted customer value, or the part of it that contacts bring.
    """

    cost: float = 0.0
    opt_out: float = 0.0
    remaining_value: float = 0.0

    def __post_init__(self) -> None:
        _within("contact cost", self.cost, 0.0, float("inf"))
        _within("opt-out probability", self.opt_out, 0.0, 1.0)
        _within("remaining value", self.remaining_value, 0.0, float("inf"))

    @property
    def opt_out_loss(self) -> float:
        """The expected loss from opting out, in minor units."""
        return self.opt_out * self.remaining_value

    @property
    def total(self) -> float:
        return self.cost + self.opt_out_loss


@dataclass(frozen=True)
class Contacts:
    """What a contact costs by channel, whoever gets it; a channel that is not named costs nothing.

    Attributes:
        by_channel: Cost and chance of opting out; their remaining value is not looked at.
        remaining_value: Stands in where a customer's own is not known, in minor units.
    """

    by_channel: Mapping[str, Contact] = field(default_factory=dict[str, Contact])
    remaining_value: float = 0.0

    def with_her(self, channel: str, remaining_value: float | None) -> Contact:
        """Return what a contact through a channel costs with one customer.

        Args:
            remaining_value: Hers, in minor units; None where it is not known.
        """
        known = self.by_channel.get(channel, FREE)
        left = self.remaining_value if remaining_value is None else remaining_value
        return Contact(known.cost, known.opt_out, left)

    def typical(self, channels: Sequence[str]) -> np.ndarray:
        """Return what contacts through channels cost in all with customers of the declared
        remaining value, minor units, shape (len(channels),): records do not tell their own."""
        totals = {channel: self.with_her(channel, None).total for channel in set(channels)}
        return np.array([totals[channel] for channel in channels], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class OfferValue:
    """What sending an offer is expected to earn, in minor units, and what that rests on.

    `response` is the probability of a redemption if the offer is sent, `uplift` what it adds to
    the chance of a purchase (or to purchases), `margin` what one such purchase earns before the
    offer's cost, `cost` what one redemption costs. `assumptions` are declared stand-ins that the
    figures rest on, each a sentence; they go wherever the figures go.
    """

    response: float
    uplift: Interval
    margin: float
    cost: float
    contact: Contact
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _within("response", self.response, 0.0, 1.0)
        _within("offer cost", self.cost, 0.0, float("inf"))
        _within("margin", self.margin, float("-inf"), float("inf"))
        if not self.uplift.low <= self.uplift.value <= self.uplift.high:
            raise InvalidValue(
                f"uplift {self.uplift.value} lies outside its interval {self.uplift.low} to "
                f"{self.uplift.high}; give the bounds around it"
            )

    @property
    def incremental_margin(self) -> Interval:
        """Expected incremental margin with the interval of the uplift carried through.

        Costs are taken as known; a negative margin turns the bounds around.
        """
        fixed = self.response * self.cost + self.contact.total
        low, high = sorted((self.uplift.low * self.margin, self.uplift.high * self.margin))
        return Interval(self.uplift.value * self.margin - fixed, low - fixed, high - fixed)

    def told(self, currency: Currency) -> str:
        """Say the value with its interval, and on what assumptions."""
        value = self.incremental_margin
        line = (
            f"{currency.show(value.value)} expected incremental margin "
            f"[{currency.show(value.low)}, {currency.show(value.high)}]"
        )
        return "; ".join([line, *(f"assumed: {one}" for one in self.assumptions)])


@dataclass(frozen=True, slots=True)
class Arbitration:
    """Why an offer stands where it stands: response x context x value x lever.

    Attributes:
        response: Probability of a response, in [0, 1].
        context: How much likelier than usual a response is in this context, above 0.
        value: Expected incremental margin for each response, in minor units.
        lever: The marketer's own weight, LOWEST_LEVER to HIGHEST_LEVER.
        without_response: What sending it is worth where nobody responds (its contact costs), in
            minor units; 0 unless response is 0, where value has no meaning and is 0.
    """

    response: float
    context: float
    value: float
    lever: float
    without_response: float = 0.0

    @staticmethod
    def of(offer: OfferValue, context: float = 1.0, lever: float = 1.0) -> "Arbitration":
        """Return the factors of an offer's value.

        Raises:
            InvalidValue: The context is not above 0, or the lever outside its bounds.
        """
        return _split(offer.incremental_margin.value, offer.response, context, lever)

    @staticmethod
    def of_margin(
        margin: float, usual: float, response: float, lever: float = 1.0
    ) -> "Arbitration":
        """Return the factors of an expected incremental margin that is known only whole.

        Args:
            margin: In this context, minor units, before the lever.
            usual, response: Probability of a response at any time, and in this context.

        Raises:
            InvalidValue: A probability or the lever is outside its bounds.
        """
        _within("usual response", usual, 0.0, 1.0)
        _within("response", response, 0.0, 1.0)
        if usual == 0.0 or response == 0.0:
            return _split(margin, 0.0, 1.0, lever)
        context = response / usual
        return _split(margin / context, usual, context, lever)

    @property
    def score(self) -> float:
        """The product, in minor units; higher ranks first.

        Context and lever scale it whatever its sign: they never make a loss look like a gain. An
        offer below 0 loses to sending none, whose score is 0, whatever its lever.
        """
        factors = self.context * self.lever
        return self.response * self.value * factors + self.without_response * factors

    def line(self, currency: Currency) -> str:
        """Say the factors and their product, as it is logged."""
        if self.response == 0.0:
            return (
                f"no response is expected: sending it costs {currency.show(-self.without_response)}"
            )
        return (
            f"{self.response:.1%} response x {self.context:.2f} context x "
            f"{currency.show(self.value)} a response x {self.lever:.2f} lever = "
            f"{currency.show(self.score)}"
        )

    def record(self) -> dict[str, float]:
        """Return the factors and the score as they go into the decision record."""
        return {
            "response": self.response,
            "context": self.context,
            "value": self.value,
            "lever": self.lever,
            "score": self.score,
        }


def _split(margin: float, response: float, context: float, lever: float) -> Arbitration:
    """Return the factors of a margin as it usually is, before context and lever."""
    if not 0.0 < context < float("inf"):
        raise InvalidValue(f"context {context}: give a factor above 0, 1 for no influence")
    _lever(lever)
    if response == 0.0:
        return Arbitration(0.0, context, 0.0, lever, margin)
    return Arbitration(response, context, margin / response, lever)


def net_of_contact(effects: np.ndarray, contact: Contact) -> np.ndarray:
    """Return expected incremental margins where effects were measured in money.

    Such an effect has margin and the cost of redemptions in it already, so only the contact is
    left to pay: `OfferValue` with an uplift in minor units, a margin of 1 and no cost of its own.

    Args:
        effects: Minor units, already net of the offer's cost, any shape.
    """
    return effects - contact.total


def levered(value: float, lever: float) -> float:
    """Return the arbitration score of an expected incremental margin that is known only whole.

    Raises:
        InvalidValue: The lever is outside its bounds.
    """
    return Arbitration(0.0, 1.0, 0.0, _lever(lever), value).score


def ranked(offers: Sequence[Arbitration]) -> list[int]:
    """Return the places of offers by score, highest first; ties keep their order."""
    return sorted(range(len(offers)), key=lambda place: -offers[place].score)


def _lever(lever: float) -> float:
    _within("lever", lever, LOWEST_LEVER, HIGHEST_LEVER)
    return lever


def _within(name: str, amount: float, low: float, high: float) -> None:
    if not low <= amount <= high or amount in (float("inf"), float("-inf")):
        raise InvalidValue(f"{name} {amount} is out of range; give {low:g} to {high:g}")


FREE, NO_COSTS = Contact(), Contacts()
