"""Decimal amounts become whole cents exactly, or are refused with the reason."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from foundation.money import LARGEST, Currency, InvalidAmount, to_minor


@pytest.mark.parametrize(
    ("amount", "minor"),
    [
        ("4.50", 450),
        ("4.5", 450),
        ("4", 400),
        (" -4.50 ", -450),
        ("+.5", 50),
        ("5.", 500),
        ("1e5", 10_000_000),
        ("0.1", 10),
        (0.1 + 0.2, 30),
        ("0.30000000000000004", 30),
        (0.1 + 0.2 - 0.3, 0),
        (1.1 * 1.1 - 0.21, 100),
        # Binary floating point has no 1.15: 1.15 * 100 is 114.99999999999999 there.
        (1.15, 115),
        (1_234_567_890.12, 123_456_789_012),
        (7, 700),
        (Decimal("4.50"), 450),
        (np.int64(3), 300),
        # 4.99 in single precision, whose nearest double is 4.989999771118164.
        (np.float32(4.99), 499),
        ("92233720368547758.07", LARGEST),
        ("-92233720368547758.07", -LARGEST),
    ],
)
def test_an_amount_becomes_exactly_its_cents(amount: Any, minor: int) -> None:
    assert to_minor(amount) == minor


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ("1,234.50", "is not a number"),
        ("4,50", "is not a number"),
        ("4.50 USD", "is not a number"),
        ("$4.50", "is not a number"),
        ("", "is not a number"),
        ("NaN", "is not a number"),
        ("inf", "is not a number"),
        (float("nan"), "is not a number"),
        (float("-inf"), "is not a number"),
        ("0x10", "is not a number"),
        ("1_000", "is not a number"),
        ("٣", "is not a number"),
        (True, "is not a number"),
        (None, "is not a number"),
        ("4.505", "has more than two decimals"),
        (4.505, "has more than two decimals"),
        ("0.00001", "has more than two decimals"),
        ("92233720368547758.08", "is more than 64 bits hold"),
        ("1e9999", "is more than 64 bits hold"),
    ],
)
def test_what_is_no_amount_is_refused_with_the_reason(amount: Any, reason: str) -> None:
    with pytest.raises(InvalidAmount, match=reason) as refusal:
        to_minor(amount)

    assert refusal.value.reason == reason
    assert "\n" not in str(refusal.value)


@given(some.integers(-LARGEST, LARGEST))
def test_every_amount_of_64_bits_survives_as_text(minor: int) -> None:
    assert to_minor(str(Decimal(minor).scaleb(-2))) == minor


# Doubles tell cents apart up to 2**53 / 100; below a tenth of it no sum of two is ambiguous.
@given(some.integers(-(2**53) // 1000, 2**53 // 1000))
def test_every_amount_a_float_can_carry_survives_as_a_float(minor: int) -> None:
    assert to_minor(minor / 100) == minor


@pytest.mark.parametrize(
    ("minor", "shown"),
    [(123_450, "1,234.50 USD"), (-450, "-4.50 USD"), (0, "0.00 USD"), (-0.3, "0.00 USD")],
)
def test_an_amount_is_shown_as_people_read_it(minor: float, shown: str) -> None:
    assert Currency("USD").show(minor) == shown
