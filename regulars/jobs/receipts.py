"""Receipts: RFM's state in the lake, brought up to date by new lines alone."""

from datetime import datetime

import ibis
import pandas as pd

from foundation.contracts import RECEIPTS
from foundation.lake import Lake, LakeWrite
from foundation.money import MINOR_PER_MAJOR
from foundation.settings import RfmCuts, Settings
from segmentation.rfm import Cuts, rfm_groups
from segmentation.rfm_state import merge_receipts, rfm_profile, summarise_receipts

# The lake's note of the lines that the receipts hold.
CURSOR = "receipts"


def refresh_receipts(lake: Lake) -> int:
    """Merge purchases that came since the last call; returns how many receipts they touch.

    Reads new lines and the receipts they touch, unless the purchases were laid afresh.
    """
    # The lake's write is exclusive: cursor, lines and receipts are of one commit, and stay so.
    with lake.write() as write:
        return _merge(lake, write)


def _merge(lake: Lake, write: LakeWrite) -> int:
    added = lake.added("purchases", lake.note(CURSOR))
    known = lake.table(RECEIPTS.name)
    if added.whole:
        known = known.limit(0)
    touched = merge_receipts(known, summarise_receipts(added.rows))
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    key = ibis.literal("|").join(
        [
            touched.customer_id.length().cast("string"),
            touched.customer_id,
            touched.order_id,
            touched["at"].strftime("%Y-%m-%dT%H:%M:%S.%f"),
        ]
    )
    rows = lake.fetch(touched.mutate(receipt_key=key))
    if added.whole:
        write.clear(RECEIPTS.name)
    write.merge(RECEIPTS.name, rows)
    write.remember(CURSOR, added.cursor)
    return rows.num_rows


def rfm(
    lake: Lake, settings: Settings, customers: pd.Index, as_of: datetime, past: str
) -> pd.DataFrame:
    """Return every customer's scores and named group as of an instant; index as `customers`.

    Args:
        past: The table to make it of: receipts, or the purchases they are made of.
    """
    window = settings.rfm_window_days
    profile = lake.fetch(rfm_profile(lake.table(past), as_of, window)).to_pandas()
    known = profile.set_index("customer_id").reindex(customers)
    return rfm_groups(known, _cuts(settings.rfm_cuts))


def _cuts(cuts: RfmCuts | None) -> Cuts | None:
    if cuts is None:
        return None
    spend = [bound * MINOR_PER_MAJOR for bound in cuts.spend]
    return Cuts(cuts.recency_days, cuts.orders, spend)
