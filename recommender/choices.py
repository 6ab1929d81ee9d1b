"""What would each customer be sent if every limit had a price?

At prices, an offer is worth to us what it earns less what it takes of budget, stock and contacts.
What one customer may get at all (so many offers, one of an exclusive group) is kept exactly: of
each group the best, of these the best few. Given the prices, that is the best for each customer,
and no customer depends on another.

Passes over customers are compiled (numba) and make no arrays of customers x offers: at a million
customers and fifty offers each would take 400 MB.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from recommender.campaign import Campaign, Floats, Integers

Flags = npt.NDArray[np.bool_]

THREADS = 2
NOTHING = -np.inf


@dataclass(frozen=True)
class Rows:
    """The limits of a campaign in a row: budget, contacts, contacts by channel, stock by offer.

    Attributes:
        capacity: Infinite where there is no limit, shape (R,), R = 2 + channels + M.
        channel: Each offer's row, shape (M,); its own channel may have none, then -1.
        stock: The first offer's row.
        group: Each offer's exclusive group, shape (M,), -1 where it has none.
        most_cost: A pair that costs more fits in no plan.
        most_use: The same for stock, shape (M,); -1 where an offer may not be sent at all.
        per_customer: How many offers a customer may get.
    """

    capacity: Floats
    channel: Integers
    stock: int
    group: Integers
    most_cost: float
    most_use: Floats
    per_customer: int

    @staticmethod
    def of(campaign: Campaign) -> "Rows":
        limits, offers = campaign.limits, campaign.offers
        channels = list(limits.contacts_by_channel)
        groups = list(dict.fromkeys(o.exclusive_group for o in offers if o.exclusive_group))
        given = [limits.budget, limits.contacts, *limits.contacts_by_channel.values()]
        given += [offer.stock for offer in offers]
        capacity = np.array([np.inf if one is None else float(one) for one in given])
        stock = 2 + len(channels)
        channel = np.array([_place(o.channel, channels, 2) for o in offers])
        contacts = np.minimum(capacity[1], np.where(channel < 0, np.inf, capacity[channel]))
        return Rows(
            capacity=capacity,
            channel=channel,
            stock=stock,
            group=np.array([_place(o.exclusive_group, groups, 0) for o in offers]),
            most_cost=float(capacity[0]),
            most_use=np.where(contacts < 1, -1.0, capacity[stock:]),
            per_customer=min(limits.per_customer, len(offers)),
        )

    def used(self, spent: float, used: Floats, sent: Integers) -> Floats:
        """Return what offers take of each limit, shape (R,), from money, uses and pairs of each."""
        taken = np.zeros(len(self.capacity))
        taken[0], taken[1] = spent, sent.sum()
        limited = self.channel >= 0
        np.add.at(taken, self.channel[limited], sent[limited])
        taken[self.stock :] = used
        return taken

    def terms(self, prices: Floats) -> tuple[float, Floats, Floats, float, Floats]:
        """Return what compiled passes need: price of cost, of a contact and of a use by offer."""
        by_channel = np.where(self.channel < 0, 0.0, prices[self.channel])
        contact = prices[1] + by_channel
        return float(prices[0]), contact, prices[self.stock :], self.most_cost, self.most_use


def _place(name: str | None, names: list[str], first: int) -> int:
    return first + names.index(name) if name in names else -1


def uses_of(campaign: Campaign) -> Floats:
    """Return the uses, an empty array where every offer takes one."""
    return np.empty((0, 0), campaign.values.dtype) if campaign.uses is None else campaign.uses


def in_blocks(work: Callable[[slice], Any], blocks: Iterable[slice]) -> list[Any]:
    """Return what the work gives for each block, in order, from two threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, blocks))


@dataclass(frozen=True)
class Demand:
    """What customers choose at prices: its worth there, and what it takes of each limit (R,)."""

    worth: float
    taken: Floats


def demand(campaign: Campaign, rows: Rows, prices: Floats) -> Demand:
    """Let every customer choose at the prices."""
    offers = len(campaign.offers)
    uses, terms = uses_of(campaign), rows.terms(prices)

    def block(part: slice) -> tuple[float, float, Floats, Integers]:
        used, sent = np.zeros(offers), np.zeros(offers, dtype=np.int64)
        worth, spent = _demand(
            campaign.values,
            campaign.costs,
            uses,
            part.start,
            part.stop,
            *terms,
            rows.group,
            rows.per_customer,
            used,
            sent,
        )
        return worth, spent, used, sent

    # Added up in the order of the blocks: threads change no digit.
    found = in_blocks(block, campaign.blocks())
    return Demand(
        worth=sum(one[0] for one in found),
        taken=rows.used(
            sum(one[1] for one in found),
            np.sum([one[2] for one in found], axis=0),
            np.sum([one[3] for one in found], axis=0),
        ),
    )


def chosen(campaign: Campaign, rows: Rows, prices: Floats) -> Flags:
    """Return which offers every customer would be sent at the prices, shape (N, M)."""
    sent = np.zeros(campaign.values.shape, dtype=np.bool_)
    uses, terms = uses_of(campaign), rows.terms(prices)

    def block(part: slice) -> None:
        _choose(
            campaign.values,
            campaign.costs,
            uses,
            part.start,
            part.stop,
            *terms,
            rows.group,
            rows.per_customer,
            sent,
        )

    in_blocks(block, campaign.blocks())
    return sent


@numba.njit(nogil=True)
def worth_at(
    values: Floats,
    costs: Floats,
    uses: Floats,
    customer: int,
    cost_price: float,
    contact_price: Floats,
    use_price: Floats,
    most_cost: float,
    most_use: Floats,
    worth: Floats,
) -> None:
    """Fill in what each offer is worth at the prices, minus infinity where it fits in no plan."""
    for offer in range(len(worth)):
        value = values[customer, offer]
        cost = costs[customer, offer]
        use = uses[customer, offer] if uses.shape[0] else 1.0
        net = value - cost_price * cost - contact_price[offer] - use_price[offer] * use
        fits = value > 0 and cost <= most_cost and use <= most_use[offer]
        worth[offer] = net if fits else -np.inf


@numba.njit(nogil=True)
def best_few(worth: Floats, group: Integers, winner: Integers, best: Integers, most: int) -> int:
    """Fill in the best offers of positive worth, best first, and return how many there are.

    `winner` is scratch, one a group; ties go to the earlier offer.
    """
    winner[:] = -1
    for offer in range(len(worth)):
        of = group[offer]
        if of < 0 or not worth[offer] > 0:
            continue
        if winner[of] < 0 or worth[offer] > worth[winner[of]]:
            winner[of] = offer
    found = 0
    for offer in range(len(worth)):
        if not worth[offer] > 0 or (group[offer] >= 0 and winner[group[offer]] != offer):
            continue
        if found == most:
            if not worth[offer] > worth[best[found - 1]]:
                continue
            found -= 1
        place = found
        while place > 0 and worth[offer] > worth[best[place - 1]]:
            best[place] = best[place - 1]
            place -= 1
        best[place] = offer
        found += 1
    return found


@numba.njit(nogil=True)
def _demand(
    values: Floats,
    costs: Floats,
    uses: Floats,
    start: int,
    stop: int,
    cost_price: float,
    contact_price: Floats,
    use_price: Floats,
    most_cost: float,
    most_use: Floats,
    group: Integers,
    most: int,
    used: Floats,
    sent: Integers,
) -> tuple[float, float]:
    worth = np.empty(len(group))
    winner = np.empty(len(group), dtype=np.int64)
    best = np.empty(most, dtype=np.int64)
    total, spent = 0.0, 0.0
    for customer in range(start, stop):
        worth_at(
            values,
            costs,
            uses,
            customer,
            cost_price,
            contact_price,
            use_price,
            most_cost,
            most_use,
            worth,
        )
        for place in range(best_few(worth, group, winner, best, most)):
            offer = best[place]
            total += worth[offer]
            spent += costs[customer, offer]
            used[offer] += uses[customer, offer] if uses.shape[0] else 1.0
            sent[offer] += 1
    return total, spent  # pyright: ignore[reportReturnType]


@numba.njit(nogil=True)
def _choose(
    values: Floats,
    costs: Floats,
    uses: Floats,
    start: int,
    stop: int,
    cost_price: float,
    contact_price: Floats,
    use_price: Floats,
    most_cost: float,
    most_use: Floats,
    group: Integers,
    most: int,
    chosen: Flags,
) -> None:
    worth = np.empty(len(group))
    winner = np.empty(len(group), dtype=np.int64)
    best = np.empty(most, dtype=np.int64)
    for customer in range(start, stop):
        worth_at(
            values,
            costs,
            uses,
            customer,
            cost_price,
            contact_price,
            use_price,
            most_cost,
            most_use,
            worth,
        )
        for place in range(best_few(worth, group, winner, best, most)):
            chosen[customer, best[place]] = True
