"""Next products: what goes with what is in the basket?

Each product knows up to 20 that go with it. A basket's answer adds up what its products say: an
expected popularity times how much more often than by chance. A product without complements of its
own speaks for its group.

What is nobody's business takes no part: such goods speak for nothing, and are not suggested because
of others.
"""

import heapq
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from recommender.protected import may_be_told

SIZE = 20
# How many of a group's products stand for it.
OF_A_GROUP = 3


@dataclass(frozen=True, slots=True)
class Complement:
    """A product that goes with another: `popularity` is the share of baskets that hold it,
    `strength` what it gains by the other, `lift` the times as often as by chance it is bought
    together; None where only factors say so. `offers` are the places, among a snapshot's offers,
    of those that name the product.
    """

    product_id: str
    popularity: float
    strength: float
    lift: float | None = None
    offers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a product or of a group; a group has no group."""

    group: str | None
    complements: tuple[Complement, ...] = ()


@dataclass(frozen=True)
class NextProducts:
    """What goes with each product, and with each group, for products without any of their own."""

    products: dict[str, Known] = field(default_factory=dict[str, Known])
    groups: dict[str, Known] = field(default_factory=dict[str, Known])

    def with_offers(self, scopes: Sequence[Collection[str]]) -> "NextProducts":
        """Return the same where complements know the offers that name them.

        Args:
            scopes: Products of each of the snapshot's offers, in their order; none means all.
        """
        places: dict[str, list[int]] = {}
        for place, scope in enumerate(scopes):
            for product_id in scope:
                places.setdefault(product_id, []).append(place)
        naming = {product_id: tuple(found) for product_id, found in places.items()}

        def known(one: Known) -> Known:
            return replace(
                one,
                complements=tuple(
                    replace(said, offers=naming.get(said.product_id, ()))
                    for said in one.complements
                ),
            )

        return NextProducts(
            {name: known(one) for name, one in self.products.items()},
            {name: known(one) for name, one in self.groups.items()},
        )


def groups_to_ask(products: Mapping[str, Known]) -> set[str]:
    """Return the groups that speak for those of these products that have nothing to say."""
    silent = (known for known in products.values() if not known.complements)
    return {known.group for known in silent if known.group is not None}


@dataclass(frozen=True, slots=True)
class Recommended:
    """A product to recommend, and the basket's group that speaks most for it.

    `score` orders the products of one answer; `lift` is that of the product with the one of the
    basket that speaks most for it, None where only factors do.
    """

    product_id: str
    score: float
    because: str
    lift: float | None

    @property
    def reason(self) -> str:
        name = self.because.lower()
        if self.lift is None:
            return f"bought in the same kind of baskets as {name}"
        return f"often bought with {name}: {self.lift:.1f} times as often as by chance"


Kind = Literal["complements", "factors", "both"]


@dataclass(frozen=True)
class Setting:
    """Which evidence speaks, and how loud against popularity."""

    kind: Kind
    weight: float


@dataclass(frozen=True)
class Sources:
    """What next products are made of.

    `by_product` and `by_group` are rows of Complements, `factors` those of product_factors.nearest;
    `popularity` is the share of baskets that hold a product, `groups` its group, both by
    product_id; `private` are products that no one may be told of, whatever their group is called.
    """

    by_product: pd.DataFrame
    by_group: pd.DataFrame
    factors: pd.DataFrame
    popularity: "pd.Series[float]"
    groups: "pd.Series[str]"
    private: frozenset[str] = frozenset()

    def told(self) -> "Sources":
        """Return the same without what is nobody's business."""
        groups = self.groups
        hidden = groups.index.isin(self.private) | ~groups.fillna("").map(may_be_told).astype(bool)
        kept, unsaid = groups[~hidden], set(groups.index[hidden])
        return Sources(
            _without(self.by_product, unsaid),
            _without(self.by_group, set(groups.dropna()) - set(kept.dropna())),
            _without(self.factors, unsaid),
            self.popularity[~self.popularity.index.isin(list(unsaid))],
            kept,
        )


Lookup = Callable[[str], Known | None]


def recommend(
    basket: Iterable[str], product: Lookup, group: Lookup, limit: int
) -> list[Recommended]:
    """Return the products that go best with a basket and are not in it.

    The score is log popularity plus the strengths of the basket's products over the square root
    of their number: independent evidence would simply add up, but what lies in one basket says
    much the same.

    Args:
        basket: Its products; repeated ones count once.
        product, group: What is known of a product and of a group.
        limit: At most so many.
    """
    inside = frozenset(basket)
    found: dict[str, list[tuple[str, Complement]]] = {}
    for name, said in _spoken(inside, product, group):
        found.setdefault(said.product_id, []).append((name, said))
    scale = math.sqrt(max(len(inside), 1))
    scores = {
        product_id: math.log(speakers[0][1].popularity)
        + sum(said.strength for _, said in speakers) / scale
        for product_id, speakers in found.items()
    }
    best = heapq.nsmallest(limit, scores, key=lambda product_id: (-scores[product_id], product_id))
    return [
        Recommended(product_id, scores[product_id], *_loudest(found[product_id]))
        for product_id in best
    ]


def basket_affinities(
    basket: Iterable[str], offers: int, product: Lookup, group: Lookup
) -> list[float]:
    """Return how well each offer's best product goes with a basket.

    Args:
        basket: Its products; repeated ones count once.
        offers: How many the snapshot has, whose complements these are.
        product, group: What is known of a product and of a group.

    Returns:
        By the offers' places the largest sum of strengths over the square root of the basket's
        products, at least 0. Products in the basket do not count; 0 where nothing is known, and
        for an offer that names no products: all go with every basket alike.
    """
    inside = frozenset(basket)
    sums: dict[str, float] = {}
    naming: dict[str, tuple[int, ...]] = {}
    for _, said in _spoken(inside, product, group):
        if said.offers:
            sums[said.product_id] = sums.get(said.product_id, 0.0) + said.strength
            naming[said.product_id] = said.offers
    best = [0.0] * offers
    for product_id, strength in sums.items():
        for place in naming[product_id]:
            best[place] = max(best[place], strength)
    scale = math.sqrt(max(len(inside), 1))
    return [strength / scale for strength in best]


def _spoken(
    inside: frozenset[str], product: Lookup, group: Lookup
) -> Iterator[tuple[str, Complement]]:
    """Yield who in the basket speaks for which product outside of it, and what it says."""
    for name in sorted(inside):
        known = product(name)
        # A snapshot may be older than the words that are kept back.
        if known is None or not may_be_told(known.group or name):
            continue
        said = known.complements
        if not said and known.group is not None:
            whole = group(known.group)
            said = () if whole is None else whole.complements
        for one in said:
            if one.product_id not in inside:
                yield known.group or name, one


def _without(rows: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    return rows[~rows["product"].isin(names) & ~rows["other"].isin(names)]


def _loudest(speakers: Sequence[tuple[str, Complement]]) -> tuple[str, float | None]:
    name, said = max(speakers, key=lambda speaker: speaker[1].strength)
    return name, said.lift


def next_products(sources: Sources, setting: Setting) -> NextProducts:
    """Keep the best complements of each product and of each group, of what may be told."""
    sources = sources.told()
    popularity = sources.popularity
    told = _strengths(sources, setting)
    own = _best(told.assign(popularity=told["other"].map(popularity)))
    members = pd.DataFrame(
        {
            "member": popularity.index,
            "popularity": popularity.to_numpy(),
            "standing_for": sources.groups.reindex(popularity.index).to_numpy(),
        }
    )
    ranked = members.sort_values(["popularity", "member"], ascending=[False, True])
    standing = ranked.groupby("standing_for").head(OF_A_GROUP)
    through = _lifted(sources.by_group, setting.weight)
    through = through.merge(standing, left_on="other", right_on="standing_for")
    whole = _best(through.assign(other=through["member"]))
    return NextProducts(
        {
            str(name): Known(None if pd.isna(group) else str(group), own.get(str(name), ()))
            for name, group in sources.groups.items()
            # Who has nothing of its own and no group that has says nothing.
            if str(name) in own or group in whole
        },
        {name: Known(None, said) for name, said in whole.items()},
    )


def _strengths(sources: Sources, setting: Setting) -> pd.DataFrame:
    found = _lifted(sources.by_product, setting.weight)
    near = sources.factors.assign(
        strength=setting.weight * sources.factors["strength"], lift=np.nan
    )
    if setting.kind == "complements":
        return found
    if setting.kind == "factors":
        return near
    # What was counted goes before what the factors expect of the same pair.
    return pd.concat([found, near]).drop_duplicates(["product", "other"])


def _lifted(rows: pd.DataFrame, weight: float) -> pd.DataFrame:
    return rows[["product", "other", "lift"]].assign(strength=weight * np.log(rows["lift"]))


def _best(rows: pd.DataFrame) -> dict[str, tuple[Complement, ...]]:
    score = np.log(rows["popularity"]) + rows["strength"]
    ordered = rows.assign(score=score).sort_values(
        ["product", "score", "other"], ascending=[True, False, True]
    )
    best = ordered.groupby("product").head(SIZE)
    found: dict[str, list[Complement]] = {}
    for product, other, popularity, strength, lift in zip(
        best["product"],
        best["other"],
        best["popularity"],
        best["strength"],
        best["lift"],
        strict=True,
    ):
        one = Complement(str(other), popularity, strength, None if np.isnan(lift) else lift)
        found.setdefault(str(product), []).append(one)
    return {product: tuple(said) for product, said in found.items()}
