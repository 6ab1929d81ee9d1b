"""How the console says figures, times and names: one wording on the whole page."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from foundation.money import MINOR_PER_MAJOR, Currency

MODELS = {"logistic": "Logistic regression", "lightgbm": "LightGBM"}
POLICIES = {
    "response": "offers by the response model",
    "popular": "the most popular offers",
    "rule": "offers in the marketer's order",
    "random": "offers at random",
    "none": "no offers",
}

_WINDOW = re.compile(r"_(\d+)d$")


def sentence(words: str) -> str:
    """Return what was refused, which is a line of its own elsewhere, as a sentence."""
    return f"{words[:1].upper()}{words[1:]}."


def whole_money(minor: float, currency: Currency) -> str:
    """Return an amount without its cents, where they would only be noise."""
    return f"{minor / MINOR_PER_MAJOR:z,.0f} {currency.code}"


def moment(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant on the chain's own clocks, for example `3 May 2026, 09:05 EDT`."""
    local = instant.astimezone(zone)
    return f"{day(instant, zone)}, {local:%H:%M %Z}"


def day(instant: datetime, zone: ZoneInfo) -> str:
    """Return a day in the chain's zone, for example `3 May 2026`."""
    local = instant.astimezone(zone)
    return f"{local.day} {local:%b %Y}"


def input_name(name: str) -> str:
    """Return a model input's name as people read it: `spend_90d` is `spend, 90 days`."""
    words, _, value = name.partition("=")
    window = _WINDOW.search(words)
    plain = _WINDOW.sub("", words).replace("_", " ")
    if window:
        plain += f", {window[1]} days"
    return f"{plain}: {value}" if value else plain
