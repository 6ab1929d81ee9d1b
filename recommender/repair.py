"""How do customers' choices at prices become a plan that keeps every limit?

Where a limit is broken, those offers are taken back that lose least for what they free: what the
offer is worth at the prices less what the same customer would be sent in its stead. Then what is
left of the limits is given to whoever makes most of it at the prices, until nothing fits.

Nothing here depends on the prices being right: any prices give a plan that keeps the limits.
"""

import math

import numba
import numpy as np

from recommender.campaign import BLOCK, Campaign, Floats, Integers
from recommender.choices import Flags, Rows, chosen, in_blocks, uses_of, worth_at

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
    customer, offer = np.nonzero(sent)
    cost = campaign.costs[customer, offer]
    number = np.bincount(offer, minlength=sent.shape[1])
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
    uses, terms = uses_of(campaign), rows.terms(prices)
    offer = np.empty(campaign.customers, dtype=np.int64)
    worth = np.empty(campaign.customers)
    for _ in range(ROUNDS):
        left = rows.capacity - taken_by(campaign, rows, sent)

        def block(part: slice, left: Floats = left) -> None:
            _best_additions(
                campaign.values,
                campaign.costs,
                uses,
                part.start,
                part.stop,
                *terms,
                rows.group,
                rows.per_customer,
                rows.channel,
                rows.stock,
                left,
                sent,
                offer,
                worth,
            )

        in_blocks(block, campaign.blocks())
        found = np.flatnonzero(offer >= 0)
        order = found[np.argsort(-worth[found], kind="stable")]
        if not _send(campaign.costs, uses, order, offer, rows.channel, rows.stock, left, sent):
            return


def _regrets(
    campaign: Campaign,
    rows: Rows,
    prices: Floats,
    sent: Flags,
    customer: Integers,
    offer: Integers,
) -> Floats:
    regret = np.empty(len(customer))
    uses, terms = uses_of(campaign), rows.terms(prices)

    def block(pairs: slice) -> None:
        _regret(
            campaign.values,
            campaign.costs,
            uses,
            pairs.start,
            pairs.stop,
            customer,
            offer,
            *terms,
            rows.group,
            sent,
            regret,
        )

    starts = range(0, len(customer), BLOCK)
    in_blocks(block, (slice(start, min(start + BLOCK, len(customer))) for start in starts))
    return regret


@numba.njit(nogil=True)
def _regret(
    values: Floats,
    costs: Floats,
    uses: Floats,
    start: int,
    stop: int,
    customers: Integers,
    offers: Integers,
    cost_price: float,
    contact_price: Floats,
    use_price: Floats,
    most_cost: float,
    most_use: Floats,
    group: Integers,
    sent: Flags,
    regret: Floats,
) -> None:
    worth = np.empty(len(group))
    for pair in range(start, stop):
        customer, offer = customers[pair], offers[pair]
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
        instead = 0.0
        for other in range(len(worth)):
            better = worth[other] > instead and not sent[customer, other]
            if better and may_join(customer, other, offer, group, sent):
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
    channel: Integers,
    stock: int,
    left: Floats,
    sent: Flags,
    best: Integers,
    best_worth: Floats,
) -> None:
    worth = np.empty(len(group))
    for customer in range(start, stop):
        best[customer] = -1
        if left[1] < 1:
            continue
        number = 0
        for offer in range(len(group)):
            number += sent[customer, offer]
        if number >= most:
            continue
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
        top = -np.inf
        for offer in range(len(group)):
            if not worth[offer] > top or sent[customer, offer]:
                continue
            use = uses[customer, offer] if uses.shape[0] else 1.0
            if costs[customer, offer] > left[0] or use > left[stock + offer]:
                continue
            if channel[offer] >= 0 and left[channel[offer]] < 1:
                continue
            if may_join(customer, offer, -1, group, sent):
                top = worth[offer]
                best[customer] = offer
        best_worth[customer] = top


@numba.njit(nogil=True)
def _send(
    costs: Floats,
    uses: Floats,
    order: Integers,
    best: Integers,
    channel: Integers,
    stock: int,
    left: Floats,
    sent: Flags,
) -> int:
    number = 0
    for customer in order:
        offer = best[customer]
        cost = costs[customer, offer]
        use = uses[customer, offer] if uses.shape[0] else 1.0
        if left[1] < 1 or cost > left[0] or use > left[stock + offer]:
            continue
        if channel[offer] >= 0 and left[channel[offer]] < 1:
            continue
        sent[customer, offer] = True
        left[0] -= cost
        left[1] -= 1
        left[stock + offer] -= use
        if channel[offer] >= 0:
            left[channel[offer]] -= 1
        number += 1
    return number
