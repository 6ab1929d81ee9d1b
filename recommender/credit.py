"""To which of our decisions is an outcome credited?

An outcome that names its decision is that decision's, and no other's. One that names none belongs
to the latest decision before it that showed this customer this offer: each outcome counts once.
A redemption taken back is no response, and is taken off the decision that the redemption was
credited to.
"""

from typing import Any

import msgspec
import pandas as pd

from foundation.decision import Slate
from foundation.lake import Lake
from foundation.taken_back import TAKEN_BACK

_SHOWN = ["decision_id", "customer_id", "offer_id", "at"]


def shown_offers(lake: Lake) -> pd.DataFrame:
    """Return decision_id, customer_id, offer_id and at of every offer that decisions showed."""
    columns = lake.table("decisions").select("decision_id", "customer_id", "at", "slates")
    facts = [
        (row["decision_id"], row["customer_id"], shown.offer_id, row["at"])
        for batch in lake.stream(columns)
        for row in batch.to_pylist()
        for slate in msgspec.json.decode(row["slates"], type=list[Slate])
        for shown in slate.offers
    ]
    return _timed(pd.DataFrame(facts, columns=_SHOWN))


def credited(lake: Lake, shown: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the outcomes of a kind with the decisions they are credited to.

    Args:
        shown: Every offer shown, as from `shown_offers`: a later decision that is left out here
            would leave its outcomes to an earlier one.

    Returns:
        decision_id, offer_id, at, when it happened, and use: 1, or -1 where one is taken back. No
        window is kept yet; see `responded`.
    """
    happened = _credited(_events(lake, kind), _timed(shown[_SHOWN]))
    found = [happened.assign(use=1)]
    if kind in TAKEN_BACK:
        back = _events(lake, TAKEN_BACK[kind])
        found.append(_credited(back, happened).assign(use=-1))
    return pd.concat(found, ignore_index=True)[["decision_id", "offer_id", "at", "use"]]


def responded(outcomes: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return the keys of which more happened than was taken back.

    Args:
        outcomes: Those inside the window, as from `credited`.
    """
    sums = outcomes.groupby(keys, as_index=False)["use"].sum()
    return sums[sums["use"] > 0][keys]


def _events(lake: Lake, kind: str) -> pd.DataFrame:
    events: Any = lake.table("interactions")
    events = events.filter((events.kind == kind) & events.offer_id.notnull())
    return _timed(lake.fetch(events.select(*_SHOWN)).to_pandas())


def _credited(told: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Return events with the decision they name, else that of the latest earlier one of hers."""
    named = told["decision_id"].notna()
    orphans = told[~named].drop(columns="decision_id")
    found = pd.merge_asof(
        orphans.sort_values("at", kind="stable"),
        earlier.sort_values(["at", "decision_id"], kind="stable"),
        on="at",
        by=["customer_id", "offer_id"],
    )
    return pd.concat([told[named], found[found["decision_id"].notna()]], ignore_index=True)


def _timed(rows: pd.DataFrame) -> pd.DataFrame:
    at = pd.to_datetime(rows["at"], utc=True).astype("datetime64[us, UTC]")
    words = rows.drop(columns="at").astype("object")
    return words.assign(at=at)[_SHOWN]
