"""Pseudonyms: what stays of a customer who asked to be forgotten.

What was sold, decided and redeemed stays under a pseudonym, so that counters, sales and the totals
of experiments stay right; it is drawn by chance, so nobody can compute it from her id. What
describes her goes: her features, what was in her basket, and every word she wrote.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from foundation.decision import Context, DecisionRecord
from foundation.outcome import SIMULATED, Outcome
from foundation.spooled import Spooled

PREFIX = "erased-"


@dataclass(frozen=True, slots=True)
class Former:
    """Under which pseudonym a customer stays, and when she was forgotten everywhere; None: not yet.

    What somebody of her id does after that is a new customer's.
    """

    pseudonym: str
    at: datetime | None


def new_pseudonym() -> str:
    """Return a pseudonym that no other customer has."""
    return PREFIX + secrets.token_hex(16)


def pseudonymous_decision(record: DecisionRecord, pseudonym: str) -> DecisionRecord:
    """Return what stays of a decision: offers, chances and variants, nothing of her."""
    return msgspec.structs.replace(
        record,
        customer_id=pseudonym,
        context=Context(record.context.store_id),
        # No model can score it any more: it passes for one of a customer nobody knew.
        known=False,
        vector=None,
        affinity=None,
        assignments=[
            msgspec.structs.replace(one, unit=pseudonym) if one.unit == record.customer_id else one
            for one in record.assignments
        ],
    )


def pseudonymous_outcome(outcome: Outcome, pseudonym: str) -> Outcome:
    """Return what stays of an outcome: what happened, without her words and where she was."""
    return msgspec.structs.replace(
        outcome, customer_id=pseudonym, text=kept_text(outcome.text), touchpoint=None
    )


def pseudonymous_entry(entry: Spooled, former: Mapping[str, Former]) -> Spooled:
    """Return what stays of an entry that waited while somebody in it asked to be forgotten.

    A request's name goes with its answer, which tells who she is.

    Args:
        former: Those who are forgotten, by their ids.
    """
    record = entry.record if entry.answered is None else entry.answered.record
    if record is not None:
        hers = _former(record, former)
        if hers is None:
            return entry
        return Spooled(record=pseudonymous_decision(record, hers.pseudonym))
    names = [_former(one, former) for one in entry.outcomes]
    if not any(names):
        return entry
    told = zip(entry.outcomes, names, strict=True)
    return Spooled(
        outcomes=[
            one if hers is None else pseudonymous_outcome(one, hers.pseudonym) for one, hers in told
        ]
    )


def _former(one: DecisionRecord | Outcome, former: Mapping[str, Former]) -> Former | None:
    """Return who she was of whom this tells, None where she is a customer."""
    hers = former.get(one.customer_id)
    return None if hers is None or (hers.at is not None and hers.at <= one.at) else hers


def kept_text(text: str | None) -> str | None:
    """Return what stays of a text: nothing of her words, only that a simulation wrote it."""
    return SIMULATED if text == SIMULATED else None
