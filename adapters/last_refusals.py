"""Who refused a channel, on disk: found again by her id, and told by nothing that is kept.

Of each id there are eight bytes of a hash whose salt is the file's own. With a million in it, one
id in 10^13 is found that is not there: she is shown nothing until the database answers.

Source: BLAKE2, RFC 7693.
"""

from collections.abc import Collection, Container, Mapping
from hashlib import blake2b
from pathlib import Path
from secrets import token_bytes

import msgspec
import numpy as np
import structlog

from adapters.kept_file import KeptFile

_BYTES = 8
_KIND = f"<u{_BYTES}"


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """Hashes by channel, in their order."""

    salt: bytes
    refused: dict[str, bytes]


class LastKnownRefusals:
    """See serving.refusals.KeptRefusals."""

    def __init__(self, folder: Path) -> None:
        self._file = KeptFile(folder / "refusals", _Content)

    def read(self) -> Mapping[str, Container[str]]:
        content = self._file.read()
        if content is None:
            return {}
        try:
            return {
                channel: _Hashed(content.salt, np.frombuffer(hashes, _KIND))
                for channel, hashes in content.refused.items()
            }
        except ValueError as error:
            structlog.get_logger("last known").error(
                "not readable", file=self._file.name, reason=str(error)
            )
            return {}

    def keep(self, refused: Mapping[str, Collection[str]]) -> None:
        salt = token_bytes(blake2b.SALT_SIZE)
        self._file.write(
            _Content(salt, {channel: _hashes(salt, hers) for channel, hers in refused.items()})
        )


class _Hashed:
    """Customers, by their hashes in order, shape (n,)."""

    def __init__(self, salt: bytes, hashes: np.ndarray) -> None:
        self._salt = salt
        self._hashes = hashes

    def __contains__(self, customer_id: object) -> bool:
        own = np.frombuffer(_hash(self._salt, str(customer_id)), _KIND)[0]
        place = int(np.searchsorted(self._hashes, own))
        return place < len(self._hashes) and self._hashes[place] == own


def _hash(salt: bytes, customer_id: str) -> bytes:
    return blake2b(customer_id.encode(), digest_size=_BYTES, salt=salt).digest()


def _hashes(salt: bytes, customers: Collection[str]) -> bytes:
    found = np.frombuffer(b"".join(_hash(salt, one) for one in customers), _KIND)
    return np.sort(found).tobytes()
