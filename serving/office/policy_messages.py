"""Policies as the office reads and writes them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from foundation.outcome import Id

PolicyKind = Literal[
    "response", "popular", "uplift", "rule", "thompson", "random", "mixture", "none"
]
# A name that no word of a policy is; `default` serves where no experiment says otherwise.
PolicyName = Annotated[str, Meta(max_length=100, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$(?!\n)")]
Share = Annotated[float, Meta(ge=0, le=1)]
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]


class AskedPosterior(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is believed of an offer's mean reward: a beta's counts, a normal's mean and spread."""

    family: Literal["beta", "normal"]
    first: Number
    second: Number


class PolicyPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the ways that a mixture draws from."""

    kind: PolicyKind
    exploration: Share = 0.0
    order: Annotated[list[Id], Meta(max_length=20_000)] = []
    posteriors: Annotated[dict[Id, AskedPosterior], Meta(max_length=20_000)] = {}


class PolicyTerms(PolicyPart, frozen=True, forbid_unknown_fields=True):
    """How a slate is drawn; `exploration` is the share that is drawn at random."""

    parts: Annotated[list[PolicyPart], Meta(max_length=20)] = []
    weights: Annotated[list[Share], Meta(max_length=20)] = []


class NewPolicy(PolicyTerms, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy that there is not yet; variants of experiments may name it."""

    name: PolicyName


class ShownPolicy(msgspec.Struct, frozen=True):
    """A policy. `stored` is false of a default that comes from the settings.

    `notes` name the experiments that run and have variants which decide by it.
    """

    name: str
    version: str
    policy: PolicyTerms
    stored: bool
    notes: list[str] = []


class PolicyList(msgspec.Struct, frozen=True):
    """Some policies by their names, `default` among them; `next` begins the following page."""

    policies: list[ShownPolicy]
    next: str | None


class RemovedPolicy(msgspec.Struct, frozen=True):
    """A policy that is no more; `default` is then that of the settings."""

    name: str
