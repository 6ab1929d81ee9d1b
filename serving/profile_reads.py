"""What the snapshot knows of a customer: read in time, or not at all."""

from foundation.errors import StoreUnavailable
from foundation.profile import Profile
from serving import metrics
from serving.basket import profile_for
from serving.breaker import Breaker
from serving.messages import DecisionRequest
from serving.profiles import ProfileStore

# Single requests that are late under load are no outage.
FAILURES = 20


class ProfileReads:
    """Reads profiles for decisions, and leaves a store that fails alone for a while."""

    def __init__(self, profiles: ProfileStore) -> None:
        self._profiles = profiles
        self._breaker = Breaker(FAILURES, told=metrics.BREAKER.labels("profiles"))

    async def of(self, request: DecisionRequest, by: float) -> tuple[Profile | None, bool]:
        """Return what is known of a customer and her basket, and whether it could be read.

        Args:
            by: When it has to be there, on the loop's clock.

        Raises:
            Overloaded: Too many wait already.
        """
        if not self._breaker.allows():
            return None, False
        try:
            profile = await profile_for(request, self._profiles, by)
        except StoreUnavailable:
            self._breaker.failed()
            return None, False
        self._breaker.succeeded()
        return profile, True
