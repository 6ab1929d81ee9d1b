import hashlib

from foundation.access import PREFIX, SCOPES, KeyFacts, allowed, hash_key, new_key


def test_a_key_may_do_what_its_scopes_say_and_nothing_else() -> None:
    till, feed = new_key(), new_key()
    keys = {
        hash_key(till): KeyFacts("till", frozenset({"decide"})),
        hash_key(feed): KeyFacts("feed", frozenset({"outcomes"})),
    }

    assert [allowed(keys, till, scope) for scope in SCOPES] == [True, False]
    assert [allowed(keys, feed, scope) for scope in SCOPES] == [False, True]


def test_an_unknown_key_is_told_apart_from_a_known_one_without_the_scope() -> None:
    known = new_key()
    keys = {hash_key(known): KeyFacts("nothing yet", frozenset())}

    assert allowed(keys, known, "decide") is False
    for stranger in ("", known[:-1], known + "x", known.upper(), f" {known}", new_key(), "Zoë"):
        assert allowed(keys, stranger, "decide") is None
    assert allowed({}, known, "decide") is None


def test_only_the_hash_is_kept_and_the_stored_hash_is_no_key() -> None:
    key = new_key()
    keys = {hash_key(key): KeyFacts("app", frozenset(SCOPES))}

    # Source: FIPS 180-4, as hashlib has it.
    assert hash_key(key) == hashlib.sha256(key.encode()).digest()
    assert key not in repr(keys)
    assert allowed(keys, hash_key(key).hex(), "decide") is None


def test_keys_are_told_by_their_prefix_and_carry_256_random_bits() -> None:
    keys = {new_key() for _ in range(1_000)}

    assert len(keys) == 1_000
    for key in keys:
        assert key.startswith(PREFIX)
        # 32 bytes in base64url are 43 characters; nothing that a header must escape.
        assert len(key) == len(PREFIX) + 43
        assert key.isascii()
        assert not set(key) & set(' "\\,;')
