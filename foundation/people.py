"""People: a row a customer, with a column for everything a rule may ask of her."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as arrow

from foundation.attributes import attribute_kinds, kind_of
from foundation.rule_profile import Attribute
from foundation.rule_sets import attribute_column, feature_column, segment_column
from foundation.rules import AttributeKind, Vocabulary

_TYPES: dict[AttributeKind, arrow.DataType] = {
    "string": arrow.string(),
    "number": arrow.float64(),
    "boolean": arrow.bool_(),
    "instant": arrow.timestamp("us", tz="UTC"),
}


def people_table(
    features: pd.DataFrame,
    groups: pd.DataFrame,
    attributes: Sequence[Mapping[str, Attribute]],
) -> arrow.Table:
    """Return what rules are asked of, as rule_sets.py names it.

    Args:
        features: One row a customer, index customer_id, a column a feature.
        groups: Same index, a column a segmentation.
        attributes: Each customer's, in the same order.
    """
    columns = {"customer_id": arrow.array(features.index, arrow.string())}
    for name in features:
        values = features[name].to_numpy(np.float64, na_value=np.nan)
        # NaN is a number to an engine, and the largest of them: missing is null.
        columns[feature_column(str(name))] = arrow.array(values, mask=np.isnan(values))
    for name in groups:
        columns[segment_column(str(name))] = arrow.array(groups[name], arrow.string())
    for name, kinds in attribute_kinds(attributes).items():
        found = [one.get(name) for one in attributes]
        for kind in sorted(kinds):
            of_kind = [v if v is not None and kind_of(v) == kind else None for v in found]
            columns[attribute_column(name, kind)] = arrow.array(of_kind, _TYPES[kind])
    return arrow.table(columns)


def vocabulary_of(columns: Sequence[str]) -> Vocabulary:
    """Return what may be asked of a people table; events are at hand to be counted."""
    features: list[str] = []
    segments: list[str] = []
    attributes: dict[str, list[AttributeKind]] = {}
    for column in columns:
        family, _, name = column.partition(".")
        if family == "feature":
            features.append(name)
        elif family == "segment":
            segments.append(name)
        elif family == "attribute":
            kind, _, name = name.partition(".")
            attributes.setdefault(name, []).extend(known for known in _TYPES if known == kind)
    return Vocabulary(features, segments, attributes)
