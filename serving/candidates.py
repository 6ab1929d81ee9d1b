"""Candidates: the offers that may be shown in a channel and store now, whoever asks.

They are the same for every customer until an offer starts or ends, so they are gathered once and
not once a request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from foundation.offer import Offer
from serving.catalogue import Catalogue
from serving.eligibility import is_open, unfit

# Channels and stores come from requests: what is kept of them stays bounded.
MOST_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may be shown from `since` until before `until`, and one code for each other offer.

    `open` ones are for all who have not used them up; the others are `judged` for each customer.
    """

    open: Sequence[Offer]
    judged: Sequence[Offer]
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
        found = self._kept.get((channel, store_id))
        if found is None or not found.since <= at < found.until:
            found = self._gathered(at, channel, store_id)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[channel, store_id] = found
        return found

    def _gathered(self, at: datetime, channel: str, store_id: str | None) -> Candidates:
        groups: dict[bool, list[Offer]] = {True: [], False: []}
        refusals: dict[str, str] = {}
        for offer in self._catalogue.offers:
            reason = unfit(offer, self._catalogue, at, channel, store_id)
            if reason is None:
                groups[is_open(offer)].append(offer)
            else:
                refusals[offer.offer_id] = reason
        changes = [t for o in self._catalogue.offers for t in (o.valid_from, o.valid_to)]
        return Candidates(
            groups[True],
            groups[False],
            refusals,
            max((t for t in changes if t <= at), default=datetime.min.replace(tzinfo=UTC)),
            min((t for t in changes if t > at), default=datetime.max.replace(tzinfo=UTC)),
        )
