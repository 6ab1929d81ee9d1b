"""Is everybody who refused found again, and told of to nobody who reads the file?"""

import stat
from pathlib import Path

import pytest

from adapters.last_refusals import LastKnownRefusals

MANY = [f"customer-{n}" for n in range(20_000)]


def test_all_who_refused_are_found_again_and_nobody_else(tmp_path: Path) -> None:
    kept = LastKnownRefusals(tmp_path / "new" / "folder")
    assert kept.read() == {}
    kept.keep({"app": MANY[::2], "till": ["ü" * 500, ""], "web": []})
    found = LastKnownRefusals(tmp_path / "new" / "folder").read()
    assert [one in found["app"] for one in MANY] == [True, False] * 10_000
    assert [one in found["till"] for one in ("ü" * 500, "", "ü", *MANY[:100])] == (
        [True] * 2 + [False] * 101
    )
    # Of a channel that nobody refused that is known; of one that was never read nothing is.
    assert "customer-0" not in found["web"]
    assert set(found) == {"app", "till", "web"}


def test_the_file_is_small_tells_no_id_and_is_not_comparable_to_another(tmp_path: Path) -> None:
    file = tmp_path / "refusals"
    kept = LastKnownRefusals(tmp_path)
    kept.keep({"app": MANY})
    first = file.read_bytes()
    # Eight megabytes for a million.
    assert len(first) < 8 * len(MANY) + 100
    assert b"customer" not in first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept.keep({"app": MANY})
    pieces = [{one[i : i + 8] for i in range(len(one) - 8)} for one in (first, file.read_bytes())]
    assert len(set.intersection(*pieces)) < 10


@pytest.mark.parametrize("content", [b"", b"half", b"\x92\xc4\x00\x81\xa3app\xc4\x03abc"])
def test_a_file_that_cannot_be_read_says_nothing_of_anybody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "refusals").write_bytes(content)
    assert LastKnownRefusals(tmp_path).read() == {}
