"""Candidates: the offers that may be shown in a channel and store now, whoever asks.

They are the same for every customer until an offer starts or ends, so they are gathered once and
not once a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from foundation.offer import Offer
from foundation.rule_profile import Judge
from serving.catalogue import Catalogue
from serving.eligibility import unfit

# Channels and stores come from requests: what is kept of them stays bounded.
MOST_KEPT = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What may be shown from `since` until before `until`, and one code for each other offer.

    `rules` are those of the offers, each once: who passes the same ones may be shown the same.
    """

    offers: Sequence[Offer]
    rules: Sequence[Judge]
    refusals: Mapping[str, str]
    since: datetime
    until: datetime


class CandidateLists:
    """The candidates of one catalogue, by channel and store."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._kept: dict[tuple[str, str | None], Candidates] = {}

    def at(self, at: datetime, channel: str, store_id: str | None) -> Candidates:
        """Return what may be shown there and then."""
        place = (channel, self._catalogue.named_store(store_id))
        found = self._kept.get(place)
        if found is None or not found.since <= at < found.until:
            found = self._gathered(at, channel, store_id)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[place] = found
        return found

    def _gathered(self, at: datetime, channel: str, store_id: str | None) -> Candidates:
        catalogue = self._catalogue
        codes = {o.offer_id: unfit(o, catalogue, at, channel, store_id) for o in catalogue.offers}
        fit = [offer for offer in catalogue.offers if codes[offer.offer_id] is None]
        rules = (catalogue.rules.get(offer.offer_id) for offer in fit)
        changes = [t for o in catalogue.offers for t in (o.valid_from, o.valid_to)]
        return Candidates(
            fit,
            [rule for rule in dict.fromkeys(rules) if rule is not None],
            {offer_id: code for offer_id, code in codes.items() if code is not None},
            max((t for t in changes if t <= at), default=datetime.min.replace(tzinfo=UTC)),
            min((t for t in changes if t > at), default=datetime.max.replace(tzinfo=UTC)),
        )
