"""The best plan exactly, as an integer programme: for small campaigns, and for what is undecided.

Most customers are decided by the prices: any other offer would lose more than the plan lacks to its
bound. Those whose offers nearly tie are the core. Deciding them anew, all at once, within what the
others leave of the limits, is a small integer programme, solved by HiGHS.

Sources: Balas and Zemel 1980, the core of a knapsack; reduced-cost fixing, Martello and Toth 1990.
"""

from typing import Any

import highspy
import numba
import numpy as np
from scipy import sparse

from foundation.errors import RegularsError
from recommender.campaign import Campaign, Floats, Integers
from recommender.choices import Amounts, Flags, Rows, Terms, best_few, worth_at
from recommender.repair import taken_by

# Pairs of customer and offer that are decided anew at once; HiGHS takes seconds for so many.
CORE = 400
# Branches of the search: a bound on time that gives the same plan every time.
NODES = 100
# The core is decided to this part of what it earns.
GAP = 1e-4
ENDLESS = 2**31 - 1
# A limit broken by a last digit is drawn tighter and decided again.
TRIES = 3

Pairs = tuple[Integers, Integers]


def exact_plan(campaign: Campaign) -> Flags:
    """Return the best plan there is, shape (N, M). It takes minutes from some thousand pairs on.

    Raises:
        RegularsError: HiGHS ended without a proof that it is the best.
    """
    rows = Rows.of(campaign)
    use = 1.0 if campaign.uses is None else campaign.uses
    fits = (campaign.costs <= rows.most_cost) & (use <= rows.most_use)
    customer, offer = np.nonzero((campaign.values > 0) & fits)
    nothing = np.zeros(campaign.values.shape, dtype=np.bool_)
    plan, best = _decide(campaign, rows, nothing, (customer, offer), 0.0, ENDLESS)
    if plan is None or not best:
        raise RegularsError("HiGHS ended without the best plan; plan fewer customers exactly")
    return plan


def decide_core(
    campaign: Campaign, rows: Rows, prices: Floats, sent: Flags, lacking: float
) -> Flags:
    """Return the plan with its core decided anew, or as it was where that finds no better.

    Args:
        prices: Those of the lowest bound.
        sent: A plan within all limits, shape (N, M).
        lacking: What the plan lacks to the bound: a pair whose other choice loses more is decided.
    """
    pairs = _core(campaign, rows, prices, lacking)
    total = campaign.values[sent].sum(dtype=np.float64)
    plan, _ = _decide(campaign, rows, sent, pairs, GAP, NODES)
    better = plan is not None and campaign.values[plan].sum(dtype=np.float64) > total
    return plan if plan is not None and better else sent


def first_unit(campaign: Campaign, rows: Rows, prices: Floats) -> Floats:
    """Return the prices, shape (R,), with those of limits of 0 filled in.

    Nothing that such a limit shuts out was ever priced. What its first unit would earn is the most,
    among pairs that it alone shuts out, that the pair would add at the prices for what it takes.
    """
    told = prices.copy()
    none = rows.capacity == 0
    if not none.any():
        return told
    through = np.flatnonzero((rows.channel >= 0) & none[rows.channel])
    for part in campaign.blocks():
        cost = campaign.costs[part].astype(np.float64)
        use = np.ones(cost.shape) if campaign.uses is None else campaign.uses[part]
        over_stock = use > rows.capacity[rows.stock :]
        shut = (cost > rows.most_cost).astype(np.int64) + over_stock + none[1]
        shut[:, through] += 1
        gain = -_losses_in(campaign, rows, prices, part, np.inf, np.full(len(rows.group), np.inf))
        gain = np.where((shut == 1) & (gain > 0), gain, 0.0)
        if none[0]:
            told[0] = max(told[0], _highest(gain, cost, cost > 0))
        if none[1]:
            told[1] = max(told[1], gain.max())
        for offer in through:
            row = rows.channel[offer]
            told[row] = max(told[row], gain[:, offer].max())
        for offer in np.flatnonzero(none[rows.stock :]):
            row, on = rows.stock + offer, over_stock[:, offer]
            told[row] = max(told[row], _highest(gain[:, offer], use[:, offer], on))
    return told


def _highest(gain: Floats, takes: Floats, on: Flags) -> float:
    return float((gain[on] / takes[on]).max(initial=0.0))


def _decide(
    campaign: Campaign, rows: Rows, sent: Flags, pairs: Pairs, gap: float, nodes: int
) -> tuple[Flags | None, bool]:
    """Decide these pairs anew; return the plan, None for none, and whether it is the best."""
    customer, offer = pairs
    kept = sent.copy()
    kept[customer, offer] = False
    if len(customer) == 0:
        return kept, True
    limited = np.flatnonzero(np.isfinite(rows.capacity))
    left = (rows.capacity - taken_by(campaign, rows, kept))[limited]
    taking = _takes(campaign, rows, customer, offer)[limited]
    of_customers, room = _of_customers(rows, kept, customer, offer)
    for _ in range(TRIES):
        takes = sparse.vstack([taking, of_customers]).tocsc()
        best, picked = _solve(
            campaign.values[customer, offer],
            takes,
            np.concatenate([left, room]),
            sent[customer, offer],
            gap,
            nodes,
        )
        if picked is None:
            break
        plan = kept.copy()
        plan[customer[picked], offer[picked]] = True
        over = (taken_by(campaign, rows, plan) - rows.capacity)[limited]
        if not np.any(over > 0):
            return plan, best
        # HiGHS keeps limits to a billionth, a plan keeps them.
        left -= 2 * np.maximum(over, 0)
    return None, False


def _solve(
    values: Floats, takes: Any, limits: Floats, start: Flags, gap: float, nodes: int
) -> tuple[bool, Flags | None]:
    """Return whether the best choice was found, and the choice, shape (pairs,)."""
    solver = highspy.Highs()
    for option, value in (
        ("output_flag", False),
        ("threads", 1),
        ("mip_rel_gap", gap),
        ("mip_max_nodes", nodes),
        ("mip_feasibility_tolerance", 1e-9),
        ("primal_feasibility_tolerance", 1e-9),
    ):
        solver.setOptionValue(option, value)
    programme = highspy.HighsLp()
    programme.num_row_, programme.num_col_ = takes.shape
    programme.sense_ = highspy.ObjSense.kMaximize
    programme.col_cost_ = values.astype(np.float64)
    programme.col_lower_ = np.zeros(len(values))
    programme.col_upper_ = np.ones(len(values))
    programme.integrality_ = [highspy.HighsVarType.kInteger] * len(values)
    programme.row_lower_ = np.full(len(limits), -highspy.kHighsInf)
    programme.row_upper_ = limits.astype(np.float64)
    programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    programme.a_matrix_.start_ = takes.indptr
    programme.a_matrix_.index_ = takes.indices
    programme.a_matrix_.value_ = takes.data
    solver.passModel(programme)
    solution = highspy.HighsSolution()
    solution.col_value = list(start.astype(np.float64))
    solver.setSolution(solution)
    solver.run()
    best = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    found = (
        solver.getInfo().primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    )
    return best, np.array(solver.getSolution().col_value) > 0.5 if found else None


def _takes(campaign: Campaign, rows: Rows, customer: Integers, offer: Integers) -> Any:
    """Return what each pair takes of each limit, shape (R, pairs)."""
    pair, one = np.arange(len(offer)), np.ones(len(offer))
    use = one if campaign.uses is None else campaign.uses[customer, offer]
    through = np.flatnonzero(rows.channel[offer] >= 0)
    row = np.concatenate([0 * pair, 0 * pair + 1, rows.channel[offer[through]], rows.stock + offer])
    column = np.concatenate([pair, pair, through, pair])
    takes = np.concatenate([campaign.costs[customer, offer], one, one[through], use])
    shape = (len(rows.capacity), len(offer))
    return sparse.csr_array((takes.astype(np.float64), (row, column)), shape=shape)


def _of_customers(
    rows: Rows, kept: Flags, customer: Integers, offer: Integers
) -> tuple[Any, Floats]:
    """Return each pair's part in its customer's limits, shape (rules, pairs), and the limits."""
    who, place = np.unique(customer, return_inverse=True)
    groups = int(rows.group.max()) + 1
    grouped = np.flatnonzero(rows.group[offer] >= 0)
    rule = len(who) + place[grouped] * groups + rows.group[offer[grouped]]
    row = np.concatenate([place, rule])
    column = np.concatenate([np.arange(len(offer)), grouped])
    shape = (len(who) * (1 + groups), len(offer))
    number = rows.per_customer - kept[who].sum(axis=1)
    taken = np.zeros((len(who), groups))
    for group in range(groups):
        taken[:, group] = kept[np.ix_(who, np.flatnonzero(rows.group == group))].any(axis=1)
    room = np.concatenate([number, (1.0 - taken).ravel()]).astype(np.float64)
    return sparse.csr_array((np.ones(len(row)), (row, column)), shape=shape), room


def _core(
    campaign: Campaign, rows: Rows, prices: Floats, lacking: float
) -> tuple[Integers, Integers]:
    """Return the pairs, at most CORE, whose other choice loses least and less than lacks."""
    losses = np.empty(0)
    pairs = np.empty((0, 2), dtype=np.int64)
    for part in campaign.blocks():
        loss = _losses_in(campaign, rows, prices, part, rows.most_cost, rows.most_use)
        near = np.argwhere(loss <= lacking)
        losses = np.concatenate([losses, loss[near[:, 0], near[:, 1]]])
        pairs = np.concatenate([pairs, near + np.array([part.start, 0])])
        if len(losses) > CORE:
            first = np.argsort(losses, kind="stable")[:CORE]
            losses, pairs = losses[first], pairs[first]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs[:, 0], pairs[:, 1]


def _losses_in(
    campaign: Campaign,
    rows: Rows,
    prices: Floats,
    part: slice,
    most_cost: float,
    most_use: Floats,
) -> Floats:
    """Return what the bound loses at least if a pair is chosen otherwise, shape (customers, M).

    A pair that takes more than these is infinitely bad; what customers choose is as ever.
    """
    loss = np.empty((part.stop - part.start, len(campaign.offers)))
    terms = rows.terms(prices)
    asked = terms._replace(most_cost=most_cost, most_use=most_use)
    _losses(Amounts.of(campaign), terms, asked, part.start, loss)
    return loss


@numba.njit(nogil=True)
def _losses(amounts: Amounts, terms: Terms, asked: Terms, start: int, loss: Floats) -> None:
    group, most = terms.group, terms.per_customer
    worth = np.empty(len(group))
    asked_worth = np.empty(len(group))
    winner = np.empty(len(group), dtype=np.int64)
    best = np.empty(most, dtype=np.int64)
    for row in range(len(loss)):
        customer = start + row
        worth_at(amounts, terms, customer, worth)
        worth_at(amounts, asked, customer, asked_worth)
        found = best_few(worth, group, winner, best, most)
        # Whoever joins when she has all she may get replaces the weakest.
        weakest = worth[best[found - 1]] if found == most else 0.0
        for offer in range(len(group)):
            rival = _of_group(offer, group, best, found)
            loss[row, offer] = (weakest if rival < 0 else worth[rival]) - asked_worth[offer]
        for place in range(found):
            offer = best[place]
            instead = 0.0
            for other in range(len(group)):
                rival = _of_group(other, group, best, found)
                if worth[other] > instead and other != rival and (rival < 0 or rival == offer):
                    instead = worth[other]
            loss[row, offer] = worth[offer] - instead


@numba.njit(nogil=True)
def _of_group(offer: int, group: Integers, best: Integers, found: int) -> int:
    """Return which chosen offer this one could only replace: itself, or one of its group; or -1."""
    for place in range(found):
        other = best[place]
        if other == offer or (group[offer] >= 0 and group[other] == group[offer]):
            return other
    return -1
