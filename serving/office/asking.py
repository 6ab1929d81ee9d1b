"""What is asked of the office, and what it answers. Whoever answers may block."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from foundation.replay import Replay

Body = TypeVar("Body")
# Of a list's page.
MOST, USUAL = 200, 100


@dataclass(frozen=True)
class Page:
    """So many of a list, those behind an id; from its start where that is empty."""

    after: str = ""
    limit: int = USUAL

    def of(self, ids: Iterable[str]) -> tuple[list[str], str | None]:
        """Return the ids of this page in their order, and the last where more come after it."""
        behind = sorted(one for one in ids if one > self.after)
        found = behind[: self.limit]
        return found, found[-1] if len(behind) > len(found) else None


@dataclass(frozen=True)
class Asked(Generic[Body]):
    """A request whose key was found good.

    `who` goes into the audit log. `subject` is the id in the path, "" where there is none.
    `if_match` is the version that the caller has seen, where it says so.
    """

    who: str
    subject: str
    body: Body
    page: Page = Page()
    if_match: str | None = None
    replay: Replay | None = None


@dataclass(frozen=True)
class Told:
    """An answer: a message, and the version of what it shows, if that has one."""

    body: Any
    version: str | None = None
    status: int = 200


Answer: TypeAlias = Callable[[Asked[Any]], Told]
# By method and path, as in serving.office.operations.
Answers: TypeAlias = Mapping[tuple[str, str], Answer]
