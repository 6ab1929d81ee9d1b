"""The design of an experiment, its plan: who is compared with whom, on what, until when?

A design that passes `check` can be assigned and analysed. Its content hash says whether two
designs are the same, so that a report can name the design it was made from and a locked one
cannot change unseen. Only `exposure` is outside of it: it may grow while the experiment runs.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from experiments.layers import Layer
from experiments.metric_titles import titled
from experiments.plan import GROUP_SEQUENTIAL, METHODS, Guardrail, Method, StopRule
from foundation.contracts.tables import CHANNELS
from foundation.decision import Policy
from foundation.errors import RegularsError

_KEY = re.compile(r"[a-z0-9-]+")


class InvalidDesign(RegularsError):
    """The experiment cannot run as designed; one line for each broken rule."""


Unit = Literal["customer", "household", "store"]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm: what its customers get instead of the service's default.

    `policy` and `offers` are None for the default; a policy is a word, or whole as a document, so
    that the locked plan holds its numbers. An empty list of offers is a choice of its own: these
    customers see no offer at all.
    """

    name: str
    weight: float
    policy: str | Policy | None = None
    offers: list[str] | None = None


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A comparison of variants on the customers of some channels (none listed: all).

    `unit` is what is assigned: a store is the customer's home store, so that she has one variant
    wherever she is asked for. `audience` is a rule of foundation/rules.py, judged on her profile;
    None is everybody. `exposure` is the share of the layer's range (or of all units) that is in.
    `minimum_effect` is the smallest difference worth acting on, in the metric's own unit (money
    as decimals); `outlier_cap` the quantile of all units' values together that larger values
    count as. `segments` are the segmentations whose effects were planned for. `follow_up_days` is
    the window in which each unit counts from its first decision on (two purchase cycles show the
    dip after a promotion); units whose window is not over are not judged. Without it, or at 0,
    each unit counts until the report ends. `post_stratify` is a segmentation, as known before the
    start, inside whose groups the variants are compared.
    """

    key: str
    salt: str
    # In the order listed: assignment cuts [0, 1) in this order (see assignment.py).
    variants: list[Variant]
    control: str
    unit: Unit = "customer"
    primary_metric: str = "margin"
    hypothesis: str = ""
    channels: list[str] = msgspec.field(default_factory=list[str])
    exposure: float = 1.0
    layer: Layer | None = None
    audience: dict[str, Any] | None = None
    secondary_metrics: list[str] = msgspec.field(default_factory=list[str])
    guardrails: list[Guardrail] = msgspec.field(default_factory=list[Guardrail])
    segments: list[str] = msgspec.field(default_factory=list[str])
    minimum_effect: float | None = None
    method: Method = "welch"
    outlier_cap: float | None = None
    stop: StopRule | None = None
    follow_up_days: int | None = None
    post_stratify: str | None = None

    @property
    def window_days(self) -> int | None:
        """The days that each unit counts; None where it counts until the report ends."""
        return self.follow_up_days or None

    @property
    def planned_metrics(self) -> list[str]:
        """The primary metric, then the others that were planned for."""
        guarded = [guardrail.metric for guardrail in self.guardrails]
        return [self.primary_metric, *self.secondary_metrics, *guarded]


# These came later. At their defaults they are left out of the hash, so that a design written
# before them has the hash it was stored with.
_LATER = (
    "layer",
    "audience",
    "secondary_metrics",
    "guardrails",
    "segments",
    "minimum_effect",
    "method",
    "outlier_cap",
    "stop",
    "follow_up_days",
    "post_stratify",
)
_DEFAULTS = Experiment(key="", salt="", variants=[], control="")
_OWNERS = {"variants": Variant, "layer": Layer, "guardrails": Guardrail, "stop": StopRule}
_CHOICES = {"unit": "customer, household or store", "method": ", ".join(METHODS)}


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
    fields["guardrails"] = _with_directions(fields.get("guardrails", []))
    if fields.get("salt") is None and key is not None:
        fields["salt"] = key
    try:
        experiment = msgspec.convert(fields, Experiment)
    except msgspec.ValidationError as error:
        raise InvalidDesign(f"experiment {key!r}: {_in_words(error)}") from error
    check(experiment)
    return experiment


def _with_directions(guardrails: Any) -> Any:
    """Return a document's guardrails with the direction of their metric where they name none."""
    if not isinstance(guardrails, list):
        return guardrails
    told: list[Any] = []
    for one in cast("list[Any]", guardrails):
        if isinstance(one, Mapping):
            named = dict(cast("Mapping[Any, Any]", one))
            named.setdefault("better", titled(str(named.get("metric", ""))).better)
            told.append(named)
        else:
            told.append(one)
    return told


def _in_words(error: msgspec.ValidationError) -> str:
    """Say msgspec's complaint with the field first: `variants[0].weight: expected ...`."""
    reason, _, path = str(error).replace("`", "").partition(" - at ")
    where = path.removeprefix("$").lstrip(".").replace("[...]", "")
    line = f"{where}: {reason[:1].lower()}{reason[1:]}" if where else reason
    if "unknown field" in reason or "missing required field" in reason:
        owner = _OWNERS.get(where.partition("[")[0].partition(".")[0], Experiment)
        line += f"; its fields are {', '.join(owner.__struct_fields__)}"
    if where in _CHOICES:
        line += f"; choose {_CHOICES[where]}"
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
    return [*broken, *_broken_reach(experiment), *_broken_plan(experiment)]


def _broken_reach(experiment: Experiment) -> list[str]:
    broken = [] if experiment.layer is None else experiment.layer.faults()
    # `not` also catches NaN.
    if not 0 < experiment.exposure <= 1:
        broken.append(
            f"exposure {experiment.exposure:g} is no share above 0 and at most 1; "
            "write 0.05 for 5 %"
        )
    if experiment.audience == {}:
        broken.append("audience is empty; write a rule, or leave it out for everybody")
    return broken


def _broken_plan(experiment: Experiment) -> list[str]:
    broken = [line for guardrail in experiment.guardrails for line in guardrail.faults()]
    metrics, segments = experiment.planned_metrics, experiment.segments
    for what, names in (("metric", metrics), ("segmentation", segments)):
        repeated = sorted({name for name in names if names.count(name) > 1})
        broken.extend(f"{what} {name!r} is planned twice; name it once" for name in repeated)
        if "" in names:
            broken.append(f"a {what} has an empty name; name it")
    if experiment.post_stratify is not None and experiment.unit != "customer":
        broken.append(
            f"post_stratify {experiment.post_stratify!r} is of customers, and {experiment.unit}s "
            "are assigned; leave it out"
        )
    effect, cap = experiment.minimum_effect, experiment.outlier_cap
    if effect is not None and not (effect > 0 and math.isfinite(effect)):
        broken.append(
            f"minimum_effect {effect:g} must be above 0; write the smallest difference worth "
            "acting on, without a sign"
        )
    if cap is not None and not 0.5 < cap < 1:
        broken.append(
            f"outlier_cap {cap:g} is no quantile above .5 and below 1; write 0.999 to cap the "
            "largest thousandth"
        )
    if experiment.follow_up_days is not None and experiment.follow_up_days < 0:
        broken.append(
            f"follow_up_days {experiment.follow_up_days} must be at least 0; write 56 for two "
            "purchase cycles of most customers, 0 to count until the report ends, or leave it out"
        )
    if experiment.stop is not None:
        broken.extend(experiment.stop.faults(experiment.method))
    if experiment.method in GROUP_SEQUENTIAL and (
        experiment.stop is None or experiment.stop.looks is None
    ):
        broken.append(
            f"method {experiment.method} judges at planned looks; write them under stop, like "
            "{days: 28, looks: 4}"
        )
    return broken


def content_hash(experiment: Experiment) -> str:
    """Return a hash equal for equal designs: 32 hex digits.

    Every field counts but `exposure`, and the order of variants as well, since it decides who
    gets which.

    Source: BLAKE2b (RFC 7693) of 16 bytes, over JSON with sorted keys and no spaces.
    """
    fields = msgspec.structs.asdict(experiment)
    del fields["exposure"]
    for name in _LATER:
        if fields[name] == getattr(_DEFAULTS, name):
            del fields[name]
    canonical = msgspec.json.encode(fields, order="sorted")
    return hashlib.blake2b(canonical, digest_size=16).hexdigest()
