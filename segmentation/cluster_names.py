"""Names for clusters: what sets each apart, in words and in figures."""

from collections.abc import Collection, Sequence

import pandas as pd

from segmentation.behaviour import TRAITS, Floats, Trait, typical

# In standard deviations between customers; Cohen (1988) calls .2 small and .5 medium. The two
# largest deviations make a name when slight, the third only when clear.
CLEAR = 0.5
SLIGHT = 0.2


def name_cluster(centre: Floats, taken: Collection[str]) -> tuple[str, list[int]]:
    """Name a cluster by its largest deviations from the average buyer.

    Another cluster may deviate most in the same traits: then it gets one word more until the names
    differ, and in the end a number.

    Args:
        centre: Mean of each trait in standard deviations, shape (n_traits,).
        taken: Names of other clusters.

    Returns:
        The name, and the positions in TRAITS of its words, strongest first.
    """
    strongest = sorted(range(len(TRAITS)), key=lambda i: -abs(centre[i]))
    words = _clear(centre, strongest)
    name = _words(centre, words)
    while name in taken and len(words) < len(TRAITS):
        words = strongest[: len(words) + 1]
        name = _words(centre, words)
    number = 2
    plain = name
    while name in taken:
        name = f"{plain} ({number})"
        number += 1
    return name, words


def describe_cluster(members: pd.DataFrame, buyers: pd.DataFrame, positions: Sequence[int]) -> str:
    """Tell a cluster's share of buyers and its figures of some traits beside the typical ones.

    Args:
        members, buyers: Profiles, as in behaviour.traits_of.
        positions: Which traits, positions in TRAITS.
    """
    facts = [_fact(TRAITS[i], members, buyers) for i in positions]
    share = len(members) / len(buyers)
    return f"{share:.0%} of buyers: {'; '.join(facts) or 'like the typical buyer'}."


def _clear(centre: Floats, strongest: Sequence[int]) -> list[int]:
    bars = [SLIGHT, SLIGHT, CLEAR]
    return [i for i, bar in zip(strongest, bars, strict=False) if abs(centre[i]) >= bar]


def _words(centre: Floats, positions: Sequence[int]) -> str:
    # In the order of TRAITS, so that like clusters read alike.
    words = [TRAITS[i].high if centre[i] > 0 else TRAITS[i].low for i in sorted(positions)]
    return ", ".join(words) or "typical"


def _fact(trait: Trait, members: pd.DataFrame, everyone: pd.DataFrame) -> str:
    here, usual = typical(members, trait), typical(everyone, trait)
    if trait.kind == "count":
        return f"{here:.0f} {trait.meaning} (typical {usual:.0f})"
    if trait.kind == "share":
        return f"{here:.0%} {trait.meaning} (typical {usual:.0%})"
    # The frame does not know the currency, so money is told as a ratio.
    return f"{here / usual:.1f} times {trait.meaning}" if usual > 0 else trait.high
