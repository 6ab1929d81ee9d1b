"""Uses of offers: reserved at activation, committed at redemption, given back by a return.

One counter holds for all channels and for batch. A viewer uses nothing: otherwise those who only
look would exhaust a cap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import msgspec

State = Literal["reserved", "redeemed", "released", "reversed"]
# In these states a use holds its place under every limit.
HOLDING: tuple[State, ...] = ("reserved", "redeemed")
Exhausted = Literal["cap_reached", "budget_spent", "out_of_stock"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What an offer may cost in all; None is no limit. Money in minor units.

    `stock` counts pieces in all, `store_stock` pieces by store; a store it does not name has none.
    """

    cost: int
    total_cap: int | None = None
    customer_cap: int | None = None
    budget: int | None = None
    stock: int | None = None
    store_stock: Mapping[str, int] | None = None

    @property
    def scarce(self) -> bool:
        """Whether a customer's use leaves less to the others."""
        limits = (self.total_cap, self.budget, self.stock, self.store_stock)
        return any(limit is not None for limit in limits)


NO_LIMITS = Limits(cost=0)


def read_limits(document: Mapping[str, Any]) -> Limits:
    """Return the limits in a row of the offers contract."""
    return Limits(
        cost=document["cost"],
        total_cap=document.get("total_cap"),
        customer_cap=document.get("customer_cap"),
        budget=document.get("budget"),
        stock=document.get("stock"),
        store_stock=document.get("store_stock"),
    )


@dataclass(slots=True)
class Held:
    """What is reserved or redeemed of one offer: uses, their cost in minor units, uses by store.

    `by_arm` is what of it counts under a variant's part, see `Arm`.
    """

    uses: int = 0
    cost: int = 0
    by_store: dict[str, int] = field(default_factory=dict[str, int])
    by_arm: "dict[str, Held]" = field(default_factory=dict[str, "Held"])

    def take(self, store_id: str | None, cost: int, uses: int = 1, arm: str | None = None) -> None:
        """Count uses (negative: given back) that cost `cost` in all."""
        self.uses += uses
        self.cost += cost
        if store_id is not None:
            self.by_store[store_id] = self.by_store.get(store_id, 0) + uses
        if arm is not None:
            self.by_arm.setdefault(arm, Held()).take(None, cost, uses)


NOTHING_HELD = Held()


def exhausted(limits: Limits, held: Held, store_id: str | None) -> Exhausted | None:
    """Return why nobody may take one more use of an offer, None when somebody may.

    Where a store has stock of its own, a use without a store takes from none and is refused.
    """
    if limits.total_cap is not None and held.uses >= limits.total_cap:
        return "cap_reached"
    if limits.budget is not None and held.cost + limits.cost > limits.budget:
        return "budget_spent"
    if limits.stock is not None and held.uses >= limits.stock:
        return "out_of_stock"
    if limits.store_stock is not None:
        pieces = 0 if store_id is None else limits.store_stock.get(store_id, 0)
        if store_id is None or held.by_store.get(store_id, 0) >= pieces:
            return "out_of_stock"
    return None


def uses_left(limits: Limits, held: Held) -> int | None:
    """Return how many more uses an offer has for all customers and stores, None for no limit."""
    left: list[int] = []
    if limits.total_cap is not None:
        left.append(limits.total_cap - held.uses)
    if limits.budget is not None and limits.cost > 0:
        left.append((limits.budget - held.cost) // limits.cost)
    elif limits.budget is not None and held.cost > limits.budget:
        left.append(0)
    if limits.stock is not None:
        left.append(limits.stock - held.uses)
    if limits.store_stock is not None:
        left.append(
            sum(
                max(pieces - held.by_store.get(store, 0), 0)
                for store, pieces in limits.store_stock.items()
            )
        )
    return max(min(left), 0) if left else None


class Arm(msgspec.Struct, frozen=True):
    """The variant under whose part of an offer's limits a use counts.

    `weights` are those of all arms that share the offer, by name.
    """

    name: str
    weights: dict[str, float]


class Claim(msgspec.Struct, frozen=True):
    """A wish to use an offer once: to reserve it, or with `redeem` to use it now.

    `use_id` names the use if it is granted. `replay` names the request: the same one gets the same
    answer again. `activation_id` names the reservation a redemption is for. `used_before` counts
    her redemptions that the store of uses was never told of. `lasts_seconds` is how long a
    reservation holds, at most until `valid_to`. `inapplicable` says why the offer is not for her
    here and now: a new use is refused for it, one that was kept for her is not. `arm` is None
    where no experiment shares the offer out.
    """

    use_id: str
    customer_id: str
    offer_id: str
    channel: str
    redeem: bool
    replay: str | None = None
    store_id: str | None = None
    activation_id: str | None = None
    decision_id: str | None = None
    order_id: str | None = None
    inapplicable: str | None = None
    used_before: int = 0
    lasts_seconds: int = 0
    valid_to: datetime | None = None
    arm: Arm | None = None


class Claimed(msgspec.Struct, frozen=True):
    """The answer: the use and, reserved, when it ends; or why there is none."""

    use_id: str | None
    refused: str | None = None
    expires_at: datetime | None = None


class Ended(msgspec.Struct, frozen=True):
    """What became of a use that was cancelled or reversed; None where there is no such use.

    `changed` is False where it had that state before.
    """

    state: State | None
    changed: bool
