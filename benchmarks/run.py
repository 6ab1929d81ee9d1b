"""Run one benchmark: its figures, and whether they hold their bars."""

import argparse
import importlib
import json
import os
import pkgutil
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import benchmarks
from foundation.errors import RegularsError

# Of LightGBM, the narrowest of those that are seeded.
LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure and the bar it is held to, as written in the benchmark's own file.

    `value` is None where it could not be measured; such a bar does not hold.
    """

    name: str
    value: float | None
    bar: str
    holds: bool


def names() -> list[str]:
    """Return the benchmarks there are."""
    found = (m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.ispkg)
    return sorted(name.replace("_", "-") for name in found if name != "run")


def run(name: str, options: Sequence[str]) -> int:
    """Measure, print, and return the exit code: 1 when a bar does not hold.

    A benchmark is a module with `add_options(parser)`, `measure(options) -> figures` and
    `bars(figures)`.

    Raises:
        RegularsError: There is no benchmark of this name.
    """
    if name not in names():
        raise RegularsError(
            f"benchmark {name!r} does not exist; choose one of {', '.join(names())}"
        )
    module: Any = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(f"regulars benchmark {name}", description=module.__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    module.add_options(parser)
    chosen = parser.parse_args(list(options))
    _check_seed(getattr(chosen, "seed", 0))
    figures: dict[str, Any] = module.measure(chosen)
    bars: list[Bar] = module.bars(figures)
    if chosen.json:
        answer = {
            "benchmark": name,
            "machine": machine(),
            "figures": figures,
            "bars": [asdict(bar) for bar in bars],
        }
        print(json.dumps(answer))
    else:
        for line in _lines("", figures):
            print(line)
        for bar in bars:
            value = "not measured" if bar.value is None else f"{bar.value:.4g}"
            print(f"{'holds' if bar.holds else 'FAILS'}: {bar.name} {value}, bar {bar.bar}")
    return 0 if all(bar.holds for bar in bars) else 1


def _check_seed(seed: int) -> None:
    if not 0 <= seed <= LARGEST_SEED:
        raise RegularsError(f"--seed {seed}: give a whole number from 0 to {LARGEST_SEED}")


def _lines(name: str, value: Any) -> Iterator[str]:
    """Yield a line for each figure, those within others under both names."""
    if isinstance(value, Mapping):
        for inner, one in cast("Mapping[str, Any]", value).items():
            yield from _lines(f"{name}.{inner}" if name else inner, one)
    else:
        yield f"{name}: {value}"


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
