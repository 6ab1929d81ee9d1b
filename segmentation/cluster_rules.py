"""Rules for clusters: which few conditions tell who is in it, and how well do they?

A cluster is a region of six dimensions; a person wants a sentence. Conditions are added one at a
time, keeping the few conjunctions that tell the members best, up to three. The fidelity is
measured on customers the rule was not found on.

Source: beam search for conjunctions, CN2 (Clark and Niblett 1989).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from foundation.money import MINOR_PER_MAJOR
from foundation.scores import percentiles
from segmentation.behaviour import TRAITS, Floats, Trait, feature_values
from segmentation.cluster_model import SAMPLE, ClusterRule, Fidelity

Members = npt.NDArray[np.bool_]

MOST_CONDITIONS = 3
BEAM = 8
# Bounds tried of each feature: its 5 % steps.
STEPS = np.linspace(0.05, 0.95, 19)
# A rule of fewer members, or judged by fewer, is chance.
MEMBERS_TO_LEARN_FROM, MEMBERS_TO_JUDGE_BY = 20, 10
REDRAWS = 1000


@dataclass(frozen=True)
class Condition:
    """A trait's feature is at least, or below, a bound."""

    trait: Trait
    at_least: bool
    bound: float

    @property
    def document(self) -> dict[str, Any]:
        return {
            "feature": self.trait.feature,
            "is": ">=" if self.at_least else "<",
            "value": self.bound,
        }

    @property
    def sentence(self) -> str:
        word = "at least" if self.at_least else "under"
        if self.trait.kind == "count":
            return f"{word} {self.bound:g} {self.trait.meaning}"
        if self.trait.kind == "share":
            return f"{word} {100 * self.bound:g}% {self.trait.meaning}"
        return f"a mean basket of {word} {self.bound / MINOR_PER_MAJOR:.2f}"

    def holds(self, profile: pd.DataFrame) -> Members:
        # Of an unknown value every comparison is false, as in the rule language.
        values = feature_values(profile, self.trait)
        return values >= self.bound if self.at_least else values < self.bound


def find_rule(profile: pd.DataFrame, member: Members, seed: int) -> ClusterRule | None:
    """Find a rule of at most three conditions for a cluster, and its fidelity.

    Args:
        profile: Every customer, with or without purchases: a rule is asked about all of them.
        member: Whether she is in the cluster, shape (n_customers,).
        seed: Draws who is held out: a third, or all beyond the first SAMPLE.

    Returns:
        None where there are too few members to find and to judge a rule.
    """
    order = np.random.default_rng(seed).permutation(len(profile))
    learned = min(2 * len(profile) // 3, SAMPLE)
    seen, held_out = order[:learned], order[learned:]
    if member[seen].sum() < MEMBERS_TO_LEARN_FROM or member[held_out].sum() < MEMBERS_TO_JUDGE_BY:
        return None
    conditions = _best_conjunction(profile.iloc[seen], member[seen])
    judged = profile.iloc[held_out]
    picked = np.logical_and.reduce([condition.holds(judged) for condition in conditions])
    if not picked.any():
        return None
    return ClusterRule(
        document={"all": [condition.document for condition in conditions]},
        sentence=", ".join(condition.sentence for condition in conditions),
        fidelity=_fidelity(picked, member[held_out], seed),
    )


def _best_conjunction(profile: pd.DataFrame, member: Members) -> list[Condition]:
    conditions = _conditions(profile)
    holds = np.column_stack([c.holds(profile) for c in conditions]).astype(np.float64)
    everybody: Floats = np.ones(len(member))
    best = (-1.0, list[int]())
    beam: Mapping[tuple[int, ...], Floats] = {(): everybody}
    for _ in range(MOST_CONDITIONS):
        scored: dict[tuple[int, ...], float] = {}
        for chosen, picked in beam.items():
            f1 = 2 * ((picked * member) @ holds) / (picked @ holds + member.sum())
            for position in np.argsort(-f1, kind="stable")[:BEAM]:
                scored[tuple(sorted({*chosen, int(position)}))] = float(f1[position])
        ranked = sorted(scored.items(), key=lambda pair: -pair[1])[:BEAM]
        beam = {chosen: holds[:, chosen].prod(axis=1) for chosen, _ in ranked}
        chosen, f1 = ranked[0]
        if f1 > best[0]:
            best = (f1, list(chosen))
    return [conditions[position] for position in best[1]]


def _conditions(profile: pd.DataFrame) -> list[Condition]:
    found: list[Condition] = []
    for trait in TRAITS:
        values = feature_values(profile, trait)
        known = values[~np.isnan(values)]
        # Two digits are what a person keeps in mind.
        bounds = (
            {float(f"{bound:.2g}") for bound in np.quantile(known, STEPS)} if len(known) else ()
        )
        for bound in sorted(bounds):
            found += [Condition(trait, True, bound), Condition(trait, False, bound)]
    return found


def _fidelity(picked: Members, member: Members, seed: int) -> Fidelity:
    counts = [
        int((picked & member).sum()),
        int((picked & ~member).sum()),
        int((~picked & member).sum()),
        int((~picked & ~member).sum()),
    ]
    n = len(member)
    # Redrawing customers with replacement is drawing these four counts.
    drawn = np.random.default_rng(seed).multinomial(n, np.array(counts) / n, REDRAWS)
    precision, recall, f1 = (
        percentiles(value, redrawn)
        for value, redrawn in zip(_scores(*counts), _scores(*drawn.T), strict=True)
    )
    share = float(member.mean())
    return Fidelity(precision, recall, f1, everybody=2 * share / (1 + share), customers=n)


def _scores(both: Any, picked_only: Any, member_only: Any, _neither: Any) -> tuple[Any, Any, Any]:
    # A redraw may miss all picked or all members: it has no such share and is left out.
    with np.errstate(invalid="ignore"):
        return (
            np.divide(both, both + picked_only),
            np.divide(both, both + member_only),
            np.divide(2 * both, 2 * both + picked_only + member_only),
        )
