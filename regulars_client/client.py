"""The client: one method a question, answers as types, repeated where that is safe."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from foundation.outcome import Channel, Outcome
from regulars_client.asking import Asking, part
from regulars_client.marketing import Marketing
from serving.customer_messages import (
    ConsentRequest,
    ConsentsAnswer,
    CustomerAnswer,
    CustomerExport,
    ErasedAnswer,
)
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
    ReplayAnswer,
)

# Nobody waits longer at a checkout than these together.
SECONDS = 1.0
# All that is known of a customer is looked for in the lake.
SEARCH_SECONDS = 60.0
TRIES = 3

Answer = TypeVar("Answer")


class Client:
    """Asks a decision service; safe to share between threads.

    `marketing` asks for offers, segments, experiments and policies.

    Args:
        url: Where it listens, like http://127.0.0.1:8000.
        key: An API key with the scopes of what is asked.
        seconds: That one try may take.
        tries: At most so many, where the service is away or asks for patience.
    """

    def __init__(self, url: str, key: str, *, seconds: float = SECONDS, tries: int = TRIES) -> None:
        self._asking = Asking(url, key, seconds, tries)
        self.marketing = Marketing(self._asking)

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
        self._asking.close()

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
        return self._post(f"/v1/activations/{part(activation_id)}/cancel", None, EndedAnswer)

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
        return self._post(f"/v1/redemptions/{part(redemption_id)}/reverse", None, EndedAnswer)

    def replay(self, decision_id: str) -> ReplayAnswer:
        """Make a decision again from its record.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._post(f"/v1/decisions/{part(decision_id)}/replay", None, ReplayAnswer)

    def tell(self, events: Sequence[Outcome]) -> OutcomeAnswer:
        """Tell what happened; an event_id told twice counts once.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._post("/v1/outcomes", OutcomeRequest(list(events)), OutcomeAnswer)

    def consents(
        self, customer_id: str, consents: Mapping[Channel, bool], *, source: str = "api"
    ) -> ConsentsAnswer:
        """Tell whether a customer may be contacted, by channel; other channels stay.

        Args:
            source: Where she said so.

        Raises:
            Refused, Unavailable: See there.
        """
        asked = ConsentRequest(dict(consents), source)
        return self._asking.ask("PUT", f"{_customer(customer_id)}/consents", asked, ConsentsAnswer)

    def customer(self, customer_id: str) -> CustomerAnswer:
        """Return what is known of a customer: profile, segments, consents and journey.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._search("GET", _customer(customer_id), CustomerAnswer)

    def export(self, customer_id: str) -> CustomerExport:
        """Return all that is known of a customer, as it is kept.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._search("GET", f"{_customer(customer_id)}/export", CustomerExport)

    def erase(self, customer_id: str) -> ErasedAnswer:
        """Forget a customer; what was counted stays, under a pseudonym drawn by chance.

        Raises:
            Refused, Unavailable: See there.
        """
        return self._search("DELETE", _customer(customer_id), ErasedAnswer)

    def _search(self, method: str, path: str, answer: type[Answer]) -> Answer:
        return self._asking.ask(method, path, None, answer, seconds=SEARCH_SECONDS)

    def _post(self, path: str, asked: Any, answer: type[Answer]) -> Answer:
        return self._asking.ask("POST", path, asked, answer)


def _customer(customer_id: str) -> str:
    return f"/v1/customers/{part(customer_id)}"
