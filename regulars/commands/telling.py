"""How a command speaks: lines and tables for people, with --json one object for machines."""

from typing import Any

from rich.console import Console
from rich.table import Table

out = Console()
beside = Console(stderr=True)


def say(line: str, told: Console = out) -> None:
    """Print a line as it is, however long."""
    told.print(line, highlight=False, markup=False, soft_wrap=True)


def print_json(answer: Any) -> None:
    """Print one JSON object. What is no JSON (NaN) becomes null, a NumPy number a number."""
    import msgspec

    plain = msgspec.json.encode(
        answer, enc_hook=lambda v: v.item() if hasattr(v, "item") else str(v)
    )
    print(plain.decode())


def money(bounds: Any, currency: Any) -> str:
    """Return a figure in money with its interval."""
    value, low, high = (currency.show(x) for x in (bounds.value, bounds.low, bounds.high))
    return f"{value} [{low}, {high}]"


def show_sizes(title: str, sizes: dict[str, int]) -> None:
    """Print how many customers each group has."""
    table = Table("group", "customers", "share", title=title, title_justify="left")
    total = sum(sizes.values())
    for name, size in sizes.items():
        table.add_row(name, f"{size:,}", f"{size / total:.1%}")
    out.print(table)


def say_error(told: str) -> None:
    """Print what was wrong as one red line on standard error."""
    line = "; ".join(told.split("\n"))
    beside.print(f"regulars: {line}", style="red", highlight=False, markup=False, soft_wrap=True)
