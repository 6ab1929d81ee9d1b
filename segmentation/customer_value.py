"""What will each customer bring, discounted to today, and between which bounds?

Her interval is what futures drawn for her say: parameters as likely as the data leave them
(parameter uncertainty), then whether she still buys, at what rate, until when, how often and for
how much (purchase uncertainty). Of 119 futures the 12th and the 108th bound it: her own future, a
120th, falls between them with a chance of 96 in 120. `calibrated_rank` says how much further out
the bounds must lie where customers vary more than the model knows.

Purchases are whole numbers and nothing is the likeliest of values, so a closed interval holds more
than 80 %: who surely stopped is told "0 to 0" and that holds always. `held_share` therefore counts
a future that ties with drawn ones by the share of its possible ranks (the PIT of counts): 80 % on
average exactly if the futures are drawn from the truth.

Sources: Fader, Hardie and Lee 2005, "RFM and CLV"; ranks of predictive draws, Geisser 1993; PIT of
counts, Czado, Gneiting and Held 2009.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from segmentation.clv_champion import ClvModel, alive_chance, expected, summary_of
from segmentation.purchase_models import PurchaseModel, alive_probability
from segmentation.spend_model import SpendModel, told_spend
from segmentation.two_stage import TwoStage

Floats = np.ndarray

FUTURES = 119
RANK = 12
SHARE = 0.8
# Sets of parameters that the futures take in turn.
PARAMETER_SETS = 20
# Customers at once: 119 futures of each, some arrays of them, in a few ten megabytes.
CHUNK = 4_000
THREADS = 2

# Value if alive is value / P(alive), at most ten times her value: below, the division would make a
# fortune of a forecast's last digits, in trees above all, which do not know of P(alive).
LEAST_ALIVE = 0.1

WEEKS_A_YEAR = 365.25 / 7
# Weights and nodes on (0, 1): the discount hardly bends within a horizon.
NODES, WEIGHTS = (v / 2 for v in np.polynomial.legendre.leggauss(3))


@dataclass(frozen=True)
class Horizon:
    """How far ahead value is counted, and what a later year's money is worth less (.1 = 10 %)."""

    weeks: float
    annual_discount: float

    @property
    def force(self) -> float:
        """The continuous discount rate a week."""
        return float(np.log1p(self.annual_discount) / WEEKS_A_YEAR)


@dataclass(frozen=True)
class CustomerValues:
    """What customers will bring, discounted, in the unit of spend, with 80 % intervals.

    `customers` has a row a customer: purchases and value, each with _low and _high; alive, the
    probability that she has not stopped, and value_if_alive, her value if she has not. Value is
    unknown (NaN) where no mean spend is. `groups` has, for each segmentation, a row a group:
    customers, value, value_low and value_high of all of them together.
    """

    customers: pd.DataFrame
    groups: dict[str, pd.DataFrame]


def customer_values(
    model: ClvModel,
    spend: SpendModel,
    summary: pd.DataFrame,
    horizon: Horizon,
    seed: int,
    labels: pd.DataFrame | None = None,
    rank: int = RANK,
    widening: float = 1.0,
) -> CustomerValues:
    """Return what each customer, and each group of them, is expected to bring.

    Args:
        summary: As of summarise_days; columns x, t_x, T, spend.
        seed: Same customers in the same order and same seed, same intervals.
        labels: Same index as summary; a column a segmentation, naming each customer's group.
        rank: Which future, counted from either end, bounds the intervals; of calibrated_rank.
        widening: By which factor bounds of groups lie further out; of group_error.widening.
    """
    totals = Totals(pd.DataFrame(index=summary.index) if labels is None else labels)
    low, high = rank - 1, FUTURES - rank
    bounds = np.empty((len(summary), 4))
    for rows, purchases, value in futures(model, spend, summary, horizon, seed):
        totals.add(rows, value)
        for column, drawn in ((0, purchases), (2, value)):
            drawn.partition((low, high), axis=1)
            bounds[rows, column] = drawn[:, low]
            bounds[rows, column + 1] = drawn[:, high]
    mean = spend.expected_spend(summary["x"].to_numpy(), summary["spend"].to_numpy())
    value = discounted_purchases(model, summary, horizon) * mean
    alive = alive_chance(model, summary)
    customers = pd.DataFrame(
        {
            "purchases": expected(model, summary, horizon.weeks),
            "purchases_low": bounds[:, 0],
            "purchases_high": bounds[:, 1],
            "value": value,
            "value_low": bounds[:, 2],
            "value_high": bounds[:, 3],
            "alive": alive,
            "value_if_alive": value / np.maximum(alive, LEAST_ALIVE),
        },
        index=summary.index,
    )
    groups = totals.bounds(rank, widening)
    for name, found in groups.items():
        # A sum with an unknown part is unknown.
        found.insert(0, "value", totals.sums_of(name, customers["value"].to_numpy()))
        found.insert(0, "customers", totals.sums_of(name, np.ones(len(summary))).astype(int))
    return CustomerValues(customers, groups)


def discounted_purchases(model: ClvModel, summary: pd.DataFrame, horizon: Horizon) -> Floats:
    """Return expected purchases within the horizon, each worth less the later it comes."""
    # By parts: the last moment's discount on all of them, and the interest on those before it.
    force, weeks = horizon.force, horizon.weeks
    total = np.exp(-force * weeks) * expected(model, summary, weeks)
    for node, weight in zip(NODES + 0.5, WEIGHTS, strict=True):
        moment = weeks * node
        total += weight * weeks * force * np.exp(-force * moment) * expected(model, summary, moment)
    return total


def calibrated_rank(drawn: Iterable[Floats], actual: Iterable[Floats]) -> int:
    """Return the highest rank whose intervals held at least 80 % of what happened, 12 at most.

    Customers vary more than a model knows: their futures are then drawn too close together, and a
    rank further out makes up for it. Rank 1, the outermost, where none holds so many.

    Args:
        drawn: Futures some thousand customers at a time, shape (n, FUTURES) each.
        actual: What happened to the same customers, shape (n,) each.
    """
    held = [
        [held_share(futures, happened, rank) for rank in range(1, RANK + 1)]
        for futures, happened in zip(drawn, actual, strict=True)
    ]
    share = np.concatenate([np.array(part) for part in held], axis=1).mean(axis=1)
    # A thousandth of slack: ranks are as coarse as that, and futures are drawn.
    return int(np.count_nonzero(share >= SHARE - 0.001)) or 1


def held_share(drawn: Floats, actual: Floats, rank: int = RANK) -> Floats:
    """Return each customer's share of ranks of what happened that lie inside the interval.

    Args:
        drawn: Futures, shape (n, FUTURES).
        actual: What happened, shape (n,).
        rank: Which future, counted from either end, bounds the interval.
    """
    below = (drawn < actual[:, None]).sum(axis=1)
    ties = (drawn == actual[:, None]).sum(axis=1)
    inside = np.minimum(below + ties, FUTURES - rank) - np.maximum(below, rank) + 1
    return np.maximum(inside, 0) / (ties + 1)


def futures(
    model: ClvModel, spend: SpendModel, summary: pd.DataFrame, horizon: Horizon, seed: int
) -> Iterator[tuple[slice, Floats, Floats]]:
    """Draw futures of every customer, some thousand customers at a time.

    Yields:
        Which rows, their purchases and their discounted value, each of shape (n_rows, FUTURES).
    """
    draw = np.random.default_rng([seed, 0])
    purchases = (
        _TreeFutures(model, summary, horizon)
        if isinstance(model, TwoStage)
        else _ModelFutures(model, summary, horizon, draw)
    )
    spends = _Spends(spend, summary, horizon, draw)

    def chunk(start: int) -> tuple[slice, Floats, Floats]:
        # A stream of its own for each, so that threads change nothing.
        own = np.random.default_rng([seed, 1, start])
        rows = slice(start, min(start + CHUNK, len(summary)))
        count, active = purchases.draw(rows, own)
        return rows, count, spends.draw(rows, count, active, own)

    starts = range(0, len(summary), CHUNK)
    with ThreadPoolExecutor(THREADS) as pool:
        # Not all at once: what is drawn waits in memory until it is taken.
        for first in range(0, len(starts), THREADS):
            yield from pool.map(chunk, starts[first : first + THREADS])


class Totals:
    """Sums of futures by group; one future has the same parameters for every customer.

    Args:
        labels: A column a way of grouping, naming each customer's group.
    """

    def __init__(self, labels: pd.DataFrame) -> None:
        coded = {str(name): pd.factorize(labels[name]) for name in labels}
        self._codes = {name: codes for name, (codes, _) in coded.items()}
        self._names = {name: names for name, (_, names) in coded.items()}
        self._sums = {n: np.zeros((len(found), FUTURES)) for n, found in self._names.items()}

    def add(self, rows: slice, value: Floats) -> None:
        """Add futures of these customers, shape (n_rows, FUTURES)."""
        for name, codes in self._codes.items():
            for code in np.unique(codes[rows]):
                self._sums[name][code] += value[codes[rows] == code].sum(axis=0)

    def bounds(self, rank: int, widening: float) -> dict[str, pd.DataFrame]:
        """Return value_low and value_high of each group, a row a group."""
        found: dict[str, pd.DataFrame] = {}
        for name, sums in self._sums.items():
            ordered = np.sort(sums, axis=1)
            found[name] = pd.DataFrame(
                {
                    "value_low": ordered[:, rank - 1] / widening,
                    "value_high": ordered[:, FUTURES - rank] * widening,
                },
                index=pd.Index(self._names[name], name=name),
            )
        return found

    def sums_of(self, name: str, values: Floats) -> Floats:
        """Return each group's sum of customers' values, shape (n_groups,)."""
        return np.bincount(self._codes[name], weights=values, minlength=len(self._names[name]))


class _ModelFutures:
    """Futures by a purchase model: number of purchases, and for how many weeks they go on."""

    def __init__(
        self,
        model: PurchaseModel,
        summary: pd.DataFrame,
        horizon: Horizon,
        draw: np.random.Generator,
    ) -> None:
        self._name = model.name
        self._x, self._T = summary["x"].to_numpy(), summary["T"].to_numpy()
        self._weeks = horizon.weeks
        self._sets = model.draw_parameters(PARAMETER_SETS, draw)
        groups = summary_of(summary)
        alive = np.empty((len(groups.x), PARAMETER_SETS), dtype=np.float32)
        for start in range(0, len(groups.x), CHUNK):
            rows = slice(start, start + CHUNK)
            for column, parameters in enumerate(self._sets):
                history = groups.x[rows], groups.t_x[rows], groups.T[rows]
                alive[rows, column] = alive_probability(self._name, tuple(parameters), *history)
        self._alive, self._group = alive, groups.group

    def draw(self, rows: slice, draw: np.random.Generator) -> tuple[Floats, Floats]:
        turn = np.arange(FUTURES) % PARAMETER_SETS
        chance = self._alive[self._group[rows]][:, turn]
        who, which = np.nonzero(draw.random(chance.shape, dtype=np.float32) < chance)
        r, alpha, third, fourth = self._sets[turn[which]].T
        x, T = self._x[rows][who], self._T[rows][who]
        rate = draw.standard_gamma(r + x) / (alpha + T)
        if self._name == "pareto_nbd":
            # Her stopping rate has become gamma(s, beta + T): what is left to her is Lomax.
            # Beyond e^700 there is no number, and no horizon either.
            late = np.minimum(draw.standard_exponential(len(who)) / third, 700.0)
            left = (fourth + T) * np.expm1(late)
            weeks = np.minimum(left, self._weeks)
            number = draw.poisson(rate * weeks)
        else:
            number, weeks = self._until_she_stops(rate, third, fourth + x, draw)
        count = np.zeros(chance.shape)
        active = np.zeros(chance.shape)
        count[who, which], active[who, which] = number, weeks
        return count, active

    def _until_she_stops(
        self, rate: Floats, a: Floats, b: Floats, draw: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """After each purchase she may stop; MBG/NBD has survived one more chance, at the first."""
        stopping = draw.beta(a, b + (self._name == "mbg_nbd"))
        wanted = draw.poisson(rate * self._weeks)
        # Below 1e-12 nobody stops within any number of purchases there is.
        allowed = draw.geometric(np.maximum(stopping, 1e-12))
        number = np.minimum(wanted, allowed)
        # Of n purchases spread evenly, the k-th lies on average at k / (n + 1).
        share = np.where(allowed < wanted, allowed / (wanted + 1), 1.0)
        return number, self._weeks * share


class _TreeFutures:
    """Futures by the two-stage model; its fits on redrawn customers are taken in turn."""

    def __init__(self, model: TwoStage, summary: pd.DataFrame, horizon: Horizon) -> None:
        sets = model.redrawn or (model.fitted,)
        self._stages = [model.stages(summary, horizon.weeks, by) for by in sets]
        self._sizes = np.array([by.dispersion for by in sets])
        self._weeks = horizon.weeks

    def draw(self, rows: slice, draw: np.random.Generator) -> tuple[Floats, Floats]:
        turn = np.arange(FUTURES) % len(self._stages)
        probability, further = (
            np.column_stack([one[stage][rows] for one in self._stages])[:, turn] for stage in (0, 1)
        )
        size = self._sizes[turn]
        rate = draw.standard_gamma(size, probability.shape) * further / size
        count = np.where(draw.random(probability.shape) < probability, 1.0 + draw.poisson(rate), 0)
        return count, np.full(probability.shape, self._weeks)


class _Spends:
    """What purchases bring, discounted.

    Amounts of one customer are gamma(p, 1 / nu). Discounted to a time spread evenly over her active
    weeks, their sum has the mean and variance of the gamma variable drawn for it; without discount
    it is that variable.
    """

    def __init__(
        self,
        spend: SpendModel,
        summary: pd.DataFrame,
        horizon: Horizon,
        draw: np.random.Generator,
    ) -> None:
        self._sets = spend.draw_parameters(PARAMETER_SETS, draw)
        self._x = summary["x"].to_numpy()
        self._told = told_spend(self._x, summary["spend"].to_numpy())
        self._force = horizon.force

    def draw(self, rows: slice, count: Floats, active: Floats, draw: np.random.Generator) -> Floats:
        who, which = np.nonzero(count)
        p, q, v = self._sets[which % PARAMETER_SETS].T
        nu = draw.standard_gamma(p * self._x[rows][who] + q) / (v + self._told[rows][who])
        number, weeks = count[who, which], active[who, which]
        first, second = _mean_discount(self._force * weeks), _mean_discount(2 * self._force * weeks)
        spread = (1 + p) * second - p * first**2
        value = np.zeros(count.shape)
        shape = number * p * first**2 / spread
        value[who, which] = draw.standard_gamma(shape) * spread / (first * nu)
        return value


def _mean_discount(interest: Floats) -> Floats:
    """Return the mean of exp(-interest u) over u in (0, 1)."""
    return np.where(interest > 1e-9, -np.expm1(-interest) / np.maximum(interest, 1e-9), 1.0)
