"""Next products: what is bought together, found every night; how it ranks, chosen by training."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

import ibis
import msgspec
import numpy as np
import pandas as pd

from foundation.contracts import COMPLEMENTS
from foundation.errors import NothingToDo, TooLittleData
from foundation.lake import Lake, LakeWrite
from recommender.complements import COLUMNS, MIN_BASKETS, Baskets, baskets_of, complements
from recommender.next_products import (
    SIZE,
    Kind,
    NextProducts,
    Setting,
    Sources,
    next_products,
    recommend,
)
from recommender.next_products_held_out import (
    FAVOURITES,
    MODEL,
    POPULAR,
    TOP,
    Guesses,
    Hidden,
    Ranker,
    favourites_ranker,
    guesses,
    hidden_products,
    popular_ranker,
)
from recommender.product_factors import nearest, product_factors
from recommender.protected import may_be_told
from regulars.progress import Progress

SEED = 17
# What is bought together changes with the seasons: a year holds each of them once.
WINDOW = timedelta(days=365)
HELD_OUT = timedelta(days=28)
# Baskets that settings are tried on.
TRIED = 2_000
WEIGHTS = (1.0, 2.0, 4.0, 8.0)
# As training chose on Complete Journey; a lake's own training replaces it.
UNTRAINED = Setting("complements", 4.0)
# The lake's note of the setting that training chose.
CHOSEN = "next_products"
NO_PAIRS = pd.DataFrame({name: pd.Series(dtype="object") for name in COLUMNS}).astype(
    dict.fromkeys(COLUMNS[2:], "float64")
)
NO_FACTORS = pd.DataFrame({"product": [], "other": [], "strength": []}).astype(
    {"product": "object", "other": "object", "strength": "float64"}
)


@dataclass(frozen=True)
class Found:
    """A night's complements: those of products and groups, and what is served of them.

    `refused` says why there are none.
    """

    sources: Sources | None
    served: NextProducts
    refused: str | None = None

    @property
    def pairs(self) -> int:
        """Pairs of products found, each counted once."""
        return 0 if self.sources is None else len(self.sources.by_product) // 2


@dataclass(frozen=True)
class Trained:
    """The setting chosen on earlier weeks and how it did on the latest, beside the baselines."""

    setting: Setting
    hit_rates: dict[str, float]
    guesses: Guesses
    chosen_from: datetime
    test_from: datetime
    pairs: int


def find_next_products(lake: Lake, as_of: datetime) -> Found:
    """Find what goes with what, of the year before an instant, ranked as training chose."""
    setting = chosen_setting(lake)
    try:
        sources = _sources(lake, _bought(lake, as_of), setting.kind != "complements")
    except TooLittleData as error:
        return Found(None, NextProducts(), f"no next products: {error}")
    return Found(sources, next_products(sources, setting))


def write_complements(write: LakeWrite, found: Found, run_id: str, as_of: datetime) -> None:
    """Replace the complements of the run before."""
    write.clear(COMPLEMENTS.name)
    if found.sources is None:
        return
    levels = {"product": found.sources.by_product, "group": found.sources.by_group}
    rows = pd.concat([part.assign(level=level) for level, part in levels.items()])
    rows = rows.assign(run_id=run_id, as_of=pd.Timestamp(as_of))
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    length = rows["product"].str.len().astype(str)
    rows["complement_id"] = (
        rows["level"] + "|" + length + "|" + rows["product"] + "|" + rows["other"]
    )
    rows["together"] = rows["together"].astype("int64")
    write.merge(COMPLEMENTS.name, COMPLEMENTS.to_arrow(rows.reset_index(drop=True)))


def chosen_setting(lake: Lake) -> Setting:
    """Return how complements rank: as training chose, or as is good elsewhere."""
    note = lake.note(CHOSEN)
    return UNTRAINED if note is None else msgspec.json.decode(note, type=Setting)


def train_next_products(lake: Lake, at: datetime, progress: Progress) -> Trained:
    """Choose on earlier weeks how complements rank, and judge the choice on the latest.

    Each fit knows only what was bought before the weeks it is tried on.

    Raises:
        NothingToDo: The lake holds no purchases.
        TooLittleData: Products, or baskets in the weeks held out, are too few.
    """
    with progress.step("next products") as step:
        lines = _bought(lake, at)
        if lines.empty:
            raise NothingToDo("the lake holds no purchases; load some with 'regulars load'")
        test_from = lines["at"].max() - HELD_OUT
        chosen_from = test_from - HELD_OUT
        step.show(f"settings on the weeks from {chosen_from:%Y-%m-%d}")
        early, middle, late = _parted(lines, chosen_from, test_from)
        sources = _sources(lake, early, factors=True)
        setting, tried = _chosen(sources, hidden_products(middle, SEED))
        step.show(f"{_told(setting)} on the weeks from {test_from:%Y-%m-%d}")
        before = pd.concat([early, middle])
        sources = _sources(lake, before, setting.kind != "complements")
        rankers = {
            MODEL: _ranker(next_products(sources, setting)),
            POPULAR: popular_ranker(sources.popularity),
            FAVOURITES: favourites_ranker(before, sources.popularity),
        }
        judged = guesses(hidden_products(late, SEED), rankers, SEED)
        with lake.write() as write:
            write.remember(CHOSEN, msgspec.json.encode(asdict(setting)).decode())
        step.show(f"{_told(setting)} from the next run on")
    return Trained(
        setting,
        tried,
        judged,
        chosen_from.to_pydatetime(),
        test_from.to_pydatetime(),
        len(sources.by_product) // 2,
    )


def _chosen(sources: Sources, hidden: Sequence[Hidden]) -> tuple[Setting, dict[str, float]]:
    """Return the best weight; factors speak only where they surely guess more baskets."""
    hidden = hidden[:TRIED]
    best: dict[Kind, Setting] = {}
    rates: dict[str, float] = {}
    for kind in get_args(Kind):
        settings = [Setting(kind, weight) for weight in WEIGHTS]
        rankers = {_told(one): _ranker(next_products(sources, one)) for one in settings}
        found = guesses(hidden, rankers, SEED).hit_rate
        rates |= {name: rate.value for name, rate in found.items()}
        best[kind] = max(settings, key=lambda one: rates[_told(one)])
    plain = best["complements"]
    rankers = {kind: _ranker(next_products(sources, one)) for kind, one in best.items()}
    for kind in ("factors", "both"):
        pair = {MODEL: rankers[kind], "complements": rankers["complements"]}
        if guesses(hidden, pair, SEED).gain["complements"].low > 0:
            plain = best[kind]
    return plain, rates


def _bought(lake: Lake, as_of: datetime) -> pd.DataFrame:
    """Return customer_id, order_id, product and at of a year's bought products, one row each."""
    lines: Any = lake.table("purchases")
    inside = (lines["at"] >= ibis.literal(as_of - WINDOW)) & (lines["at"] < ibis.literal(as_of))
    bought = lines.filter(inside & (lines.quantity > 0))
    once = bought.group_by("customer_id", "order_id", product=bought.product_id).aggregate(
        at=bought["at"].min()
    )
    return lake.fetch(once).to_pandas()


def _parted(
    lines: pd.DataFrame, chosen_from: Any, test_from: Any
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    at = lines["at"]
    middle = (at >= chosen_from) & (at < test_from)
    return lines[at < chosen_from], lines[middle], lines[at >= test_from]


def _sources(lake: Lake, lines: pd.DataFrame, factors: bool) -> Sources:
    groups, private = _groups(lake)
    baskets = baskets_of(lines)
    found = complements(baskets)
    share = np.asarray(baskets.held.sum(axis=0)) / len(baskets.customer)
    return Sources(
        by_product=found.rows,
        by_group=_group_pairs(baskets.grouped(groups.reindex(baskets.products).to_numpy())),
        factors=_factors(baskets) if factors else NO_FACTORS,
        popularity=pd.Series(share, index=baskets.products),
        groups=groups,
        private=private,
    )


def _group_pairs(baskets: Baskets) -> pd.DataFrame:
    try:
        return complements(baskets).rows
    except TooLittleData:
        # A shop of one category: products speak for themselves, or not at all.
        return NO_PAIRS


def _factors(baskets: Baskets) -> pd.DataFrame:
    often = np.asarray(baskets.held.sum(axis=0)) >= MIN_BASKETS
    return nearest(product_factors(baskets.of(often), SEED), SIZE)


def _groups(lake: Lake) -> tuple["pd.Series[str]", frozenset[str]]:
    """Return each product's group by product_id, and the products that no one may be told of.

    The group is the subcategory, or the category where there is none.
    """
    products: Any = lake.table("products")
    named = products.select("product_id", "category", "subcategory")
    frame = lake.fetch(named.order_by("product_id")).to_pandas().set_index("product_id")
    told = frame["category"].map(may_be_told).astype(bool)
    private = frozenset(frame.index[~told])
    return frame["subcategory"].fillna(frame["category"]), private


def _ranker(served: NextProducts) -> Ranker:
    def rank(_customer_id: str, basket: frozenset[str]) -> list[str]:
        found = recommend(basket, served.products.get, served.groups.get, TOP)
        return [one.product_id for one in found]

    return rank


def _told(setting: Setting) -> str:
    return f"{setting.kind} x {setting.weight:g}"
