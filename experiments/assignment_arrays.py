"""Assignment of many units at once, for nights, analysis and simulation.

It computes what assignment.py says, number for number; a property test holds the two together.
BLAKE2b is compiled here (numba) because a call of hashlib for each unit takes three times as long,
and a thousand experiments on a million customers are a billion of them.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as arrow

from experiments.assignment import Purpose, beginning, position
from experiments.design import Experiment

# What one block of BLAKE2b holds, in bytes.
BLOCK = 128

# RFC 7693, 2.6 and 2.7: initial values, and the order in which each round takes the 16 words.
_IV = np.array(
    [
        0x6A09E667F3BCC908,
        0xBB67AE8584CAA73B,
        0x3C6EF372FE94F82B,
        0xA54FF53A5F1D36F1,
        0x510E527FADE682D1,
        0x9B05688C2B3E6C1F,
        0x1F83D9ABFB41BD6B,
        0x5BE0CD19137E2179,
    ],
    dtype=np.uint64,
)
_ORDERS = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
# Twelve rounds: the first two orders come again.
_SCHEDULE = np.array([*_ORDERS, *_ORDERS[:2]], dtype=np.uint8)
# The first initial value with the parameters: 8 bytes of digest, no key, no tree (RFC 7693, 2.8).
_FIRST = _IV[0] ^ np.uint64(0x01010008)


def assigned_variants(
    experiment: Experiment, unit_ids: arrow.LargeStringArray
) -> npt.NDArray[np.int16]:
    """Return each unit's variant as its place in the design; -1 outside, shape (n_units,).

    Args:
        experiment: A design that passed `check`.
        unit_ids: Without nulls; `as_ids` makes them.
    """
    cuts = np.cumsum([variant.weight for variant in experiment.variants])
    # The weights sum to 1 only within rounding: the last variant takes what is left.
    places = np.searchsorted(cuts[:-1], positions(experiment.salt, unit_ids), side="right")
    found = places.astype(np.int16)
    found[~is_in(experiment, unit_ids)] = -1
    return found


def is_in(experiment: Experiment, unit_ids: arrow.LargeStringArray) -> npt.NDArray[np.bool_]:
    """Return whether layer and exposure let each unit in, shape (n_units,)."""
    inside = np.ones(len(unit_ids), dtype=np.bool_)
    layer = experiment.layer
    if layer is not None:
        slots = positions(layer.name, unit_ids, "layer")
        inside &= (slots >= layer.low) & (slots < layer.high)
    # At 1 everybody is in: positions stay below it.
    if experiment.exposure < 1:
        inside &= positions(experiment.salt, unit_ids, "exposure") < experiment.exposure
    return inside


def as_ids(unit_ids: object) -> arrow.LargeStringArray:
    """Return ids (a list, an array, a series of texts) as `positions` takes them.

    Raises:
        arrow.ArrowInvalid, arrow.ArrowTypeError: They are no texts.
    """
    return arrow.array(unit_ids, type=arrow.large_string())


def positions(
    salt: str, unit_ids: arrow.LargeStringArray, purpose: Purpose = "variant"
) -> npt.NDArray[np.float64]:
    """Return `assignment.position` of every unit, shape (n_units,)."""
    _, offsets, text = unit_ids.buffers()
    start = unit_ids.offset
    bounds = np.frombuffer(offsets, np.int64)[start : start + len(unit_ids) + 1]
    # There is no buffer where every id is empty.
    bytes_of_ids = np.frombuffer(text or b"", np.uint8)
    first = np.frombuffer(beginning(salt, purpose), np.uint8)
    digests = np.empty(len(unit_ids), np.uint64)
    long = np.flatnonzero(np.diff(bounds) > BLOCK - len(first))
    if len(first) <= BLOCK:
        _digest_blocks(first, bounds, bytes_of_ids, digests)
    # BLAKE2b writes its digest little-endian, and it is read big-endian.
    found = (digests.byteswap() >> np.uint64(11)) / 2.0**53
    # Rare: ids that need a second block.
    for place in long:
        found[place] = position(salt, unit_ids[int(place)].as_py(), purpose)
    return found


# Without inlining the sixteen words leave their registers between two calls.
@numba.njit(forceinline=True)
def _mix(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a = a + b + x
    d = d ^ a
    d = (d >> np.uint64(32)) | (d << np.uint64(32))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(24)) | (b << np.uint64(40))
    a = a + b + y
    d = d ^ a
    d = (d >> np.uint64(16)) | (d << np.uint64(48))
    c = c + d
    b = b ^ c
    b = (b >> np.uint64(63)) | (b << np.uint64(1))
    return a, b, c, d


@numba.njit(nogil=True)
def _digest_blocks(
    first: npt.NDArray[np.uint8],
    bounds: npt.NDArray[np.int64],
    text: npt.NDArray[np.uint8],
    digests: npt.NDArray[np.uint64],
) -> None:
    """Write the digest of each message that one block holds; others are left as they are."""
    block = np.zeros(BLOCK, np.uint8)
    m: Any = block.view(np.uint64)
    n = first.size
    block[:n] = first
    filled = n
    for i in range(digests.size):
        length = n + bounds[i + 1] - bounds[i]
        if length > BLOCK:
            continue
        for k in range(n, length):
            block[k] = text[bounds[i] + k - n]
        block[length:filled] = 0
        filled = length
        v0, v1, v2, v3 = _FIRST, _IV[1], _IV[2], _IV[3]
        v4, v5, v6, v7 = _IV[4], _IV[5], _IV[6], _IV[7]
        v8, v9, v10, v11 = _IV[0], _IV[1], _IV[2], _IV[3]
        # The only block is the last one, so its flag is set: word 14 is inverted.
        v12, v13, v14, v15 = _IV[4] ^ np.uint64(length), _IV[5], ~_IV[6], _IV[7]
        for turn in range(12):
            s = _SCHEDULE[turn]
            v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
            v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
            v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
            v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
            v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
            v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
            v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
            v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
        digests[i] = _FIRST ^ v0 ^ v8
