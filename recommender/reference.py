"""What a model knew: how its inputs and scores were distributed, kept small, to tell drift by.

Each customer counts once, however often she was shown an offer: her exposures are no independent
evidence, and what chance alone moves is told by the number of customers. Of inputs that are an
offer's own each offer counts once: to however many it was shown, it is one draw of a campaign.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import numpy as np

BINS = 10
MISSING = "missing"
OTHER = "other"


@dataclass(frozen=True)
class Distribution:
    """Customers (offers, of an offer's own) by bin of one quantity; `missing` is a bin of its own.

    Between `edges` (ascending) where there are many values; where there are at most BINS of them
    `edges` is None and each value is a bin.
    """

    edges: tuple[float, ...] | None
    customers: dict[str, float]

    def like(self, values: np.ndarray, weight: np.ndarray) -> dict[str, float]:
        """Return the customers of other values, shape (n,), in the same bins.

        A value unknown to bins of single values counts as "other".
        """
        found = _binned(self.edges, values, weight)
        if self.edges is not None:
            return found
        known = {name: size for name, size in found.items() if name in self.customers}
        strange = sum(found.values()) - sum(known.values())
        return known | ({OTHER: strange} if len(known) < len(found) else {})


@dataclass(frozen=True)
class Reference:
    """What a model was trained on, by input, and what it told of rows held out.

    `shown_until` is the newest exposure known then, `known_until` when the last window of them
    closed: outcomes of later windows are news.
    """

    inputs: Mapping[str, Distribution]
    scores: Distribution
    shown_until: datetime
    known_until: datetime

    def to_text(self) -> str:
        """Write it down as JSON."""
        return json.dumps(asdict(self), default=datetime.isoformat)


def reference_of(text: str) -> Reference:
    """Read what Reference.to_text wrote."""
    told = json.loads(text)
    return Reference(
        {name: _distribution(found) for name, found in told["inputs"].items()},
        _distribution(told["scores"]),
        datetime.fromisoformat(told["shown_until"]),
        datetime.fromisoformat(told["known_until"]),
    )


def once_each(units: np.ndarray) -> np.ndarray:
    """Return weights, shape (n,), by which each customer's or offer's rows count for one in all."""
    _, codes, rows = np.unique(units, return_inverse=True, return_counts=True)
    return 1.0 / rows[codes]


def distribution(values: np.ndarray, weight: np.ndarray) -> Distribution:
    """Return how values, shape (n,), are distributed; weights count customers."""
    told = values[~np.isnan(values)]
    if len(np.unique(told)) <= BINS:
        return Distribution(None, _binned(None, values, weight))
    inner = np.unique(np.quantile(told, np.arange(1, BINS) / BINS))
    edges = tuple(float(edge) for edge in inner)
    return Distribution(edges, _binned(edges, values, weight))


def _binned(
    edges: tuple[float, ...] | None, values: np.ndarray, weight: np.ndarray
) -> dict[str, float]:
    missing = np.isnan(values)
    if edges is None:
        named, codes = np.unique(values[~missing], return_inverse=True)
        names = [repr(float(value)) for value in named]
    else:
        codes = np.searchsorted(edges, values[~missing], side="right")
        names = [f"{place}" for place in range(len(edges) + 1)]
    sizes = np.bincount(codes, weight[~missing], minlength=len(names))
    found = {name: float(size) for name, size in zip(names, sizes, strict=True)}
    return found | ({MISSING: float(weight[missing].sum())} if missing.any() else {})


def _distribution(told: Mapping[str, object]) -> Distribution:
    edges = told["edges"]
    return Distribution(
        None if edges is None else tuple(edges),  # pyright: ignore[reportArgumentType]
        dict(told["customers"]),  # pyright: ignore[reportArgumentType, reportCallIssue]
    )
