"""Living segments as the office reads and writes them. Money is decimal at this border."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from serving.office.offer_messages import Line, Rule

SegmentId = Annotated[str, Meta(max_length=100, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)")]
Note = Annotated[str, Meta(max_length=4000, pattern=r"^[^\x00]*$")]


class SegmentTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A living segment: who is in, by a rule. `author` is the key's name where it is left out."""

    name: Line
    rule: Rule
    author: Line | None = None
    note: Note | None = None
    status: Literal["active", "archived"] = "active"


class NewSegment(SegmentTerms, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A living segment that there is not yet."""

    id: SegmentId


class ShownSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A living segment's newest version.

    `customers` is how many the newest run found in it, null before one refreshed it.
    """

    id: str
    version: int
    name: str
    rule: Rule
    author: str
    note: str | None
    status: str
    at: datetime
    customers: int | None


class WrittenSegment(ShownSegment, frozen=True, kw_only=True):
    """A living segment as it was just written; the next `regulars segment` refreshes it.

    `warnings` name what its rule counts and nothing here is called.
    """

    warnings: list[str]


class SegmentList(msgspec.Struct, frozen=True):
    """Some segments in the order of their ids; `next` is the `after` of the following page."""

    segments: list[ShownSegment]
    next: str | None


class PreviewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom would a rule hold?"""

    rule: Rule


class SegmentOverlap(msgspec.Struct, frozen=True):
    """How many customers are in another segment too, and which shares of both that is."""

    id: str
    customers: int
    both: int
    share_of_this: float | None
    share_of_other: float | None


class SegmentDistinction(msgspec.Struct, frozen=True):
    """In what members differ from the others, in standard deviations."""

    sentence: str
    difference: float


class PreviewAnswer(msgspec.Struct, frozen=True):
    """Whom a rule holds as of the newest run, counted over everybody.

    `sentence` reads the rule aloud. `value` is what members spent in 365 days, decimal money, and
    `value_share` its part of all customers'. `sample` are members drawn at random.
    """

    sentence: str
    as_of: datetime
    customers: int
    of: int
    value: float
    value_share: float | None
    overlaps: list[SegmentOverlap]
    sample: list[str]
    distinctions: list[SegmentDistinction]
    warnings: list[str]
