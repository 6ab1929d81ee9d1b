"""How metrics are called, and how their values and changes are said: one wording everywhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from foundation.money import Currency

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Title:
    """How a metric is called, and which way is good; a change is said with its sign.

    `each` says whether it is a figure a unit, such as margin, and no ratio of two.
    """

    title: str
    money: bool
    value: Callable[[float, Currency], str]
    change: Callable[[float, Currency], str]
    better: Better = "higher"
    each: bool = True

    def of(self, unit: str) -> str:
        """Say it of what is assigned."""
        return f"{self.title} per {unit}" if self.each else self.title


def _signed(number: str, amount: float) -> str:
    return f"+{number}" if amount > 0 else number


def _money(amount: float, currency: Currency) -> str:
    return currency.show(amount)


def _number(amount: float, _: Currency) -> str:
    return f"{amount:,.4g}"


def _percent(share: float, _: Currency) -> str:
    return f"{share:.1%}"


def _points(share: float, _: Currency) -> str:
    return _signed(f"{100 * share:.1f} points", share)


def _plain(title: str) -> Title:
    return Title(title, False, _number, lambda a, c: _signed(_number(a, c), a))


def _paid(title: str, better: Better = "higher", *, each: bool = True) -> Title:
    return Title(
        title, True, _money, lambda a, c: _signed(_money(a, c), a), better=better, each=each
    )


def _share(title: str, better: Better = "higher", *, each: bool = True) -> Title:
    return Title(title, False, _percent, _points, better=better, each=each)


METRICS: dict[str, Title] = {
    "margin": _paid("Margin"),
    "spend": _paid("Spend"),
    "orders": _plain("Orders"),
    "items": _plain("Items bought"),
    "returned": _paid("Returned goods", "lower"),
    "redeemed": _share("Redeemed an offer"),
    "buyers": _share("Bought at all"),
    "complaints": _share("Complained", "lower"),
    "opt_outs": _share("Said no to a channel", "lower"),
    "basket": _paid("Average basket", each=False),
    "margin_rate": _share("Margin as a share of spend", each=False),
    "return_rate": _share("Share of sales returned", "lower", each=False),
    "nps": replace(_plain("NPS"), each=False),
    "csat": _share("Satisfied of those who answered", each=False),
    "median_spend": _paid("Median spend of buyers", each=False),
}


_SUMMED = ("mean", "winsorised", "capped")


def titled(metric: str) -> Title:
    """Return how a metric is called; one without a title is a plain number by its own name.

    A column in words (`spend:p90`) is called as its column, with the words behind.
    """
    if metric in METRICS:
        return METRICS[metric]
    column, _, words = metric.rpartition(":")
    if column in METRICS:
        plain = METRICS[column]
        # A quantile is no sum that units bring.
        return replace(plain, title=f"{plain.title}, {words}", each=words.startswith(_SUMMED))
    return _plain(metric)


def chance(p: float) -> str:
    """Return a p-value; below a thousandth its digits say nothing more."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
