"""Reasons at publish: what an offer is for, and reasons of the offers that suit a customer best."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.contracts import OFFERS, PRODUCTS
from foundation.offer import read_offer
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.offer_features import PLAIN
from regulars.jobs.reasons import BEST, goods_of, reasons_of

AT = datetime(2026, 11, 20, tzinfo=UTC)


def offer(offer_id: str, scope: list[str]) -> dict[str, Any]:
    return {
        "offer_id": offer_id, "title": offer_id, "kind": "gift", "reward": 1.0, "min_spend": 0,
        "scope": scope, "channels": [], "placements": [], "stores": [], "valid_from": AT,
        "valid_to": AT + timedelta(days=9), "cost": 0, "priority": 0, "combinable": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "goods"),
    [
        (["coffee-1", "coffee-2"], "coffee"),
        # Of one category, but of no one subcategory.
        (["coffee-1", "tea-1"], "drinks"),
        (["coffee-1", "bread-1"], "what is on offer"),
        (["nappy-1", "coffee-1"], ""),
        ([], ""),
        (["unknown"], ""),
    ],
)
def test_an_offer_is_named_by_what_it_is_for(tmp_path: Path, scope: list[str], goods: str) -> None:
    lake = DuckDbLake(tmp_path)
    kinds = {"coffee": "DRINKS", "tea": "DRINKS", "bread": "BAKERY", "nappy": "BABY CARE"}
    products = [
        {"product_id": f"{kind}-{n}", "category": category, "subcategory": kind.upper()}
        for kind, category in kinds.items()
        for n in (1, 2)
    ]
    with lake.write() as write:
        write.merge(PRODUCTS.name, PRODUCTS.from_rows(products))
        write.merge(OFFERS.name, OFFERS.from_rows([offer("o-1", scope)]))
    assert goods_of(lake, ["o-1"]) == [goods]


class Lines:
    """Scores and contributions grow with the lines she bought of an offer."""

    names = ("orders_30d", *PLAIN, *AFFINITY_NAMES, *CONTEXT_NAMES)
    place = names.index("affinity_lines_365d")

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return matrix[:, self.place] / 100

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        found = np.zeros(matrix.shape)
        found[:, self.place] = matrix[:, self.place]
        return found


def test_the_best_offers_of_each_customer_are_explained_and_no_others() -> None:
    draw = np.random.default_rng(4)
    customers, offers = 5_000, 9
    affinity = np.zeros((customers, offers, len(AFFINITY_NAMES)), dtype=np.float32)
    lines = AFFINITY_NAMES.index("affinity_lines_365d")
    affinity[:, :, lines] = draw.permuted(np.tile(np.arange(2, 2 + offers), (customers, 1)), axis=1)
    row = {
        **offer("o", ["x"]), "valid_from": AT.isoformat(), "valid_to": AT.isoformat(),
        "eligibility": None, "customer_cap": None, "exclusive_group": None, "campaign_kind": None,
    }  # fmt: skip
    model: Any = Lines()
    live = [read_offer({**row, "offer_id": f"o-{n}"}, 0.0) for n in range(offers)]
    goods = ["coffee"] * (offers - 1) + [""]
    told, codes = reasons_of(model, ["orders_30d"], np.zeros((customers, 1)), live, affinity, goods)
    bought = told.index("bought") + 1
    wanted = affinity[:, :, lines] > 1 + offers - BEST
    # The goods of the last offer may not be told.
    wanted[:, -1] = False
    assert ((codes[:, :, 0] == bought) == wanted).all()
    assert not codes[:, :, 1:].any()
