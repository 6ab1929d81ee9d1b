"""Assignment: which variant does this customer (or household) get?

The answer is a pure function of the experiment and the id. It is the same tomorrow, on every
node and in every language, and says nothing about her variant in another experiment.

The algorithm, for an app that wants to compute the same variant:

1. Message: the byte length of the salt in UTF-8, as ASCII decimal digits; a colon; the salt
   in UTF-8; the id in UTF-8. Salt `winter-latte` and id `c-1017` give `12:winter-lattec-1017`.
   Ids are taken as they are: no trimming, no case folding, no Unicode normalisation.
2. Hash: BLAKE2b (RFC 7693), unkeyed, with an output length of 8 bytes. The length is a parameter
   of the hash: the first 8 bytes of the usual 64-byte output are something else.
3. Position: the 8 bytes as a big-endian integer, without its lowest 11 bits, divided by 2**53.
   That is a number in [0, 1) every IEEE double holds exactly.
4. Variant: add up the weights in listed order, as doubles, from 0. The first variant whose
   running sum is above the position is hers; if rounding left none, the last.

docs/assignment-vectors.json has test vectors.

For whoever adds ramp-up: changing weights moves the cuts, and with them customers between
variants. Keep weights fixed, and let a second position (another salt) decide who is in the
experiment at all: everyone in at 5 % is then in at 50 %, with the same variant.
"""

import hashlib

from experiments.design import Experiment, Variant


def position(salt: str, unit_id: str) -> float:
    """Return where the unit stands in [0, 1), uniform over units and independent over salts.

    Source: BLAKE2b (RFC 7693). The salt's length goes first, because `ab` + `c` and `a` + `bc`
    would otherwise be the same message.
    """
    name = salt.encode()
    message = b"%d:%b%b" % (len(name), name, unit_id.encode())
    digest = hashlib.blake2b(message, digest_size=8).digest()
    # A double has 53 bits: dividing all 64 by 2**64 would round the highest positions up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def variant_of(experiment: Experiment, unit_id: str) -> Variant:
    """Return the variant of a unit in a checked experiment.

    Args:
        experiment: A design that passed `check`.
        unit_id: The customer's id, or the household's where the design says so.
    """
    stands_at = position(experiment.salt, unit_id)
    reached = 0.0
    for variant in experiment.variants:
        reached += variant.weight
        if stands_at < reached:
            return variant
    # The weights sum to 1 only within rounding.
    return experiment.variants[-1]
