"""How metrics are called, and how their values and changes are said: one wording everywhere."""

from collections.abc import Callable
from dataclasses import dataclass

from foundation.money import Currency


@dataclass(frozen=True, slots=True)
class Title:
    """How a metric is called; a change is said with its sign."""

    title: str
    money: bool
    value: Callable[[float, Currency], str]
    change: Callable[[float, Currency], str]


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


METRICS: dict[str, Title] = {
    "margin": Title("Margin", True, _money, lambda a, c: _signed(_money(a, c), a)),
    "orders": _plain("Orders"),
    "redeemed": Title("Redeemed an offer", False, _percent, _points),
}


def titled(metric: str) -> Title:
    """Return how a metric is called; one without a title is a plain number by its own name."""
    return METRICS.get(metric) or _plain(metric)


def chance(p: float) -> str:
    """Return a p-value; below a thousandth its digits say nothing more."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"
