import time

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from foundation.errors import RegularsError
from foundation.passwords import (
    LONGEST,
    SHORTEST,
    hash_password,
    is_password,
    new_password,
)

SENTENCE = "korrekt Pferd Batterie Klammer"


def test_a_password_opens_its_own_hash_and_no_other() -> None:
    stored = hash_password(SENTENCE)

    assert is_password(stored, SENTENCE)
    for other in ("", SENTENCE[:-1], SENTENCE + "r", SENTENCE.upper(), stored):
        assert not is_password(stored, other)
    assert not is_password(stored[:-4], SENTENCE)
    assert not is_password("no hash at all", SENTENCE)


def test_hashes_are_argon2id_by_rfc_9106_and_salted() -> None:
    one, other = hash_password(SENTENCE), hash_password(SENTENCE)

    # Source: RFC 9106, 4: the second recommended option.
    found = extract_parameters(one)
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (
        Type.ID,
        64 * 1024,
        3,
        4,
    )
    assert (found.salt_len, found.hash_len) == (16, 32)
    assert one != other
    # The library alone, without our wrapping, agrees.
    assert PasswordHasher().verify(one, SENTENCE)


def test_nobody_has_no_password_and_is_refused_as_slowly() -> None:
    stored = hash_password(SENTENCE)

    def seconds(of: str | None) -> float:
        took = []
        for _ in range(5):
            began = time.perf_counter()
            assert not is_password(of, "a wrong password it is")
            took.append(time.perf_counter() - began)
        return min(took)

    # Whoever measures it must not learn which names there are.
    assert 0.5 < seconds(None) / seconds(stored) < 2


@pytest.mark.parametrize(
    "given", ["", "short", "x" * (SHORTEST - 1), "x" * (LONGEST + 1), "ab" * 20]
)
def test_what_is_easily_guessed_or_endless_is_no_password(given: str) -> None:
    with pytest.raises(RegularsError, match="a password"):
        hash_password(given)


def test_generated_passwords_can_be_taken_and_never_come_twice() -> None:
    made = {new_password() for _ in range(1_000)}

    assert len(made) == 1_000
    # 16 bytes in base64url.
    assert {len(one) for one in made} == {22}
    assert is_password(hash_password(min(made)), min(made))
