"""Among: is a value one of a list's? Expressions for any engine, also for lists of 100,000."""

from collections.abc import Sequence
from typing import Any

import ibis
import pyarrow as arrow

# Longer lists are a table to look up in: written out they take seconds to compile and parse.
LONGEST_WRITTEN = 200


def among(column: Any, values: Sequence[str]) -> Any:
    """Return whether a column of texts is among the values, null where it is null.

    Args:
        values: At least one.
    """
    if len(values) <= LONGEST_WRITTEN:
        return column.isin(values)
    listed = ibis.memtable(arrow.table({"value": arrow.array(values, arrow.string())}))
    return column.isin(listed["value"])
