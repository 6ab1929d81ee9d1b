"""The design of an experiment: who is compared with whom, on what, at which shares?

A design that passes `check` can be assigned and analysed. Its content hash says whether two
designs are the same, so that a report can name the design it was made from.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from foundation.contracts.tables import CHANNELS
from foundation.errors import RegularsError

_KEY = re.compile(r"[a-z0-9-]+")


class InvalidDesign(RegularsError):
    """The experiment cannot run as designed; one line for each broken rule."""


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm: what its customers get instead of the service's default.

    `policy` and `offers` are None for the default. An empty list of offers is a choice of its
    own: these customers see no offer at all.
    """

    name: str
    weight: float
    policy: str | None = None
    offers: list[str] | None = None


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comparison of variants on the customers of some channels (none listed: all)."""

    key: str
    salt: str
    # In the order listed: assignment cuts [0, 1) in this order (see assignment.py).
    variants: list[Variant]
    control: str
    unit: Literal["customer", "household"] = "customer"
    primary_metric: str = "margin"
    hypothesis: str = ""
    channels: list[str] = msgspec.field(default_factory=list[str])


def read_design(document: Any) -> Experiment:
    """Return the checked experiment in a decoded YAML or JSON document; salt defaults to key.

    Raises:
        InvalidDesign: A field is missing, unknown or of the wrong type, or `check` refuses.
    """
    if not isinstance(document, Mapping):
        raise InvalidDesign(
            f"an experiment is a mapping of fields, got {type(document).__name__}; "
            "write at least key, variants and control"
        )
    fields = dict(cast("Mapping[Any, Any]", document))
    key = fields.get("key")
    if fields.get("salt") is None and key is not None:
        fields["salt"] = key
    try:
        experiment = msgspec.convert(fields, Experiment)
    except msgspec.ValidationError as error:
        raise InvalidDesign(f"experiment {key!r}: {_in_words(error)}") from error
    check(experiment)
    return experiment


def _in_words(error: msgspec.ValidationError) -> str:
    """Say msgspec's complaint with the field first: `variants[0].weight: expected ...`."""
    reason, _, path = str(error).replace("`", "").partition(" - at ")
    where = path.removeprefix("$").lstrip(".").replace("[...]", "")
    line = f"{where}: {reason[:1].lower()}{reason[1:]}" if where else reason
    if "unknown field" in reason or "missing required field" in reason:
        owner = Variant if where.startswith("variants") else Experiment
        line += f"; its fields are {', '.join(owner.__struct_fields__)}"
    if where == "unit":
        line += "; choose customer or household"
    return line


def check(experiment: Experiment) -> None:
    """Pass an experiment that can run.

    Raises:
        InvalidDesign: One line for each broken rule.
    """
    broken = _broken_rules(experiment)
    if broken:
        raise InvalidDesign("\n".join(f"experiment {experiment.key!r}: {line}" for line in broken))


def _broken_rules(experiment: Experiment) -> list[str]:
    broken: list[str] = []
    names = [variant.name for variant in experiment.variants]
    if not _KEY.fullmatch(experiment.key):
        broken.append(
            f"key {experiment.key!r} must be lower-case letters, digits and hyphens; "
            "write it as winter-latte"
        )
    # An empty key leaves an empty salt; one fault, one line.
    if not experiment.salt and experiment.key:
        broken.append("salt is empty; leave it out to use the key")
    if len(names) < 2:
        broken.append(f"it has {len(names)} variant(s), a comparison needs at least 2; add one")
    if "" in names:
        broken.append("a variant has an empty name; name it")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        broken.append(f"variant names must differ, {repeated[0]!r} is used twice; rename one")
    if experiment.control not in names:
        broken.append(
            f"control {experiment.control!r} is not a variant; choose one of {', '.join(names)}"
        )
    # `not > 0` also catches NaN.
    unusable = [v for v in experiment.variants if not v.weight > 0 or math.isinf(v.weight)]
    broken.extend(
        f"weight {variant.weight} of variant {variant.name!r} must be above 0; "
        "raise it or remove the variant"
        for variant in unusable
    )
    total = math.fsum(variant.weight for variant in experiment.variants)
    if not unusable and names and abs(total - 1) > 1e-9:
        broken.append(
            f"weights sum to {total:.12g}, they must sum to 1; share out the rest explicitly"
        )
    broken.extend(
        f"channel {channel!r} is unknown; choose from {', '.join(CHANNELS)}"
        for channel in experiment.channels
        if channel not in CHANNELS
    )
    return broken


def content_hash(experiment: Experiment) -> str:
    """Return a hash equal for equal designs: 32 hex digits.

    Every field counts, defaults too, and the order of variants as well, since it decides who
    gets which.

    Source: BLAKE2b (RFC 7693) of 16 bytes, over JSON with sorted keys and no spaces.
    """
    canonical = msgspec.json.encode(experiment, order="sorted")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()
