"""How a published profile is written down, alike in every store: MessagePack, vectors as bytes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from foundation.errors import RegularsError
from foundation.profile import Profile, SnapshotFacts
from foundation.rule_profile import Attribute

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VECTOR, _AFFINITY, _REASONS = np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.uint8)


class _Stored(msgspec.Struct, array_like=True):
    household_id: str | None
    time_zone: str | None
    segments: dict[str, str]
    vector: bytes
    redemptions: dict[str, int] = {}
    attributes: dict[str, bool | float | str] = {}
    # By name, microseconds since 1970: in MessagePack a time and a text cannot share a place.
    instants: dict[str, int] = {}
    counts: dict[str, int] = {}
    affinity: bytes = b""
    reasons: bytes = b""
    remaining_value: float | None = None


_DECODER = msgspec.msgpack.Decoder(_Stored)


def encode_facts(facts: SnapshotFacts) -> bytes:
    """Write down what a snapshot says of itself."""
    return msgspec.msgpack.encode(facts)


def decode_facts(found: bytes) -> SnapshotFacts:
    """Read back what a snapshot says of itself.

    Raises:
        msgspec.MsgspecError: This is none of it.
    """
    return msgspec.msgpack.decode(found, type=SnapshotFacts)


def encode_profile(profile: Profile, facts: SnapshotFacts) -> bytes:
    """Write a profile down.

    Raises:
        RegularsError: Its vector has another length than the snapshot's names, or its affinity or
            reasons another than the snapshot's offers.
    """
    if profile.vector.shape != (len(facts.names),):
        raise RegularsError(
            f"customer {profile.customer_id!r} has a vector of shape {profile.vector.shape}, the "
            f"snapshot names {len(facts.names)} features; give one value for each"
        )
    for name, table in (("affinities to", profile.affinity), ("reasons for", profile.reasons)):
        if len(table) not in (0, len(facts.offers)):
            raise RegularsError(
                f"customer {profile.customer_id!r} has {name} {len(table)} offers, the snapshot "
                f"names {len(facts.offers)}; give one row for each, or none"
            )
    vector = np.ascontiguousarray(profile.vector, dtype=np.float64).tobytes()
    attributes, instants = dict[str, bool | float | str](), dict[str, int]()
    for name, value in profile.attributes.items():
        if isinstance(value, datetime):
            instants[name] = (value - EPOCH) // timedelta(microseconds=1)
        else:
            attributes[name] = value
    return msgspec.msgpack.encode(
        _Stored(
            profile.household_id,
            profile.time_zone,
            profile.segments,
            vector,
            profile.redemptions,
            attributes,
            instants,
            profile.counts,
            np.ascontiguousarray(profile.affinity, dtype=np.float32).tobytes(),
            np.ascontiguousarray(profile.reasons, dtype=np.uint8).tobytes(),
            profile.remaining_value,
        )
    )


def decode_profile(customer_id: str, found: Any, facts: SnapshotFacts) -> Profile:
    """Read a profile back; it keeps nothing of the buffer it was read from."""
    stored = _DECODER.decode(found)
    attributes: dict[str, Attribute] = dict(stored.attributes)
    for name, at in stored.instants.items():
        attributes[name] = EPOCH + timedelta(microseconds=at)
    # In the order of its fields: their names would take as long as the rest.
    return Profile(
        customer_id,
        stored.household_id,
        stored.time_zone,
        np.frombuffer(stored.vector, _VECTOR),
        stored.segments,
        stored.redemptions,
        attributes,
        stored.counts,
        _table(stored.affinity, _AFFINITY, len(facts.offers)),
        _table(stored.reasons, _REASONS, len(facts.offers)),
        stored.remaining_value,
    )


def _table(stored: bytes, of: np.dtype[Any], offers: int) -> np.ndarray:
    """Return what is stored of each offer, a row an offer; without rows where nothing is."""
    values = np.frombuffer(stored, of)
    return values.reshape(offers, -1) if len(values) else values.reshape(0, 0)
