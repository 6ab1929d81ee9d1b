"""Options that several commands share, and what they are checked for."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from foundation.errors import RegularsError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Port = Annotated[
    int,
    typer.Option(min=1, max=65534, help="Port of the API; the console takes the next one."),
]
OutFile = Annotated[
    Path | None, typer.Option("--out", help="Write FILE.csv or FILE.parquet instead.")
]
Seed = Annotated[int, typer.Option(min=0, help="Chance of the simulated shoppers.")]


def known(model: str, *names: str) -> None:
    """Refuse a model that does not exist."""
    if model not in names:
        raise RegularsError(f"model {model!r} does not exist; choose one of {', '.join(names)}")


def past(house: Any, as_of: datetime | None, now: datetime) -> datetime:
    """Return the instant that --as-of names in the chain's own zone; now where it names none."""
    if as_of is None:
        return now
    instant = as_of.replace(tzinfo=as_of.tzinfo or house.settings.zone).astimezone(UTC)
    if instant > now:
        raise RegularsError(
            f"--as-of {as_of:%Y-%m-%d %H:%M} lies in the future, where nothing is known yet; "
            "name a past time, or leave it out for now"
        )
    return instant


def shares(text: str) -> dict[str, float]:
    """Read planned shares, like A=.5,B=.5."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.strip().rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not (equals and name and math.isfinite(share)):
            raise RegularsError(
                f"weight {part.strip()!r} is no variant with its share; write A=.5,B=.5"
            )
        if name in found:
            raise RegularsError(f"weights name variant {name!r} twice; name it once")
        found[name] = share
    return found
