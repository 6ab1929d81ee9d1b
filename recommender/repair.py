"""How do customers' choices at prices become a plan that keeps every limit?

Where a limit is broken, those offers are taken back that lose least for what they free: what the
offer is worth at the prices less what the same customer would be sent in its stead. Then what is
left of the limits is given to whoever makes most of it at the prices, until nothing fits.

Nothing here depends on the prices being right: any prices give a plan that keeps the limits.
"""

import math
from collections.abc import Iterator

import numba
import numpy as np

from recommender.campaign import BLOCK, Campaign, Floats, Integers
from recommender.choices import (
    Amounts,
    Flags,
    Rows,
    Terms,
    chosen,
    in_blocks,
    use_of,
    worth_at,
)

# Rounds of filling: each passes over all customers, and the later ones find little.
ROUNDS = 30


def plan_at(campaign: Campaign, rows: Rows, prices: Floats) -> Flags:
    """Return what to send, shape (N, M), within all limits, from choices at the prices."""
    sent = chosen(campaign, rows, prices)
    take_back(campaign, rows, prices, sent)
    fill(campaign, rows, prices, sent)
    return sent


def taken_by(campaign: Campaign, rows: Rows, sent: Flags) -> Floats:
    """Return what a plan takes of each limit, shape (R,), sums rounded once."""
    return _taken_by_pairs(campaign, rows, *np.nonzero(sent))


def _taken_by_pairs(campaign: Campaign, rows: Rows, customer: Integers, offer: Integers) -> Floats:
    cost = campaign.costs[customer, offer]
    number = np.bincount(offer, minlength=len(campaign.offers))
    if campaign.uses is None:
        used = number.astype(np.float64)
    else:
        by_offer = np.argsort(offer, kind="stable")
        use = campaign.uses[customer, offer][by_offer]
        used = np.array([math.fsum(part) for part in np.split(use, np.cumsum(number)[:-1])])
    return rows.used(math.fsum(cost), used, number)


def take_back(campaign: Campaign, rows: Rows, prices: Floats, sent: Flags) -> None:
    """Take back the offers that lose least, limit by limit, until all limits hold."""
    over = taken_by(campaign, rows, sent) - rows.capacity
    if not np.any(over > 0):
        return
    customer, offer = np.nonzero(sent)
    regret = _regrets(campaign, rows, prices, sent, customer, offer)
    cost = campaign.costs[customer, offer].astype(np.float64)
    one = np.ones(len(offer))
    use = one if campaign.uses is None else campaign.uses[customer, offer].astype(np.float64)
    kept = np.ones(len(offer), dtype=np.bool_)
    # Stock first: what it gives back counts for the limits that hold for all offers.
    for limit in range(len(rows.capacity) - 1, -1, -1):
        if limit >= rows.stock:
            on, takes = offer == limit - rows.stock, use
        elif limit >= 2:
            on, takes = rows.channel[offer] == limit, one
        else:
            on, takes = one > 0, cost if limit == 0 else one
        pairs = np.flatnonzero(on & kept & (takes > 0))
        excess = math.fsum(takes[pairs]) - rows.capacity[limit]
        if excess > 0:
            cheapest = pairs[np.argsort(regret[pairs] / takes[pairs], kind="stable")]
            freed = np.cumsum(takes[cheapest])
            enough = int(np.searchsorted(freed, excess)) + 1
            kept[cheapest[:enough]] = False
            # The sum of those kept is rounded anew, and may lie a last digit above.
            while math.fsum(takes[pairs[kept[pairs]]]) > rows.capacity[limit]:
                enough += 1
                kept[cheapest[:enough]] = False
    sent[customer[~kept], offer[~kept]] = False


def fill(campaign: Campaign, rows: Rows, prices: Floats, sent: Flags) -> None:
    """Send what still fits, what is worth most at the prices first."""
    amounts, terms = Amounts.of(campaign), rows.terms(prices)
    customers = np.arange(campaign.customers)
    hers, its = np.nonzero(sent)
    for _ in range(ROUNDS):
        left = rows.capacity - _taken_by_pairs(campaign, rows, hers, its)
        offer, worth = np.empty(len(customers), dtype=np.int64), np.empty(len(customers))
        asked = customers

        def block(
            part: slice,
            left: Floats = left,
            asked: Integers = asked,
            offer: Integers = offer,
            worth: Floats = worth,
        ) -> None:
            _best_additions(amounts, terms, asked[part], left, sent, offer[part], worth[part])

        in_blocks(block, _parts(len(customers)))
        order = np.argsort(-worth, kind="stable")[: int((offer >= 0).sum())]
        new = _send(amounts, terms, customers[order], offer[order], left, sent)
        if not new.any():
            return
        hers = np.concatenate([hers, customers[order][new]])
        its = np.concatenate([its, offer[order][new]])
        # What is left only shrinks: to whom nothing could be added, nothing ever can.
        customers = customers[offer >= 0]


def _parts(number: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, number)) for start in range(0, number, BLOCK))


def _regrets(
    campaign: Campaign,
    rows: Rows,
    prices: Floats,
    sent: Flags,
    customer: Integers,
    offer: Integers,
) -> Floats:
    regret = np.empty(len(customer))
    amounts, terms = Amounts.of(campaign), rows.terms(prices)

    def block(pairs: slice) -> None:
        _regret(amounts, terms, customer[pairs], offer[pairs], sent, regret[pairs])

    in_blocks(block, _parts(len(customer)))
    return regret


@numba.njit(nogil=True)
def _regret(
    amounts: Amounts,
    terms: Terms,
    customers: Integers,
    offers: Integers,
    sent: Flags,
    regret: Floats,
) -> None:
    worth = np.empty(len(terms.group))
    for pair in range(len(regret)):
        customer, offer = customers[pair], offers[pair]
        worth_at(amounts, terms, customer, worth)
        instead = 0.0
        for other in range(len(worth)):
            better = worth[other] > instead and not sent[customer, other]
            if better and may_join(customer, other, offer, terms.group, sent):
                instead = worth[other]
        regret[pair] = worth[offer] - instead


@numba.njit(nogil=True)
def may_join(customer: int, offer: int, instead_of: int, group: Integers, sent: Flags) -> bool:
    """Whether no other offer of the exclusive group is sent to her, `instead_of` aside."""
    if group[offer] < 0:
        return True
    for other in range(len(group)):
        if group[other] == group[offer] and other != instead_of and sent[customer, other]:
            return False
    return True


@numba.njit(nogil=True)
def _best_additions(
    amounts: Amounts,
    terms: Terms,
    customers: Integers,
    left: Floats,
    sent: Flags,
    best: Integers,
    best_worth: Floats,
) -> None:
    """Fill in the offer worth most that could be added for each customer, -1 where there is none.

    Its worth is minus infinity then.
    """
    worth = np.empty(len(terms.group))
    best[:] = -1
    best_worth[:] = -np.inf
    for row in range(len(customers)):
        customer = customers[row]
        if left[1] < 1:
            continue
        number = 0
        for offer in range(len(worth)):
            number += sent[customer, offer]
        if number >= terms.per_customer:
            continue
        worth_at(amounts, terms, customer, worth)
        top = -np.inf
        for offer in range(len(worth)):
            if not worth[offer] > top or sent[customer, offer]:
                continue
            if _fits(amounts, terms, customer, offer, left) and may_join(
                customer, offer, -1, terms.group, sent
            ):
                top = worth[offer]
                best[row] = offer
        best_worth[row] = top


@numba.njit(nogil=True)
def _fits(amounts: Amounts, terms: Terms, customer: int, offer: int, left: Floats) -> bool:
    """Whether what is left of each limit takes one more pair."""
    if left[1] < 1 or (terms.channel[offer] >= 0 and left[terms.channel[offer]] < 1):
        return False
    use = use_of(amounts, customer, offer)
    return amounts.costs[customer, offer] <= left[0] and use <= left[terms.stock + offer]


@numba.njit(nogil=True)
def _send(
    amounts: Amounts, terms: Terms, customers: Integers, offers: Integers, left: Floats, sent: Flags
) -> Flags:
    """Send what still fits, in order; return which pairs did."""
    fitted = np.zeros(len(customers), dtype=np.bool_)
    for pair in range(len(customers)):
        customer, offer = customers[pair], offers[pair]
        if not _fits(amounts, terms, customer, offer, left):
            continue
        sent[customer, offer] = True
        left[0] -= amounts.costs[customer, offer]
        left[1] -= 1
        left[terms.stock + offer] -= use_of(amounts, customer, offer)
        if terms.channel[offer] >= 0:
            left[terms.channel[offer]] -= 1
        fitted[pair] = True
    return fitted
