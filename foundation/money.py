"""Money is int64 minor units (cents) of the deployment's one currency; people read decimals."""

from dataclasses import dataclass
from typing import Any

from foundation.errors import RegularsError

MINOR_PER_MAJOR = 100


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency with two decimals, named by its ISO 4217 code."""

    code: str

    def show(self, minor: float) -> str:
        """Return an amount as people read it, for example `1,234.50 USD`."""
        return f"{minor / MINOR_PER_MAJOR:,.2f} {self.code}"


def to_minor(amount: Any) -> int:
    """Return a decimal amount in minor units.

    Raises:
        RegularsError: The amount is not a number or has more decimals than the currency.
    """
    try:
        scaled = float(amount) * MINOR_PER_MAJOR
    except (TypeError, ValueError) as error:
        raise RegularsError(f"amount {amount!r} is not a number; write it as 4.50") from error
    if abs(scaled - round(scaled)) > 1e-6 * max(1.0, abs(scaled) * 1e-6):
        raise RegularsError(
            f"amount {amount!r} has more than two decimals; round it to the currency's cents"
        )
    return round(scaled)
