"""Preview: what a segment would be, before it is saved; as of the newest run.

The run leaves its people table and an event index in the lake. Whoever previews opens them once
and keeps them: a rule is then evaluated over columns in memory.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import ibis
import numpy as np
import pyarrow as arrow

from foundation.counted_events import SOURCES
from foundation.errors import NothingToDo
from foundation.lake import Lake, LakeWrite
from foundation.money import Currency
from foundation.people import vocabulary_of
from foundation.profile import SEGMENTATIONS
from foundation.rule_sentence import sentence
from foundation.rule_sets import attribute_column, feature_column, holds, segment_column
from foundation.rules import (
    AttributeIn,
    AttributeIs,
    FeatureIs,
    Rule,
    SegmentIn,
    counts,
    leaves,
    read_rule,
)
from regulars.jobs.event_index import read_event_index, write_event_index
from regulars.jobs.living_segments import PEOPLE
from segmentation.distinction import Distinction, Population
from segmentation.living import check_groups

AS_OF = "preview_as_of"
VALUE = "spend_365d"
SAMPLED = 10
SEED = 11


@dataclass(frozen=True)
class Overlap:
    """How many are in both, and which share of this segment and of the other one that is."""

    segment_id: str
    customers: int
    both: int
    share_of_this: float | None
    share_of_other: float | None


@dataclass(frozen=True)
class PreviewReport:
    """What a rule would hold, counted over everybody as of the run.

    `value` is what members spent in 365 days, in minor units, `value_share` its part of all
    customers' (None where that is not above 0). `sample` are members drawn at random.
    """

    sentence: str
    as_of: datetime
    customers: int
    of: int
    value: int
    value_share: float | None
    overlaps: tuple[Overlap, ...]
    sample: tuple[str, ...]
    distinctions: tuple[Distinction, ...]


def write_preview(lake: Lake, write: LakeWrite, people: arrow.Table, as_of: datetime) -> None:
    """Leave a run's people, and an index of its events, for previews."""
    write.derive(PEOPLE, people.to_reader())
    write_event_index(lake, write, people["customer_id"].to_pylist(), as_of)
    write.remember(AS_OF, as_of.isoformat())


class Preview:
    """The newest run, opened for trying rules out.

    Raises:
        NothingToDo: There was no run yet.
    """

    def __init__(self, lake: Lake, currency: Currency) -> None:
        self._lake = lake
        self._currency = currency
        version = -1
        # A run that ends meanwhile must not leave us its index under the people before it.
        while version != lake.version:
            version, told, stored = lake.version, lake.note(AS_OF), lake.derived(PEOPLE)
            if stored is None or told is None:
                raise NothingToDo("nothing is segmented yet; run 'regulars segment', then preview")
            people = lake.fetch(stored)
            self._indexes = {
                source: read_event_index(lake, source, people.num_rows) for source in SOURCES
            }
            self._open(people, datetime.fromisoformat(told))
        # Counting is compiled at its first use; here, so that no marketer waits for it.
        first = ({"event": "purchase"}, {"event": "sent"})
        self.show({"all": [{"count": count, "is": ">", "value": 0} for count in first]})

    def _open(self, people: arrow.Table, as_of: datetime) -> None:
        self.as_of = as_of
        self.vocabulary = vocabulary_of(people.column_names)
        place = arrow.array(np.arange(people.num_rows, dtype=np.int32))
        self._people = people.append_column("place", place)
        self._value = people[feature_column(VALUE)].to_numpy()
        self._everything = int(self._value.sum())
        self._members = {
            name: people[segment_column(name)].is_valid().to_numpy()
            for name in self.vocabulary.segments
            if name not in SEGMENTATIONS
        }
        self._population = Population(
            {name: people[feature_column(name)].to_numpy() for name in self.vocabulary.features},
            {name: _codes(people[segment_column(name)]) for name in SEGMENTATIONS},
        )

    def show(self, document: Any) -> PreviewReport:
        """Return what a rule would hold.

        Raises:
            InvalidRule: The path of the fault, and what is allowed there.
            InvalidSegment: It names a group of a segmentation that there is not.
        """
        rule = read_rule(document, self.vocabulary)
        check_groups(rule)
        members = self._mask(rule)
        places = np.flatnonzero(members)
        value, everything = int(self._value[places].sum()), self._everything
        drawn = np.random.default_rng(SEED).choice(places, min(SAMPLED, len(places)), replace=False)
        asked = {leaf.feature for leaf in leaves(rule) if isinstance(leaf, FeatureIs)}
        asked |= {leaf.segment for leaf in leaves(rule) if isinstance(leaf, SegmentIn)}
        return PreviewReport(
            sentence=sentence(rule, self._currency),
            as_of=self.as_of,
            customers=len(places),
            of=len(members),
            value=value,
            value_share=value / everything if everything > 0 else None,
            overlaps=tuple(
                _overlap(name, other, members, len(places)) for name, other in self._members.items()
            ),
            sample=tuple(sorted(self._people["customer_id"][place].as_py() for place in drawn)),
            distinctions=tuple(self._population.distinctions(members, asked)),
        )

    def _mask(self, rule: Rule) -> np.ndarray:
        people = self._people.select(["place", *_columns(rule)])
        for count in counts(rule):
            times = self._indexes[count.source].times(count)
            people = people.append_column(count.name, arrow.array(times))
        table: Any = ibis.memtable(people)
        found = self._lake.fetch(table.filter(holds(rule, table)).select("place"))
        mask = np.zeros(self._people.num_rows, dtype=np.bool_)
        mask[found["place"].to_numpy()] = True
        return mask


def _columns(rule: Rule) -> list[str]:
    named: list[str] = []
    for leaf in leaves(rule):
        match leaf:
            case FeatureIs():
                named.append(feature_column(leaf.feature))
            case SegmentIn():
                named.append(segment_column(leaf.segment))
            case AttributeIs():
                named.append(attribute_column(leaf.attribute, leaf.kind))
            case AttributeIn():
                named.append(attribute_column(leaf.attribute, "string"))
            case _:
                pass
    return list(dict.fromkeys(named))


def _codes(column: Any) -> tuple[np.ndarray, list[str]]:
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.fill_null(-1).to_numpy(), coded.dictionary.to_pylist()


def _overlap(name: str, other: np.ndarray, members: np.ndarray, size: int) -> Overlap:
    both, customers = int(np.count_nonzero(other & members)), int(np.count_nonzero(other))
    return Overlap(
        name,
        customers,
        both,
        both / size if size else None,
        both / customers if customers else None,
    )
