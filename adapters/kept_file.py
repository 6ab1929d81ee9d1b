"""A kept file: the newest good answer to one question, on this machine's own disk."""

from pathlib import Path
from typing import Generic, TypeVar

import msgspec
import structlog

from adapters.durable import replaced

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600

Content = TypeVar("Content")


class KeptFile(Generic[Content]):
    """Written whole or not at all, and read by nobody else; a disk that refuses is logged."""

    def __init__(self, path: Path, content: type[Content]) -> None:
        self._path = path
        self._content = content
        self._log = structlog.get_logger("last known")

    @property
    def name(self) -> str:
        return self._path.name

    def read(self) -> Content | None:
        """Return what was kept, None where nothing was or it cannot be read."""
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=self._content)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            self._log.error("not readable", file=self.name, reason=str(error))
            return None

    def write(self, content: Content) -> bool:
        """Keep in place of what was kept before; False where the disk refuses."""
        told = msgspec.msgpack.encode(content)
        try:
            self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            with replaced(self._path, _FILE_MODE) as file:
                file.write(told)
        except OSError as error:
            # The service goes on; only a start without the database would miss it.
            self._log.error("not kept", file=self.name, reason=str(error))
            return False
        return True
