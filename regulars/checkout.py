"""The demo loyalty app's checkout: asks the running service by our own client."""

from collections.abc import Callable
from typing import TypeVar

from foundation.errors import RegularsError
from regulars_client import (
    ActivationAnswer,
    AskedLine,
    AskedPlacement,
    Client,
    DecisionAnswer,
    RecommendationAnswer,
    RedemptionAnswer,
    Refused,
    Unavailable,
)

PLACEMENT = "checkout"

Answer = TypeVar("Answer")


class ClientCheckout:
    """See serving.console.loyalty_app.Checkout."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def offers(
        self, customer_id: str, store_id: str | None, basket: list[AskedLine] | None, limit: int
    ) -> DecisionAnswer:
        spots = [AskedPlacement(PLACEMENT, limit)]
        return _asked(
            lambda: self._client.decide(customer_id, "app", spots, store_id=store_id, basket=basket)
        )

    def goes_with(self, basket: list[str]) -> RecommendationAnswer:
        return _asked(lambda: self._client.recommend(basket))

    def activate(
        self, customer_id: str, offer_id: str, store_id: str | None, decision_id: str | None
    ) -> ActivationAnswer:
        return _asked(
            lambda: self._client.activate(
                customer_id, offer_id, "app", store_id=store_id, decision_id=decision_id
            )
        )

    def redeem(
        self, customer_id: str, offer_id: str, store_id: str | None, activation_id: str
    ) -> RedemptionAnswer:
        return _asked(
            lambda: self._client.redeem(
                customer_id, offer_id, "app", store_id=store_id, activation_id=activation_id
            )
        )


def _asked(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except (Refused, Unavailable) as error:
        raise RegularsError(str(error)) from error
