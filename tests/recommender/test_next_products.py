"""What a basket is answered, by hand; how rankings are judged; factors where pairs never met."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from foundation.errors import TooLittleData
from recommender.complements import baskets_of
from recommender.next_products import (
    Complement,
    Known,
    NextProducts,
    Setting,
    Sources,
    basket_affinities,
    next_products,
    recommend,
)
from recommender.next_products_held_out import (
    FAVOURITES,
    MODEL,
    POPULAR,
    Hidden,
    favourites_ranker,
    guesses,
    hidden_products,
    popular_ranker,
)
from recommender.product_factors import nearest, product_factors

SERVED = NextProducts(
    products={
        "coffee": Known(
            "COFFEE",
            (Complement("milk", 0.1, math.log(2), 2.0), Complement("sugar", 0.02, 1.5, None)),
        ),
        "bun": Known("BAKERY", (Complement("milk", 0.1, math.log(3), 3.0),)),
        "rare bun": Known("BAKERY", ()),
    },
    groups={"BAKERY": Known(None, (Complement("butter", 0.05, 1.0, 2.7),))},
)


def asked(basket: list[str], limit: int = 5) -> list[Any]:
    return recommend(basket, SERVED.products.get, SERVED.groups.get, limit)


def affinities(served: NextProducts, basket: list[str], *scopes: list[str]) -> list[float]:
    naming = served.with_offers(scopes)
    return basket_affinities(basket, len(scopes), naming.products.get, naming.groups.get)


def test_a_basket_adds_up_what_its_products_say() -> None:
    milk, sugar = asked(["coffee", "bun", "coffee"])
    assert (milk.product_id, milk.because, milk.lift) == ("milk", "BAKERY", 3.0)
    assert milk.score == pytest.approx(math.log(0.1) + math.log(6) / math.sqrt(2))
    assert milk.reason == "often bought with bakery: 3.0 times as often as by chance"
    assert sugar.score == pytest.approx(math.log(0.02) + 1.5 / math.sqrt(2))
    assert sugar.reason == "bought in the same kind of baskets as coffee"
    assert [one.product_id for one in asked(["coffee", "bun"], 1)] == ["milk"]


def test_what_is_in_the_basket_is_not_recommended() -> None:
    assert [one.product_id for one in asked(["coffee", "milk"])] == ["sugar"]


def test_a_product_without_complements_speaks_for_its_group() -> None:
    assert [one.product_id for one in asked(["rare bun"])] == ["butter"]
    assert asked(["unknown"]) == []


PRIVATE = NextProducts(
    products={
        "pill": Known("FAMILY PLANNING", (Complement("wine", 0.1, 2.0, 7.4),)),
        "pill of no kind": Known("FAMILY PLANNING"),
        "bun": Known("BAKERY", (Complement("milk", 0.1, 1.0, 2.7),)),
    },
    groups={"FAMILY PLANNING": Known(None, (Complement("milk", 0.1, 9.0, 9.0),))},
)


def test_what_is_nobodys_business_speaks_for_nothing() -> None:
    lookup = PRIVATE.products.get, PRIVATE.groups.get
    assert recommend(["pill", "pill of no kind"], *lookup, 5) == []
    (milk,) = recommend(["pill", "pill of no kind", "bun"], *lookup, 5)
    # Nor is it told by how high a score is.
    assert milk.because == "BAKERY"
    assert milk.score == pytest.approx(math.log(0.1) + 1 / math.sqrt(3))
    assert affinities(PRIVATE, ["pill"], ["wine"]) == [0]


def test_what_is_nobodys_business_is_not_suggested_because_of_others() -> None:
    names = ["bread", "butter", "pill", "plaster"]
    pairs = [(one, other) for one in names for other in names if one != other]
    rows = pd.DataFrame(pairs, columns=["product", "other"]).assign(lift=3.0)
    groups = {"bread": "BAKERY", "butter": "DAIRY", "pill": "FAMILY PLANNING", "plaster": "STRIPS"}
    by_group = rows.replace(groups)
    sources = Sources(
        rows,
        by_group,
        rows[["product", "other"]].assign(strength=1.0),
        pd.Series(0.1, index=names),
        pd.Series(groups),
        # Its category says what its group does not.
        private=frozenset({"plaster"}),
    )
    for kind in ("complements", "factors", "both"):
        found = next_products(sources, Setting(kind, 1.0))
        assert set(found.products) == {"bread", "butter"}
        assert set(found.groups) == {"BAKERY", "DAIRY"}
        said = [*found.products.values(), *found.groups.values()]
        assert {one.product_id for known in said for one in known.complements} == {
            "bread",
            "butter",
        }


def test_an_offers_affinity_is_that_of_its_best_product_outside_the_basket() -> None:
    both, sugar, butter = affinities(
        SERVED, ["coffee", "bun", "coffee"], ["milk", "sugar"], ["sugar"], ["butter"]
    )
    # By hand: milk has log 2 + log 3, sugar 1.5, over the root of two products.
    assert both == pytest.approx(math.log(6) / math.sqrt(2))
    assert sugar == pytest.approx(1.5 / math.sqrt(2))
    assert butter == 0
    # Its group speaks for a product that says nothing itself.
    assert affinities(SERVED, ["rare bun"], ["butter"]) == [1.0]
    assert affinities(SERVED, ["coffee", "milk"], ["milk"]) == [0]
    # All products go with every basket alike, and an empty basket with none.
    assert affinities(SERVED, ["coffee"], []) == [0]
    assert affinities(SERVED, [], ["milk"]) == [0]
    assert affinities(SERVED, ["coffee"]) == []


def test_served_lists_hold_the_best_by_popularity_and_strength() -> None:
    popularity = pd.Series({"a": 0.1, "b": 0.2, "c": 0.001, "d": 0.05})
    pairs = pd.DataFrame({"product": ["a", "a"], "other": ["b", "c"], "lift": [2.0, 5.0]})
    groups = pd.Series({"a": "X", "b": "Y", "c": "Y", "d": "X", "never": "X", "lonely": "Z"})
    by_group = pd.DataFrame({"product": ["X"], "other": ["Y"], "lift": [1.5]})
    near = pd.DataFrame({"product": ["a", "a"], "other": ["b", "d"], "strength": [9.0, 0.3]})
    sources = Sources(pairs, by_group, near, popularity, groups)
    plain = next_products(sources, Setting("complements", 2.0))
    assert [c.product_id for c in plain.products["a"].complements] == ["b", "c"]
    assert plain.products["a"].complements[0] == Complement("b", 0.2, 2 * math.log(2), 2.0)
    assert [c.product_id for c in plain.groups["X"].complements] == ["b", "c"]
    assert plain.products["never"] == Known("X", ())
    assert "lonely" not in plain.products
    both = next_products(sources, Setting("both", 1.0)).products["a"].complements
    # What was counted goes before what the factors say of the same pair.
    assert {c.product_id: c.lift for c in both} == {"b": 2.0, "c": 5.0, "d": None}


def test_factors_bring_together_what_never_met_but_has_the_same_company() -> None:
    # Two worlds of ten products; p000 and p001 are of one world and never in one basket.
    draw = np.random.default_rng(8)
    rows: list[dict[str, str]] = []
    for basket in range(3000):
        products = draw.permutation(10)[:4] + 10 * (basket % 2)
        if {0, 1} <= set(products.tolist()):
            products = products[products != 1]
        told = {"customer_id": f"c{basket}", "order_id": "1"}
        rows += [{**told, "product": f"p{p:03}"} for p in products]
    baskets = baskets_of(pd.DataFrame(rows))
    near = nearest(product_factors(baskets, seed=1), 9)
    company = set(near.loc[near["product"] == "p000", "other"])
    assert all(name < "p010" for name in company)
    again = nearest(product_factors(baskets, seed=1), 9)
    pd.testing.assert_frame_equal(near, again)


def test_guesses_count_hits_and_ranks_by_hand() -> None:
    hidden = [Hidden(f"c{i % 10}", frozenset({"x"}), "a" if i % 4 else "b") for i in range(200)]
    popularity = pd.Series({"a": 0.5, "x": 0.4, "z": 0.1})
    rankers = {MODEL: lambda _who, _basket: ["z", "b"], POPULAR: popular_ranker(popularity)}
    judged = guesses(hidden, rankers, seed=1)
    assert judged.hit_rate[MODEL].value == 0.25
    assert judged.mrr[MODEL].value == 0.125
    assert (judged.hit_rate[POPULAR].value, judged.mrr[POPULAR].value) == (0.75, 0.75)
    assert judged.gain[POPULAR].value == -0.5
    assert judged.verdict() == "next products are worse than what is popular"


def test_favourites_are_her_own_and_then_what_is_popular() -> None:
    bought = pd.DataFrame(
        {
            "customer_id": ["ana"] * 4,
            "order_id": ["1", "2", "2", "2"],
            "product": ["tea", "tea", "jam", "bun"],
        }
    )
    rank = favourites_ranker(bought, pd.Series({"milk": 0.5, "bun": 0.2, "tea": 0.1, "jam": 0.1}))
    assert rank("ana", frozenset({"bun"})) == ["tea", "jam", "milk"]
    assert rank("bea", frozenset()) == ["milk", "bun", "jam", "tea"]
    assert FAVOURITES != POPULAR


def test_a_hidden_product_is_not_in_the_basket_that_is_shown() -> None:
    rows = pd.DataFrame(
        [
            {"customer_id": f"c{i}", "order_id": "1", "product": name}
            for i in range(150)
            for name in ("a", "b", "c")[: 1 + i % 3]
        ]
    )
    hidden = hidden_products(rows, seed=3)
    assert len(hidden) == 100
    assert all(h.product_id not in h.basket and h.basket for h in hidden)
    with pytest.raises(TooLittleData, match="at least 100 baskets"):
        hidden_products(rows.head(50), seed=3)
