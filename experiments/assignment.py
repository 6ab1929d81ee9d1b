"""Assignment: is this customer (household, store) in the experiment, and in which variant?

The answer is a pure function of the experiment and the id. It is the same tomorrow, on every
node and in every language, and says nothing about her variant in another experiment.

The algorithm, for an app that wants to compute the same variant. All positions are of one kind:

1. Message: a prefix (nothing for the variant, `exposure/` or `layer/` for the others); the byte
   length of the salt in UTF-8, as ASCII decimal digits; a colon; the salt in UTF-8; the id in
   UTF-8. Salt `winter-latte` and id `c-1017` give `12:winter-lattec-1017` for the variant and
   `exposure/12:winter-lattec-1017` for the exposure.
   Ids are taken as they are: no trimming, no case folding, no Unicode normalisation.
2. Hash: BLAKE2b (RFC 7693), unkeyed, with an output length of 8 bytes. The length is a parameter
   of the hash: the first 8 bytes of the usual 64-byte output are something else.
3. Position: the 8 bytes as a big-endian integer, without its lowest 11 bits, divided by 2**53.
   That is a number in [0, 1) every IEEE double holds exactly.

Then, in this order:

1. Holdout: where there is a global one, its variant comes first, of the customer's own id under
   salt `holdout`. Whoever is `held-out` gets no offer and is in no other experiment.
2. Unit: the customer's id, her household's or her home store's, as the design says. Who has none
   is outside, and so is who is asked for in another channel or is not in the audience.
3. Layer: the `layer/` position, with the layer's name as salt. She is outside unless it is at
   least `low` and below `high`.
4. Exposure: the `exposure/` position, with the experiment's salt. She is outside unless it is
   below `exposure`. A ramp-up raises `exposure` and nothing else, so those who are in stay in,
   with the variant they have.
5. Variant: add up the weights in listed order, as doubles, from 0. The first variant whose
   running sum is above the variant's position is hers; if rounding left none, the last.

docs/assignment-vectors.json has test vectors. `assignment_arrays.py` computes the same for many.
"""

import hashlib
from functools import lru_cache
from typing import Literal

from experiments.design import Experiment, Variant

Purpose = Literal["variant", "exposure", "layer"]

# A variant's message begins with a digit, so no two purposes ever share a message.
PREFIXES: dict[Purpose, bytes] = {"variant": b"", "exposure": b"exposure/", "layer": b"layer/"}


def position(salt: str, unit_id: str, purpose: Purpose = "variant") -> float:
    """Return where the unit stands in [0, 1), uniform over units and independent over salts.

    Source: BLAKE2b (RFC 7693). The salt's length goes first, because `ab` + `c` and `a` + `bc`
    would otherwise be the same message.
    """
    digest = hashlib.blake2b(beginning(salt, purpose) + unit_id.encode(), digest_size=8).digest()
    # A double has 53 bits: dividing all 64 by 2**64 would round the highest positions up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


@lru_cache(maxsize=1024)
def beginning(salt: str, purpose: Purpose = "variant") -> bytes:
    """Return what every message of a salt and purpose begins with; the id follows."""
    name = salt.encode()
    return b"%b%d:%b" % (PREFIXES[purpose], len(name), name)


def assigned_variant(experiment: Experiment, unit_id: str) -> Variant | None:
    """Return the variant of a unit; None where layer or exposure leave it outside.

    Args:
        experiment: A design that passed `check`.
        unit_id: The id of what the design's `unit` names.
    """
    layer = experiment.layer
    if layer and not layer.low <= position(layer.name, unit_id, "layer") < layer.high:
        return None
    # Positions lie below 1: a full exposure needs none.
    full = experiment.exposure >= 1
    if not full and position(experiment.salt, unit_id, "exposure") >= experiment.exposure:
        return None
    return variant_of(experiment, unit_id)


def variant_of(experiment: Experiment, unit_id: str) -> Variant:
    """Return the variant of a unit in a checked experiment, whether or not it is let in yet."""
    stands_at = position(experiment.salt, unit_id)
    reached = 0.0
    for variant in experiment.variants:
        reached += variant.weight
        if stands_at < reached:
            return variant
    # The weights sum to 1 only within rounding.
    return experiment.variants[-1]
