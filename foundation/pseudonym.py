"""Pseudonyms: what stays of a customer who asked to be forgotten.

What was sold, decided and redeemed stays under a pseudonym, so that counters, sales and the totals
of experiments stay right; it is drawn by chance, so nobody can compute it from her id. What
describes her goes: her features, what was in her basket, and every word she wrote.
"""

import secrets
from collections.abc import Mapping

import msgspec

from foundation.decision import Context, DecisionRecord
from foundation.outcome import SIMULATED, Outcome
from foundation.spooled import Spooled

PREFIX = "erased-"


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
    """Return what stays of an outcome: what happened, without her words."""
    return msgspec.structs.replace(outcome, customer_id=pseudonym, text=kept_text(outcome.text))


def pseudonymous_entry(entry: Spooled, pseudonyms: Mapping[str, str]) -> Spooled:
    """Return what stays of an entry that waited while somebody in it asked to be forgotten.

    A request's name goes with its answer, which tells who she is.

    Args:
        pseudonyms: Of those who are forgotten, by their ids.
    """
    record = entry.record if entry.answered is None else entry.answered.record
    if record is not None and record.customer_id in pseudonyms:
        return Spooled(record=pseudonymous_decision(record, pseudonyms[record.customer_id]))
    if any(one.customer_id in pseudonyms for one in entry.outcomes):
        told = [
            pseudonymous_outcome(one, pseudonyms[one.customer_id])
            if one.customer_id in pseudonyms
            else one
            for one in entry.outcomes
        ]
        return Spooled(outcomes=told)
    return entry


def kept_text(text: str | None) -> str | None:
    """Return what stays of a text: nothing of her words, only that a simulation wrote it."""
    return SIMULATED if text == SIMULATED else None
