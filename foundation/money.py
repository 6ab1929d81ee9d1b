"""Money is int64 minor units (cents) of the deployment's one currency; people read decimals."""

import re
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

from foundation.errors import RegularsError

MINOR_PER_MAJOR = 100
LARGEST = 2**63 - 1

# ISO 4217's currencies in use whose minor unit is not a hundredth.
_CODES = (
    "BHD BIF CLF CLP DJF GNF IQD ISK JOD JPY KMF KRW KWD LYD OMR PYG RWF TND UGX UYI UYW VND VUV "
    "XAF XOF XPF"
)
OTHER_MINOR_UNITS = frozenset(_CODES.split())

# A plain decimal, perhaps with an exponent: no thousands separators, no hexadecimals, no NaN.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")

# Sums of floats stray from whole cents; a millionth of a cent was never paid.
NOISE = Decimal("1e-6")
# Below it two decimals are far within the 15 digits that a float keeps apart.
_EXACT = 1e12


class InvalidAmount(RegularsError):
    """An amount that is no money. `reason` says why, in words that follow the amount."""

    def __init__(self, amount: Any, reason: str, way_out: str) -> None:
        super().__init__(f"amount {amount!r} {reason}; {way_out}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency with two decimals, named by its ISO 4217 code."""

    code: str

    def show(self, minor: float) -> str:
        """Return an amount as people read it, for example `1,234.50 USD`."""
        return f"{minor / MINOR_PER_MAJOR:z,.2f} {self.code}"


def to_minor(amount: Any) -> int:
    """Return a decimal amount (a number, or its text) in minor units, exactly.

    Raises:
        InvalidAmount: The amount is not a number, has more decimals than the currency, or more
            digits than the lake holds.
    """
    if type(amount) is float and abs(amount) < _EXACT:
        # As below, for what needs no more: a whole number of cents is the nearest decimal.
        cents = round(amount * MINOR_PER_MAJOR)
        if cents / MINOR_PER_MAJOR == amount:
            return cents
    # The shortest text of a float is the decimal that was meant.
    text = "" if isinstance(amount, bool) else str(amount).strip()
    if not isinstance(amount, str | Real | Decimal) or not NUMBER.fullmatch(text):
        raise InvalidAmount(amount, "is not a number", "write it as 4.50")
    major = Decimal(text)
    if major.adjusted() > 17:
        raise InvalidAmount(amount, "is more than 64 bits hold", "check its unit")
    scaled = major * MINOR_PER_MAJOR
    minor = int(scaled.to_integral_value())
    if abs(scaled - minor) > NOISE:
        raise InvalidAmount(
            amount, "has more than two decimals", "round it to the currency's cents"
        )
    if abs(minor) > LARGEST:
        raise InvalidAmount(amount, "is more than 64 bits hold", "check its unit")
    return minor
