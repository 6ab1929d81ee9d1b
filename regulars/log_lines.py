"""Where log lines go: a disk that is full loses lines, and not the answers that they are about."""

from contextlib import suppress
from typing import TextIO


class LogLines:
    """A text stream whose writing never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()
