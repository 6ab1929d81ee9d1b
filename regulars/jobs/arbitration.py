"""Why did offers rank as they did in money? A decision's factors, computed again from its record.

response x context x value x lever: the response champion's probability without a basket, how many
times that the basket makes of it, what the decision expected to earn for each response, and the
marketer's lever. Scores and levers are those recorded, so the product is the score that ranked; it
costs a decision nothing, since nothing but these is stored with it.
"""

import msgspec
import numpy as np

from foundation.decision import Context, DecisionRecord, decode_record
from foundation.errors import RegularsError
from foundation.lake import Lake
from recommender.affinity import BASKET, NAMES
from recommender.value import Arbitration
from regulars.jobs.recorded_scores import Scores


def recorded_decision(lake: Lake, decision_id: str) -> DecisionRecord:
    """Return a decision's record.

    Raises:
        RegularsError: The lake holds no such decision.
    """
    rows = lake.table("decisions").filter(lambda t: t.decision_id == decision_id).select("record")
    found = lake.fetch(rows)["record"].to_pylist()
    if not found:
        raise RegularsError(
            f"decision {decision_id!r} is not in the lake; run 'regulars ingest', or look whether "
            "its id is whole"
        )
    return decode_record(found[0])


def arbitration(record: DecisionRecord, response: Scores) -> dict[str, Arbitration]:
    """Return the factors of every offer that a decision ranked in money, the best first.

    Args:
        response: Probabilities of a response model.

    Raises:
        RegularsError: The decision did not rank in money, or its record cannot be scored again.
    """
    if record.policy.scored != "uplift":
        raise RegularsError(
            f"decision {record.decision_id!r} was drawn by policy {record.policy.kind}, which "
            "does not rank in money; ask for one that policy uplift ranked"
        )
    now, usual = response(record), response(_without_basket(record))
    if now is None or usual is None:
        raise RegularsError(
            f"decision {record.decision_id!r} cannot be scored again: it was recorded under other "
            "features than today's, or an offer of it is not in the lake"
        )
    found: dict[str, Arbitration] = {}
    for offer_id, score in sorted(record.scores.items(), key=lambda pair: (-pair[1], pair[0])):
        lever = record.levers.get(offer_id, 1.0)
        found[offer_id] = Arbitration.of_margin(
            score / lever, usual[offer_id], now[offer_id], lever
        )
    return found


def _without_basket(record: DecisionRecord) -> DecisionRecord:
    affinity = record.affinity
    if affinity:
        told = np.frombuffer(affinity, dtype="<f4").reshape(-1, len(NAMES)).copy()
        told[:, BASKET] = np.nan
        affinity = told.tobytes()
    context = Context(record.context.store_id, None)
    return msgspec.structs.replace(record, context=context, affinity=affinity)
