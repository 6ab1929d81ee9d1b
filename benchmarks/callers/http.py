"""One keep-alive HTTP connection with as little of our own work as possible."""

import asyncio
import json
from contextlib import suppress
from typing import Any


class Caller:
    """A connection to the service; opened when asked, and anew after it broke."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._host = host
        self._port = port
        self._fixed = (
            f"Host: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\n"
        )
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, path: str, body: dict[str, Any], name: str | None = None
    ) -> tuple[int, Any]:
        """Return the status and the JSON answer.

        Args:
            name: An Idempotency-Key.

        Raises:
            ConnectionError: The connection broke; whether the request was done, nobody knows.
        """
        sent = json.dumps(body).encode()
        named = f"Idempotency-Key: {name}\r\n" if name else ""
        head = f"POST {path} HTTP/1.1\r\n{self._fixed}{named}Content-Length: {len(sent)}\r\n\r\n"
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port)
            reader, writer = self._streams
            writer.write(head.encode() + sent)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(answer.split("content-length: ", 1)[1].split("\r\n", 1)[0])
            received = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, IndexError) as error:
            await self.close()
            raise ConnectionError(str(error)) from error
        return int(answer[9:12]), json.loads(received)

    async def close(self) -> None:
        """Give the connection up."""
        if self._streams is not None:
            streams, self._streams = self._streams, None
            streams[1].close()
            with suppress(OSError):
                await streams[1].wait_closed()
