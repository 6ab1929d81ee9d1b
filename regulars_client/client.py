"""The client: one method a question, answers as types, repeated where that is safe.

Every request that changes something carries an Idempotency-Key, so that one whose answer was lost
is sent again and done once.
"""

import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from foundation.outcome import Channel, Outcome
from serving.messages import (
    ActivationAnswer,
    ActivationRequest,
    AskedContext,
    AskedLine,
    AskedPlacement,
    DecisionAnswer,
    DecisionRequest,
    EndedAnswer,
    OutcomeAnswer,
    OutcomeRequest,
    RecommendationAnswer,
    RecommendationRequest,
    RedemptionAnswer,
    RedemptionRequest,
)

# Nobody waits longer at a checkout than these together.
SECONDS = 1.0
TRIES = 3
LONGEST_PAUSE = 2.0
# The service says that the same request may come again.
AGAIN = (429, 503)

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


class Client:
    """Asks a decision service; safe to share between threads.

    Args:
        url: Where it listens, like http://127.0.0.1:8000.
        key: An API key with the scopes of what is asked.
        seconds: That one try may take.
        tries: At most so many, where the service is away or asks for patience.
    """

    def __init__(self, url: str, key: str, *, seconds: float = SECONDS, tries: int = TRIES) -> None:
        if tries < 1:
            raise ValueError(f"tries {tries} must be at least 1")
        self._tries = tries
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=seconds
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections."""
        self._http.close()

    def decide(
        self,
        customer_id: str,
        channel: Channel,
        placements: Sequence[AskedPlacement],
        *,
        store_id: str | None = None,
        basket: Sequence[AskedLine] | None = None,
        explain: bool = False,
        dry_run: bool = False,
    ) -> DecisionAnswer:
        """Return which offers to show this customer here and now.

        Raises:
            Refused, Unavailable: See there.
        """
        context = AskedContext(store_id, None if basket is None else list(basket))
        asked = DecisionRequest(customer_id, channel, list(placements), context, explain, dry_run)
        return self._post("/v1/decisions", asked, DecisionAnswer)

    def recommend(self, basket: Sequence[str], limit: int = 5) -> RecommendationAnswer:
        """Return which products go with those in a basket.

        Raises:
            Refused, Unavailable: See there.
        """
        asked = RecommendationRequest(list(basket), limit)
        return self._post("/v1/recommendations", asked, RecommendationAnswer)

    def activate(
        self,
        customer_id: str,
        offer_id: str,
        channel: Channel,
        *,
        store_id: str | None = None,
        decision_id: str | None = None,
    ) -> ActivationAnswer:
        """Keep one use of an offer for a customer.

        Raises:
            Refused, Unavailable: See there.
        """
        asked = ActivationRequest(customer_id, offer_id, channel, store_id, decision_id)
        return self._post("/v1/activations", asked, ActivationAnswer)

    def cancel(self, activation_id: str) -> EndedAnswer:
        """Give a reservation back before its time.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._post(f"/v1/activations/{_part(activation_id)}/cancel", None, EndedAnswer)

    def redeem(
        self,
        customer_id: str,
        offer_id: str,
        channel: Channel,
        *,
        activation_id: str | None = None,
        store_id: str | None = None,
        decision_id: str | None = None,
        order_id: str | None = None,
    ) -> RedemptionAnswer:
        """Use an offer now: the use kept for her, or one of those left.

        Raises:
            Refused, Unavailable: See there.
        """
        asked = RedemptionRequest(
            customer_id, offer_id, channel, activation_id, store_id, decision_id, order_id
        )
        return self._post("/v1/redemptions", asked, RedemptionAnswer)

    def reverse(self, redemption_id: str) -> EndedAnswer:
        """Give a use back after a return.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._post(f"/v1/redemptions/{_part(redemption_id)}/reverse", None, EndedAnswer)

    def tell(self, events: Sequence[Outcome]) -> OutcomeAnswer:
        """Tell what happened; an event_id told twice counts once.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._post("/v1/outcomes", OutcomeRequest(list(events)), OutcomeAnswer)

    def _post(self, path: str, asked: Any, answer: type[Answer]) -> Answer:
        # One name for all tries, so that what was done and not heard of is not done again.
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        body = b"" if asked is None else msgspec.json.encode(asked)
        told = "no answer"
        for left in range(self._tries - 1, -1, -1):
            pause = 0.0
            try:
                response = self._http.post(path, content=body, headers=headers)
            except httpx.TransportError as error:
                told = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == 200:
                    return msgspec.json.decode(response.content, type=answer)
                refused = _refused(response)
                if refused.status not in AGAIN:
                    raise refused
                told, pause = str(refused), _pause(response)
            if left and pause:
                time.sleep(pause)
        raise Unavailable(f"{self._http.base_url}: {told}; {self._tries} tries")


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


def _part(given: str) -> str:
    return quote(given, safe="")
