import hashlib
import itertools

from foundation.access import PREFIX, ROLES, SCOPES, User, hash_key, new_key


def test_only_the_hash_is_kept() -> None:
    key = new_key()

    # Source: FIPS 180-4, as hashlib has it.
    assert hash_key(key) == hashlib.sha256(key.encode()).digest()
    assert key not in hash_key(key).hex()


def test_keys_are_told_by_their_prefix_and_carry_256_random_bits() -> None:
    keys = {new_key() for _ in range(1_000)}

    assert len(keys) == 1_000
    for key in keys:
        assert key.startswith(PREFIX)
        # 32 bytes in base64url are 43 characters; nothing that a header must escape.
        assert len(key) == len(PREFIX) + 43
        assert key.isascii()
        assert not set(key) & set(' "\\,;')


def test_a_role_may_do_what_those_before_it_may_and_nothing_more() -> None:
    may = {(held, asked): User("ana", held).may(asked) for held in ROLES for asked in ROLES}

    assert ROLES == ("viewer", "marketer", "admin")
    assert [pair for pair, allowed in may.items() if allowed] == [
        ("viewer", "viewer"),
        ("marketer", "viewer"),
        ("marketer", "marketer"),
        ("admin", "viewer"),
        ("admin", "marketer"),
        ("admin", "admin"),
    ]


def test_every_scope_has_a_name_of_its_own() -> None:
    assert SCOPES == ("decide", "outcomes", "marketer", "admin")
    for one, other in itertools.permutations(SCOPES, 2):
        assert one not in other
