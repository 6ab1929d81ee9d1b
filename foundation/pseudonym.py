"""Pseudonyms: what stays of a customer who asked to be forgotten.

What was sold, decided and redeemed stays under a pseudonym, so that counters, sales and the totals
of experiments stay right; it is drawn by chance, so nobody can compute it from her id. What
describes her goes: her features, what was in her basket, and every word she wrote. Where an id that
a caller made quotes hers (event `c-1:visit:9`), that part of it becomes the pseudonym, everywhere
alike, so that what was told of one event or receipt stays together.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import msgspec

from foundation.decision import Context, DecisionRecord
from foundation.outcome import LONGEST_ID, SIMULATED, Outcome
from foundation.packed_decision import PackedDecision, packed, unpacked
from foundation.spooled import Rejected, Spooled

PREFIX = "erased-"
# Ids that were drawn by chance quote nobody, though a part of one may look like a short id.
DRAWN = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


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


class Quoted:
    """Customers' ids inside other ids: as words between what is neither letter nor digit.

    `c-1` is quoted by `c-1:9` and `visit_c-1`, and not by `c-12`.
    """

    def __init__(self, pseudonyms: Mapping[str, str]) -> None:
        self._pseudonyms = pseudonyms
        # The longest first: `c-1` is also a word of `c-1-2`, who is somebody else.
        names = "|".join(_word(one) for one in sorted(pseudonyms, key=len, reverse=True))
        drawn = "" if any(re.search(DRAWN, one) for one in pseudonyms) else f"{DRAWN}|"
        self._pattern = re.compile(f"{drawn}(?P<name>{names})")

    def replaced(self, text: str, owner: str) -> str:
        """Return an id with their pseudonyms.

        Args:
            owner: Whom it is about. An id of digits alone is looked for only in her own, where it
                is no chance; and nobody's whose id quotes another's is taken for that one's.
        """

        def instead(found: re.Match[str]) -> str:
            name = found["name"]
            if name is None or (name != owner and (name.isdecimal() or _quotes(owner, name))):
                return found[0]
            return self._pseudonyms[name]

        told = self._pattern.sub(instead, text)
        if told == text or len(told) <= LONGEST_ID:
            return told
        return f"{PREFIX}{blake2b(told.encode(), digest_size=16).hexdigest()}"


def _word(name: str) -> str:
    before = "(?<![^\\W_])" if name[:1].isalnum() else ""
    behind = "(?![^\\W_])" if name[-1:].isalnum() else ""
    return f"{before}{re.escape(name)}{behind}"


def _quotes(text: str, name: str) -> bool:
    return re.search(_word(name), text) is not None


def pseudonymous_decision(record: DecisionRecord, pseudonym: str) -> DecisionRecord:
    """Return what stays of a decision: offers, chances and variants, nothing of her."""
    quoted = Quoted({record.customer_id: pseudonym})
    return msgspec.structs.replace(
        record,
        decision_id=quoted.replaced(record.decision_id, record.customer_id),
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
    quoted = Quoted({outcome.customer_id: pseudonym})

    def unquoted(told: str | None) -> str | None:
        return None if told is None else quoted.replaced(told, outcome.customer_id)

    return msgspec.structs.replace(
        outcome,
        event_id=unquoted(outcome.event_id),
        decision_id=unquoted(outcome.decision_id),
        order_id=unquoted(outcome.order_id),
        lines=[
            msgspec.structs.replace(
                line,
                line_id=unquoted(line.line_id),
                returns_line_id=unquoted(line.returns_line_id),
            )
            for line in outcome.lines
        ],
        customer_id=pseudonym,
        text=kept_text(outcome.text),
        touchpoint=None,
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


def pseudonymous_rejected(rejected: Rejected, former: Mapping[str, Former]) -> Rejected:
    """Return what stays of an outcome that was put aside; it itself of who is a customer.

    Args:
        former: Those who are forgotten, by their ids.
    """
    outcome = rejected.outcome
    hers = _former(outcome, former)
    if hers is None:
        return rejected
    told = pseudonymous_outcome(outcome, hers.pseudonym)
    # The reason may name the event, whose id may quote her.
    return Rejected(told, rejected.reason.replace(repr(outcome.event_id), repr(told.event_id)))


def pseudonymous_packed(one: PackedDecision, former: Mapping[str, Former]) -> PackedDecision:
    """Return what stays of a decision that waited; it itself of who is a customer.

    Args:
        former: Those who are forgotten, by their ids.
    """
    hers = _former(one, former)
    if hers is None:
        return one
    return packed(pseudonymous_decision(unpacked(one.decision_id, one.packed), hers.pseudonym))


def _former(
    one: DecisionRecord | PackedDecision | Outcome, former: Mapping[str, Former]
) -> Former | None:
    """Return who she was of whom this tells, None where she is a customer."""
    hers = former.get(one.customer_id)
    return None if hers is None or (hers.at is not None and hers.at <= one.at) else hers


def kept_text(text: str | None) -> str | None:
    """Return what stays of a text: nothing of her words, only that a simulation wrote it."""
    return SIMULATED if text == SIMULATED else None
