"""Why this offer and not that one: a verdict on every candidate, read from the decision's record.

Nothing is decided again here, so an explanation cannot differ from what was decided.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import msgspec

from foundation.decision import DecisionRecord
from serving.catalogue import Catalogue
from serving.messages import Considered

# Offers come and go with the catalogues: what is kept of them stays bounded.
MOST_KEPT = 100_000


class _Beginnings(dict[tuple[str, str], bytes]):
    """What is told of an offer before its score, by its id and verdict; kept for all."""

    def __missing__(self, pair: tuple[str, str]) -> bytes:
        offer_id, verdict = pair
        whole = msgspec.json.encode(Considered(offer_id, verdict, None))
        if len(self) >= MOST_KEPT:
            self.clear()
        self[pair] = beginning = b"}," + whole.removesuffix(b"null}")
        return beginning


_beginnings = _Beginnings()


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
    verdicts = dict.fromkeys([offer_id for offer_id in ranking if offer_id in shown], "shown")
    if record.policy.kind == "none":
        verdicts |= dict.fromkeys(lost, "withheld")
    else:
        verdicts |= _verdicts(record, lost, shown, catalogue)
    told = msgspec.json.encode([scores[offer_id] for offer_id in verdicts])
    ends = [*(told[1:-1].split(b",") if verdicts else ()), *[b"null"] * len(record.refusals)]
    parts = [b""] * (2 * len(ends))
    parts[0::2] = [_beginnings[pair] for pair in (*verdicts.items(), *record.refusals.items())]
    parts[1::2] = ends
    # The first has none before it that ends there.
    return msgspec.Raw(b"[%b%b]" % (b"".join(parts).removeprefix(b"},"), b"}" if parts else b""))


def _verdicts(
    record: DecisionRecord, lost: Sequence[str], shown: Mapping[str, float], catalogue: Catalogue
) -> dict[str, str]:
    """Return why each offer that might have been shown is not.

    Args:
        lost: In the order of their scores, the highest first.
    """
    scores, offers = record.scores, catalogue.by_id
    lowest = min(shown.values(), default=float("inf"))
    # All behind the first of them are outranked, too.
    below = bisect_left(lost, -lowest, key=lambda offer_id: -scores[offer_id])
    found = dict.fromkeys(lost[:below], "not_drawn") | dict.fromkeys(lost[below:], "outranked")
    groups = {offers[offer_id].exclusive_group for offer_id in shown} - {None}
    if groups:
        found |= {i: "exclusive_group" for i in lost if offers[i].exclusive_group in groups}
    if record.policy.scored == "uplift":
        found |= {i: "not_worth_it" for i in lost if scores[i] <= 0}
    return found
