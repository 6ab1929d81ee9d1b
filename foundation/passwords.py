"""Passwords of people: kept as Argon2id hashes, which take time and memory to guess at.

Source: RFC 9106 (Argon2), its second recommended option: 64 MiB, three passes, four lanes.
"""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from foundation.errors import RegularsError

# NIST SP 800-63B-4, 3.1.1.2: at least 15 where a password alone lets somebody in, and no rules on
# what it is made of.
SHORTEST = 15
# A longer one would be work for the server and no safer.
LONGEST = 200
FEWEST_DIFFERENT = 5
# 128 random bits.
GENERATED_BYTES = 16

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
# For names that nobody bears: refusing them takes as long as refusing a wrong password.
_NOBODY = _hasher.hash(secrets.token_urlsafe(GENERATED_BYTES))


def new_password() -> str:
    """Return a generated password."""
    return secrets.token_urlsafe(GENERATED_BYTES)


def hash_password(password: str) -> str:
    """Return what is stored of a password.

    Raises:
        RegularsError: It is too short, too long, or too monotonous.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise RegularsError(
            f"a password has {SHORTEST} to {LONGEST} characters, this one has {len(password)}; "
            "take a sentence"
        )
    if len(set(password)) < FEWEST_DIFFERENT:
        raise RegularsError(
            f"a password needs at least {FEWEST_DIFFERENT} different characters; take a sentence"
        )
    return _hasher.hash(password)


def is_password(stored: str | None, given: str) -> bool:
    """Whether this is the password of a stored hash; None is nobody's, and takes as long."""
    try:
        return _hasher.verify(stored or _NOBODY, given[:LONGEST]) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
