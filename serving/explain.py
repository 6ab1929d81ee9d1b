"""Why this offer and not that one: a verdict on every candidate, read from the decision's record.

Nothing is decided again here, so an explanation cannot differ from what was decided.
"""

from foundation.decision import DecisionRecord
from serving.catalogue import Catalogue
from serving.messages import Considered


def explain(record: DecisionRecord, catalogue: Catalogue) -> list[Considered]:
    """Return what became of every candidate: those shown, those that lost, those refused.

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
    shown = {one.offer_id: one.score for slate in record.slates for one in slate.offers}
    offers = catalogue.by_id
    groups = {offers[offer_id].exclusive_group for offer_id in shown} - {None}
    lowest = min(shown.values(), default=float("inf"))
    withheld, by_money = record.policy.kind == "none", record.policy.scored == "uplift"

    def verdict(offer_id: str, score: float) -> str:
        if offer_id in shown:
            return "shown"
        if withheld:
            return "withheld"
        if by_money and score <= 0:
            return "not_worth_it"
        if groups and offers[offer_id].exclusive_group in groups:
            return "exclusive_group"
        return "outranked" if score <= lowest else "not_drawn"

    ranking = sorted(record.scores.items(), key=lambda pair: (pair[0] not in shown, -pair[1]))
    return [
        *(Considered(i, verdict(i, score), score) for i, score in ranking),
        *(Considered(i, code, None) for i, code in record.refusals.items()),
    ]
