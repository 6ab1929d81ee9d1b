"""A campaign: what each offer would earn from each customer, and the limits on sending them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foundation.errors import RegularsError

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

# Customers at once: small enough for the cache, large enough for the call.
BLOCK = 16_384


class InvalidCampaign(RegularsError):
    """A campaign that cannot be planned as it was given."""


@dataclass(frozen=True, slots=True)
class PlannedOffer:
    """An offer of the campaign. Its stock counts uses; without one it is unlimited."""

    offer_id: str
    stock: int | None = None
    channel: str | None = None
    exclusive_group: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the whole campaign may take: money in minor units, contacts, offers a customer.

    A contact is one offer sent to one customer.
    """

    budget: int | None = None
    contacts: int | None = None
    contacts_by_channel: Mapping[str, int] = field(default_factory=dict[str, int])
    per_customer: int = 1


@dataclass(frozen=True)
class Campaign:
    """N customers, M offers and the limits.

    Attributes:
        values: Expected incremental margin of sending an offer to a customer, in minor units,
            shape (N, M); minus infinity where she may not get it.
        costs: Budget that sending it is expected to use, in minor units, shape (N, M).
        offers: One a column.
        uses: Stock that sending it is expected to use, shape (N, M): the chance of a redemption
            where stock is taken at redemption. Without it every offer sent takes one.

    Raises:
        InvalidCampaign: A shape does not fit, a value is missing, a cost, use or limit negative or
            missing, a channel unknown, or an offer named twice.
    """

    values: Floats
    costs: Floats
    offers: Sequence[PlannedOffer]
    limits: Limits
    uses: Floats | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_limits()
        for rows in self.blocks():
            _refuse(
                np.isnan(self.values[rows]) | (self.values[rows] == np.inf),
                rows,
                "value",
                "give an amount, or minus infinity where she may not get it",
            )
            for name, amounts in (("cost", self.costs), ("use", self.uses)):
                if amounts is not None:
                    part = amounts[rows]
                    _refuse(~((part >= 0) & (part < np.inf)), rows, name, "give 0 or more")

    @property
    def customers(self) -> int:
        return len(self.values)

    def blocks(self) -> Iterator[slice]:
        """Yield all customers, some thousand at a time."""
        for start in range(0, self.customers, BLOCK):
            yield slice(start, min(start + BLOCK, self.customers))

    def _check_shapes(self) -> None:
        for name, amounts in (("values", self.values), ("costs", self.costs), ("uses", self.uses)):
            if not (isinstance(amounts, np.ndarray) or (amounts is None and name == "uses")):
                raise InvalidCampaign(
                    f"{name} is a {type(amounts).__name__}, which has no shape: give an array of "
                    "numpy, a row a customer and a column an offer"
                )
        if self.values.ndim != 2 or self.values.shape[1] != len(self.offers) or not self.offers:
            raise InvalidCampaign(
                f"values of shape {self.values.shape} for {len(self.offers)} offers: a row a "
                "customer and a column an offer are needed, of at least one offer"
            )
        for name, amounts in (("costs", self.costs), ("uses", self.uses)):
            if amounts is not None and amounts.shape != self.values.shape:
                raise InvalidCampaign(
                    f"{name} of shape {amounts.shape}: values have {self.values.shape}; give one "
                    "for each customer and offer"
                )
        ids = [offer.offer_id for offer in self.offers]
        if twice := sorted({one for one in ids if ids.count(one) > 1}):
            raise InvalidCampaign(f"offer {twice[0]!r} is there twice; give each one column")

    def _check_limits(self) -> None:
        limits = self.limits
        named = [("budget", limits.budget), ("contacts", limits.contacts)]
        named += [(f"contacts of channel {c!r}", n) for c, n in limits.contacts_by_channel.items()]
        named += [(f"stock of offer {o.offer_id!r}", o.stock) for o in self.offers]
        for name, limit in named:
            if limit is not None and not limit >= 0:
                raise InvalidCampaign(f"{name} is {limit}: give 0 or more, or no limit")
        if limits.per_customer < 1:
            raise InvalidCampaign(
                f"per_customer is {limits.per_customer}: a plan sends each customer at most that "
                "many offers, give at least 1"
            )
        known = {offer.channel for offer in self.offers}
        for channel in limits.contacts_by_channel:
            if channel not in known:
                raise InvalidCampaign(
                    f"contacts of channel {channel!r} are limited, but no offer is sent through "
                    "it; name the channel of an offer"
                )


def _refuse(wrong: npt.NDArray[np.bool_], rows: slice, name: str, way_out: str) -> None:
    if wrong.any():
        customer, offer = np.argwhere(wrong)[0]
        raise InvalidCampaign(
            f"the {name} of customer {rows.start + customer} and offer {offer} (and "
            f"{int(wrong.sum()) - 1} more near it) is missing or out of range; {way_out}"
        )
