import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.contracts.tables import CHANNELS, INTERACTION_KINDS
from foundation.errors import RegularsError
from foundation.money import to_minor
from foundation.outcome import MONEY_KINDS, RECEIPT_KINDS, Channel, Kind, Outcome, check_outcome

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def event(**fields: Any) -> Outcome:
    """An outcome as it arrives: through JSON."""
    told = {
        "event_id": "e-1",
        "customer_id": "c-1",
        "at": "2026-11-20T12:00:00Z",
        "channel": "app",
        "kind": "view",
        **fields,
    }
    return msgspec.json.decode(json.dumps(told), type=Outcome)


def line(**fields: Any) -> dict[str, Any]:
    return {"line_id": "l-1", "product_id": "p-1", "quantity": 1, "amount": 4.5, **fields}


def test_channels_and_kinds_are_those_of_the_contract() -> None:
    assert get_args(Channel) == CHANNELS
    assert get_args(Kind) == INTERACTION_KINDS
    assert set(INTERACTION_KINDS) >= MONEY_KINDS


# -------------------------------------------------------------------------------------- money


@given(st.integers(-99_999_999_999, 99_999_999_999))
def test_every_amount_of_whole_cents_passes_and_keeps_its_cents(cents: int) -> None:
    told = event(kind="purchase", lines=[line(amount=float(Decimal(cents) / 100))])

    check_outcome(told, NOW)

    # Source: the decimal that was written, exactly.
    assert to_minor(told.lines[0].amount) == cents


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "redeem", "offer_id": "o-1", "value": 1.005},
        {"kind": "purchase", "value": 0.001, "lines": [line()]},
        {"kind": "return", "value": -4.999, "lines": [line()]},
        {"kind": "purchase", "lines": [line(), line(line_id="l-2", amount=1.234)]},
        {"kind": "purchase", "lines": [line(discount=0.005)]},
        {"kind": "purchase", "lines": [line(offer_discount=0.125)]},
    ],
)
def test_money_with_parts_of_a_cent_is_refused_and_the_event_is_named(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(RegularsError, match=r"event 'e-1': amount .* more than two decimals"):
        check_outcome(event(**fields), NOW)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "survey", "value": 7.125},
        {"kind": "ticket_resolved", "value": 0.3333},
        {"kind": "view", "value": 1 / 3},
        {"kind": "redeem", "offer_id": "o-1", "value": 1.25},
        # A float sum of cents: 0.1 + 0.2 is 0.30000000000000004.
        {"kind": "purchase", "value": 0.1 + 0.2, "lines": [line()]},
        {"kind": "purchase", "lines": [line(quantity=0.333)]},
    ],
)
def test_scores_and_quantities_may_have_any_decimals_and_sums_of_floats_are_money(
    fields: dict[str, Any],
) -> None:
    check_outcome(event(**fields), NOW)


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind != "reverse"])
def test_a_receipt_has_lines_and_nothing_else_has(kind: str) -> None:
    """Money is counted from lines, so that a receipt without any would be lost in silence."""
    receipt = kind in RECEIPT_KINDS
    sound, broken = ([line()], []) if receipt else ([], [line()])
    why = "lines is empty" if receipt else f"kind '{kind}' carries 1 lines"

    check_outcome(event(kind=kind, lines=sound, offer_id="o-1"), NOW)
    with pytest.raises(RegularsError, match=f"event 'e-1': {why}"):
        check_outcome(event(kind=kind, lines=broken), NOW)


def test_a_reversal_is_not_told_but_asked_for() -> None:
    with pytest.raises(RegularsError, match="give the use back with POST /v1/redemptions"):
        check_outcome(event(kind="reverse", offer_id="o-1"), NOW)


def test_a_redemption_names_its_offer() -> None:
    with pytest.raises(RegularsError, match="event 'e-1': offer_id is missing"):
        check_outcome(event(kind="redeem"), NOW)


# -------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("at", "taken"),
    [
        ("1970-01-01T00:00:00Z", True),
        ("1969-12-31T23:59:59.999999Z", False),
        ("2026-11-21T12:00:00Z", True),
        ("2026-11-21T12:00:00.000001Z", False),
        # The same instants, written elsewhere.
        ("2026-11-21T14:00:00+02:00", True),
        ("2026-11-21T08:00:01-04:00", False),
        ("9999-12-31T23:59:59Z", False),
        ("0001-01-01T00:00:00Z", False),
    ],
)
def test_an_event_lies_after_1970_and_at_most_a_day_ahead(at: str, taken: bool) -> None:
    told = event(at=at)

    if taken:
        check_outcome(told, NOW)
    else:
        with pytest.raises(RegularsError, match=r"event 'e-1': at .* send the time it happened"):
            check_outcome(told, NOW)


@pytest.mark.parametrize("at", ["2026-11-20T12:00:00", "2026-11-20", "20/11/2026", 1_700_000_000])
def test_a_time_without_a_zone_is_no_time(at: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.at"):
        event(at=at)


def test_a_time_keeps_its_instant_to_the_microsecond() -> None:
    told = event(at="2026-11-20T13:00:00.123456+01:00")

    assert told.at - datetime(2026, 11, 20, 12, tzinfo=UTC) == timedelta(microseconds=123_456)


# --------------------------------------------------------------------------------------- shape


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"event_id": ""}, "event_id"),
        ({"event_id": "x" * 201}, "event_id"),
        ({"customer_id": "c\n1"}, "customer_id"),
        ({"customer_id": "c\x00"}, "customer_id"),
        ({"kind": "bought"}, "kind"),
        ({"channel": "fax"}, "channel"),
        ({"value": 1e10}, "value"),
        ({"text": "a\x00b"}, "text"),
        ({"text": "x" * 4001}, "text"),
        ({"lines": [line(discount=-1)]}, "lines[0].discount"),
        ({"lines": [line(amount="4.50")]}, "lines[0].amount"),
        ({"lines": [line()] * 501}, "lines"),
    ],
)
def test_a_field_that_breaks_its_rule_is_named(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        event(**fields)

    assert f"`$.{place}`" in str(refused.value)


def test_a_misspelt_field_is_not_swallowed() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `costumer`"):
        event(costumer="c-1")


def test_ids_are_opaque_beyond_control_characters() -> None:
    for customer_id in ("Zoë", "客户", " c 1 ", "c/1?x=%20", "'; DROP TABLE", "x" * 200):
        assert event(customer_id=customer_id).customer_id == customer_id
