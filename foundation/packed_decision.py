"""How a decision is kept until the lake has it: MessagePack, its numbers as bytes.

A record of a hundred offers has ten kilobytes as JSON and three like this. Ids, refusals and terms
are the same for all who have the same lineup: they are compressed once for all of them.
"""

import zlib
from array import array
from datetime import datetime
from math import isnan, nan

import msgspec

from foundation.decision import (
    Assignment,
    Context,
    DecisionRecord,
    Placement,
    Policy,
    Slate,
    Terms,
    Versions,
    decode_record,
)
from foundation.errors import UnreadableRecord

# Lineups that are kept compressed: what they take stays bounded.
MOST_LINEUPS = 1000
# A record of an earlier version is JSON, and no MessagePack of ours begins like this.
_JSON = b"{"


class PackedDecision(msgspec.Struct, frozen=True, array_like=True):
    """A decision as it is kept, beside what it is found by."""

    decision_id: str
    customer_id: str
    at: datetime
    packed: bytes


class _Lineup(msgspec.Struct, frozen=True, array_like=True):
    offers: tuple[str, ...]
    refusals: dict[str, str]
    terms: dict[str, Terms]


class _Packed(msgspec.Struct, frozen=True, array_like=True):
    """A record; `scores` and `vector` are little-endian doubles, NaN in a vector is unknown."""

    decision_id: str
    customer_id: str
    at: datetime
    channel: str
    placements: list[Placement]
    context: Context
    known: bool
    vector: bytes | None
    assignments: list[Assignment]
    policy: Policy
    lineup: bytes
    scores: bytes
    slates: list[Slate]
    seed: int
    propensity_valid: bool
    causes: list[str]
    versions: Versions
    affinity: bytes | None
    levers: dict[str, float]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)
_lineup_decoder = msgspec.msgpack.Decoder(_Lineup)
# By identity of the refusals, which the decisions of one lineup share; held, so that no other
# object can come by it.
_lineups: dict[int, tuple[_Lineup, bytes]] = {}


def packed(record: DecisionRecord) -> PackedDecision:
    """Return a record as it is kept."""
    told = _Packed(
        record.decision_id,
        record.customer_id,
        record.at,
        record.channel,
        record.placements,
        record.context,
        record.known,
        None if record.vector is None else _doubles(record.vector),
        record.assignments,
        record.policy,
        _lineup(record),
        array("d", record.scores.values()).tobytes(),
        record.slates,
        record.seed,
        record.propensity_valid,
        record.causes,
        record.versions,
        record.affinity,
        record.levers,
    )
    return PackedDecision(record.decision_id, record.customer_id, record.at, _encoder.encode(told))


def unpacked(decision_id: str, kept: bytes) -> DecisionRecord:
    """Return the record that was kept under an id.

    Raises:
        UnreadableRecord: Another version wrote it, or it is damaged.
    """
    try:
        return decode_record(kept) if kept.startswith(_JSON) else _record(_decoder.decode(kept))
    except (msgspec.MsgspecError, zlib.error, ValueError) as error:
        raise UnreadableRecord(decision_id, error) from error


def _record(told: _Packed) -> DecisionRecord:
    lineup = _lineup_decoder.decode(zlib.decompress(told.lineup))
    return DecisionRecord(
        decision_id=told.decision_id,
        customer_id=told.customer_id,
        at=told.at,
        channel=told.channel,
        placements=told.placements,
        context=told.context,
        known=told.known,
        vector=None
        if told.vector is None
        else [None if isnan(value) else value for value in array("d", told.vector)],
        assignments=told.assignments,
        policy=told.policy,
        scores=dict(zip(lineup.offers, array("d", told.scores), strict=True)),
        refusals=lineup.refusals,
        slates=told.slates,
        seed=told.seed,
        propensity_valid=told.propensity_valid,
        causes=told.causes,
        versions=told.versions,
        affinity=told.affinity,
        levers=told.levers,
        terms=lineup.terms,
    )


def _doubles(vector: list[float | None]) -> bytes:
    return array("d", [nan if value is None else value for value in vector]).tobytes()


def _lineup(record: DecisionRecord) -> bytes:
    refusals, offers = record.refusals, tuple(record.scores)
    found = _lineups.get(id(refusals))
    if found is not None:
        lineup, kept = found
        if lineup.refusals is refusals and lineup.terms is record.terms and lineup.offers == offers:
            return kept
    lineup = _Lineup(offers, refusals, record.terms)
    kept = zlib.compress(_encoder.encode(lineup))
    if len(_lineups) >= MOST_LINEUPS:
        _lineups.clear()
    _lineups[id(refusals)] = (lineup, kept)
    return kept
