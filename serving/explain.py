"""Why this offer and not that one: a verdict on every candidate, read from the decision's record.

Nothing is decided again here, so an explanation cannot differ from what was decided.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cache

import msgspec

from foundation.decision import DecisionRecord
from serving.catalogue import Catalogue
from serving.messages import Considered

# Offers come and go with the catalogues: what is kept of them stays bounded.
MOST_KEPT = 100_000


class _Beginnings(dict[str, bytes]):
    """What is told of an offer of one verdict before its score, by its id; kept for all."""

    def __init__(self, verdict: str) -> None:
        super().__init__()
        self._verdict = verdict

    def __missing__(self, offer_id: str) -> bytes:
        if len(self) >= MOST_KEPT:
            self.clear()
        whole = msgspec.json.encode(Considered(offer_id, self._verdict, None))
        self[offer_id] = beginning = b"}," + whole.removesuffix(b"null}")
        return beginning


# Verdicts are words of this software: there are few.
_beginnings = cache(_Beginnings)


def explain(record: DecisionRecord, catalogue: Catalogue) -> msgspec.Raw:
    """Return what became of every candidate: those shown, those that lost, those refused.

    As JSON, a list of Considered: only the scores are written anew, and to make a hundred objects
    first would take longer than all the rest.

    | verdict | the offer |
    | --- | --- |
    | shown | is in the answer |
    | withheld | might have been shown, but her policy shows nothing: the holdout |
    | not_worth_it | is expected to earn no more than it costs |
    | exclusive_group | lost to another of its group that is shown |
    | outranked | ranks below all that is shown |
    | not_drawn | ranks above something shown, which was drawn to learn or stands by its order |

    Any other verdict is the code of why it was refused before it was scored.
    """
    scores = record.scores
    shown = {one.offer_id: one.score for slate in record.slates for one in slate.offers}
    ranking = sorted(scores, key=scores.__getitem__, reverse=True)
    lost = [offer_id for offer_id in ranking if offer_id not in shown]
    told: list[tuple[str, Sequence[str]]] = [
        ("shown", [offer_id for offer_id in ranking if offer_id in shown])
    ]
    if record.policy.kind == "none":
        told.append(("withheld", lost))
    else:
        told += _lost(record, lost, shown, catalogue)
    written = msgspec.json.encode([scores[i] for _, offer_ids in told for i in offer_ids])
    ends = [*(written[1:-1].split(b",") if scores else ()), *[b"null"] * len(record.refusals)]
    told += [(code, [offer_id]) for offer_id, code in record.refusals.items()]
    parts = [b""] * (2 * len(ends))
    parts[0::2] = [
        begun for verdict, ids in told for begun in map(_beginnings(verdict).__getitem__, ids)
    ]
    parts[1::2] = ends
    # The first has none before it that ends there.
    return msgspec.Raw(b"[%b%b]" % (b"".join(parts).removeprefix(b"},"), b"}" if parts else b""))


def _lost(
    record: DecisionRecord, lost: Sequence[str], shown: Mapping[str, float], catalogue: Catalogue
) -> list[tuple[str, Sequence[str]]]:
    """Return why offers that might have been shown are not, those of one verdict in a row.

    Args:
        lost: In the order of their scores, the highest first.
    """
    scores, offers = record.scores, catalogue.by_id
    lowest = min(shown.values(), default=float("inf"))
    # All behind the first of them are outranked, too.
    below = bisect_left(lost, -lowest, key=lambda offer_id: -scores[offer_id])
    groups = {offers[offer_id].exclusive_group for offer_id in shown} - {None}
    by_money = record.policy.scored == "uplift"
    if not groups and not by_money:
        return [("not_drawn", lost[:below]), ("outranked", lost[below:])]

    def verdict(place: int, offer_id: str) -> str:
        if by_money and scores[offer_id] <= 0:
            return "not_worth_it"
        if offers[offer_id].exclusive_group in groups:
            return "exclusive_group"
        return "not_drawn" if place < below else "outranked"

    return [(verdict(place, offer_id), [offer_id]) for place, offer_id in enumerate(lost)]
