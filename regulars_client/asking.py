"""Asking a service: what was not answered is asked again, where that is safe.

Every request that changes something carries an Idempotency-Key, so that one whose answer was lost
is sent again and done once.
"""

import time
import uuid
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

LONGEST_PAUSE = 2.0
# The service says that the same request may come again.
AGAIN = (429, 503)
GOOD = (200, 201)

Answer = TypeVar("Answer")


class Refused(Exception):
    """The service read the request and will not do it.

    `code` is for programs, `field` the place in the body that breaks a rule, if one does.
    """

    def __init__(self, status: int, code: str, detail: str, field: str | None) -> None:
        super().__init__(f"{detail} ({code})" if field is None else f"{field}: {detail} ({code})")
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field


class Unavailable(Exception):
    """No answer could be had in time; the same request may be tried again later."""


class _Problem(msgspec.Struct):
    status: int
    code: str
    detail: str
    field: str | None = None


class Asking:
    """Connections to a service under a key; safe to share between threads.

    Args:
        url, key, seconds, tries: As for Client.
    """

    def __init__(self, url: str, key: str, seconds: float, tries: int) -> None:
        if tries < 1:
            raise ValueError(f"tries {tries} must be at least 1")
        self._tries = tries
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=seconds
        )

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def ask(
        self,
        method: str,
        path: str,
        asked: Any,
        answer: type[Answer],
        *,
        seen: str | None = None,
        seconds: float | None = None,
    ) -> Answer:
        """Return the service's answer.

        Args:
            seen: The version that a change is of; whatever it is where left out.
            seconds: That one try may take, where it is another time than usual.

        Raises:
            Refused, Unavailable: See there.
        """
        headers = {}
        if method != "GET":
            # One name for all tries, so that what was done and not heard of is not done again.
            headers |= {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        if seen is not None:
            headers["If-Match"] = f'"{seen}"'
        body = b"" if asked is None else msgspec.json.encode(asked)
        patience = httpx.USE_CLIENT_DEFAULT if seconds is None else seconds
        told = "no answer"
        for left in range(self._tries - 1, -1, -1):
            pause = 0.0
            try:
                response = self._http.request(
                    method, path, content=body, headers=headers, timeout=patience
                )
            except httpx.TransportError as error:
                told = f"{type(error).__name__}: {error}"
            else:
                if response.status_code in GOOD:
                    return msgspec.json.decode(response.content, type=answer)
                refused = _refused(response)
                if refused.status not in AGAIN:
                    raise refused
                told, pause = str(refused), _pause(response)
            if left and pause:
                time.sleep(pause)
        raise Unavailable(f"{self._http.base_url}: {told}; {self._tries} tries")


def part(given: str) -> str:
    """Return an id as one part of a path."""
    return quote(given, safe="")


def _refused(response: httpx.Response) -> Refused:
    try:
        told = msgspec.json.decode(response.content, type=_Problem)
    except msgspec.DecodeError:
        # Whatever stands between us and the service answered in its own words.
        detail = f"the answer {response.status_code} is none of the service's"
        return Refused(response.status_code, "unknown_answer", detail, None)
    return Refused(told.status, told.code, told.detail, told.field)


def _pause(response: httpx.Response) -> float:
    """Return how long the service asks to be left alone, in seconds."""
    asked = response.headers.get("retry-after", "")
    return min(float(asked), LONGEST_PAUSE) if asked.isdecimal() else 0.0
