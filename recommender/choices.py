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
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from recommender.campaign import Campaign, Floats, Integers

Flags = npt.NDArray[np.bool_]

THREADS = 2
NOTHING = -np.inf


class Amounts(NamedTuple):
    """A campaign's amounts as compiled passes take them; `uses` is empty where each takes one."""

    values: Floats
    costs: Floats
    uses: Floats

    @staticmethod
    def of(campaign: Campaign) -> "Amounts":
        none = np.empty((0, 0), campaign.values.dtype)
        uses = none if campaign.uses is None else campaign.uses
        return Amounts(campaign.values, campaign.costs, uses)


class Terms(NamedTuple):
    """What compiled passes need of the limits at some prices; the rest as in Rows."""

    cost_price: float
    contact_price: Floats
    use_price: Floats
    most_cost: float
    most_use: Floats
    group: Integers
    per_customer: int
    channel: Integers
    stock: int


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

    def terms(self, prices: Floats) -> Terms:
        """Return the price of cost, of a contact and of a use by offer, and what must be kept."""
        by_channel = np.where(self.channel < 0, 0.0, prices[self.channel])
        return Terms(
            cost_price=float(prices[0]),
            contact_price=prices[1] + by_channel,
            use_price=prices[self.stock :],
            most_cost=self.most_cost,
            most_use=self.most_use,
            group=self.group,
            per_customer=self.per_customer,
            channel=self.channel,
            stock=self.stock,
        )


def _place(name: str | None, names: list[str], first: int) -> int:
    return first + names.index(name) if name in names else -1


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
    amounts, terms = Amounts.of(campaign), rows.terms(prices)

    def block(part: slice) -> tuple[float, float, Floats, Integers]:
        used, sent = np.zeros(offers), np.zeros(offers, dtype=np.int64)
        worth, spent = _demand(amounts, terms, part.start, part.stop, used, sent)
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
    amounts, terms = Amounts.of(campaign), rows.terms(prices)

    def block(part: slice) -> None:
        _choose(amounts, terms, part.start, part.stop, sent)

    in_blocks(block, campaign.blocks())
    return sent


def interested(campaign: Campaign, rows: Rows, prices: Floats) -> Flags:
    """Return which customers would be sent anything at the prices, shape (N,)."""
    found = np.zeros(campaign.customers, dtype=np.bool_)
    amounts, terms = Amounts.of(campaign), rows.terms(prices)

    def block(part: slice) -> None:
        _interested(amounts, terms, part.start, part.stop, found)

    in_blocks(block, campaign.blocks())
    return found


@numba.njit(nogil=True)
def worth_at(amounts: Amounts, terms: Terms, customer: int, worth: Floats) -> None:
    """Fill in what each offer is worth at the prices, minus infinity where it fits in no plan."""
    for offer in range(len(worth)):
        value = amounts.values[customer, offer]
        cost = amounts.costs[customer, offer]
        use = use_of(amounts, customer, offer)
        paid = terms.cost_price * cost + terms.use_price[offer] * use
        fits = value > 0 and cost <= terms.most_cost and use <= terms.most_use[offer]
        worth[offer] = value - terms.contact_price[offer] - paid if fits else -np.inf


@numba.njit(nogil=True)
def use_of(amounts: Amounts, customer: int, offer: int) -> float:
    """Return the stock that sending an offer to a customer is expected to use."""
    return amounts.uses[customer, offer] if amounts.uses.shape[0] else 1.0


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
    amounts: Amounts, terms: Terms, start: int, stop: int, used: Floats, sent: Integers
) -> tuple[float, float]:
    worth = np.empty(len(terms.group))
    winner = np.empty(len(terms.group), dtype=np.int64)
    best = np.empty(terms.per_customer, dtype=np.int64)
    total, spent = 0.0, 0.0
    for customer in range(start, stop):
        worth_at(amounts, terms, customer, worth)
        for place in range(best_few(worth, terms.group, winner, best, terms.per_customer)):
            offer = best[place]
            total += worth[offer]
            spent += amounts.costs[customer, offer]
            used[offer] += use_of(amounts, customer, offer)
            sent[offer] += 1
    return total, spent  # pyright: ignore[reportReturnType]


@numba.njit(nogil=True)
def _choose(amounts: Amounts, terms: Terms, start: int, stop: int, chosen: Flags) -> None:
    worth = np.empty(len(terms.group))
    winner = np.empty(len(terms.group), dtype=np.int64)
    best = np.empty(terms.per_customer, dtype=np.int64)
    for customer in range(start, stop):
        worth_at(amounts, terms, customer, worth)
        for place in range(best_few(worth, terms.group, winner, best, terms.per_customer)):
            chosen[customer, best[place]] = True


@numba.njit(nogil=True)
def _interested(amounts: Amounts, terms: Terms, start: int, stop: int, found: Flags) -> None:
    worth = np.empty(len(terms.group))
    for customer in range(start, stop):
        worth_at(amounts, terms, customer, worth)
        found[customer] = worth.max() > 0
