"""Which decisions teach what offers cause, with which probability, and what followed."""

from dataclasses import replace as changed
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.postgres_admin import StoredExperiment
from experiments.design import Experiment, Variant
from experiments.holdout import holdout_design
from foundation.context import context_features
from foundation.contracts import TABLES
from foundation.decision import DecisionRecord, Policy
from foundation.errors import TooLittleData
from recommender.value import Contact, Contacts
from regulars.jobs.randomised_decisions import RandomisedDecisions, randomised_decisions
from regulars.jobs.train import told_until
from tests.jobs.uplift_shop import (
    DAY,
    DAYS,
    FEATURES,
    OFFERS,
    START,
    ZONE,
    Shop,
    design,
    draw_vectors,
    offer_row,
    opened,
    stored,
)

VECTORS = draw_vectors(400, seed=5)


def found(
    lake: DuckDbLake, experiments: list[StoredExperiment], **said: Any
) -> RandomisedDecisions:
    until = said.pop("until", told_until(lake))
    assert until is not None
    return randomised_decisions(lake, FEATURES, experiments, until, ZONE, **said)


def by_customer(shop: Shop) -> dict[str, DecisionRecord]:
    return {record.customer_id: record for record in shop.records}


def test_chances_are_those_of_the_variant_times_those_of_the_draw(lake: DuckDbLake) -> None:
    uneven = design(
        "popular",
        variants=[
            Variant("none", 0.2, policy="none"),
            Variant("some", 0.6, policy="popular"),
            Variant("best", 0.2, policy="rule"),
        ],
    )
    # `rule` explores as much as `popular`, on fewer customers.
    records = by_customer(opened(400, lake, uneven, exploration=0.3))

    rows = found(lake, stored(uneven)).rows

    assert set(rows["customer_id"]) <= {c for c in records if records[c].assignments}
    for row in rows.to_dict("records"):
        record = records[row["customer_id"]]
        # By hand: of none and some, none has a quarter. Popular draws its best offer c with
        # .7 + .3 / 3, each other one with .1.
        variant = record.assignments[0].variant
        assert variant in ("none", "some")
        if variant == "none":
            assert pd.isna(row["offer_id"])
            assert row["propensity"] == pytest.approx(0.25)
        else:
            first = record.slates[0].offers[0].offer_id
            chance = 0.75 * (0.8 if first == "c" else 0.1)
            assert (row["offer_id"], row["propensity"]) == (first, pytest.approx(chance))
    # Each probability's inverse sums to all rows, within what chance allows.
    weights = (1 / rows["propensity"]).groupby(rows["offer_id"].fillna("-")).sum() / len(rows)
    assert weights["-"] == pytest.approx(1, abs=0.25)
    assert weights["c"] == pytest.approx(1, abs=0.25)


def test_outcome_is_her_margin_of_the_window_less_what_offers_cost(lake: DuckDbLake) -> None:
    shop = opened(300, lake, design())

    got = found(lake, stored(design()))

    earned: dict[str, float] = {}
    for line in shop.lines:
        if line["at"] < START + DAYS * DAY:
            name = line["customer_id"]
            earned[name] = earned.get(name, 0.0) + line["margin"]
    used = {event["customer_id"] for event in shop.redeemed}
    for row in got.rows.to_dict("records"):
        name = row["customer_id"]
        assert row["response"] == float(name in used)
        assert row["outcome"] == earned[name] - 80 * row["response"]
    assert (got.offers, got.placement, got.days, got.policies) == (
        OFFERS,
        "checkout",
        14,
        ("random",),
    )
    assert got.left_out == {"whose 14 days are not over": 1}
    # Inputs are the recorded ones, then the moment's.
    moment = context_features("app", START, ZONE, None)
    np.testing.assert_array_equal(got.matrix[0], [*draw_vectors(300, 1)[0], *moment])


def test_showing_any_offer_is_priced_as_the_service_does_by_the_channel_of_the_decision(
    lake: DuckDbLake,
) -> None:
    shop = Shop((design(),))
    for n in range(40):
        record = shop.visit(f"c-{n}", VECTORS[n], START, n)
        shop.records[n] = msgspec.structs.replace(record, channel="email" if n % 2 else "app")
    shop.visit("last", VECTORS[0], START + 40 * DAY, 99)
    shop.put_into(lake)
    contacts = Contacts({"email": Contact(30.0, opt_out=0.1)}, remaining_value=500.0)

    got = found(lake, stored(design()))

    # By hand: 30 of postage, and a tenth of what is declared that she brings yet.
    odd = got.rows["customer_id"].str.slice(2).astype(int) % 2 == 1
    np.testing.assert_array_equal(got.price(contacts).cost, np.where(odd, 80.0, 0.0))


def test_offers_are_compared_over_the_longest_of_their_windows(lake: DuckDbLake) -> None:
    opened(60, lake, design())
    # What c's own window holds must not be cut off because those of a and b are shorter.
    shorter = [offer_row("a", attribution_days=3), offer_row("b", attribution_days=5)]
    with lake.write() as write:
        write.merge("offers", TABLES["offers"].from_rows(shorter))

    assert found(lake, stored(design())).days == DAYS


def test_only_the_first_decision_counts_and_later_ones_are_told(lake: DuckDbLake) -> None:
    shop = Shop((design(),))
    for n in range(40):
        shop.visit(f"c-{n % 20}", VECTORS[n % 20], START + n * DAY / 10, n)
    shop.visit("last", VECTORS[0], START + 40 * DAY, 99)
    shop.put_into(lake)

    got = found(lake, stored(design()))

    assert len(got.rows) == 20
    assert got.rows["at"].max() < START + 2 * DAY
    assert got.again == 20
    assert got.left_out["later ones of a customer in the same experiment"] == 20


def test_what_cannot_be_compared_is_left_out_and_counted(lake: DuckDbLake) -> None:
    shop = Shop((design(),))
    records = [shop.visit(f"c-{n}", VECTORS[n], START, n) for n in range(60)]
    shop.visit("last", VECTORS[0], START + 40 * DAY, 99)
    versions = msgspec.structs.replace(records[1].versions, features="older")
    drawn = [n for n, r in enumerate(records) if n > 5 and r.slates[0].offers]
    for place, fields in (
        (0, {"propensity_valid": False}),
        (1, {"versions": versions}),
        (2, {"vector": None}),
        (3, {"assignments": []}),
        (4, {"scores": {"a": 0.1, "b": 0.1}}),
        (5, {"scores": {}}),
        (drawn[0], {"policy": Policy("popular")}),
    ):
        shop.records[place] = msgspec.structs.replace(records[place], **fields)
    shop.put_into(lake)

    got = found(lake, stored(design()))

    assert len(got.rows) == 53
    assert got.left_out == {
        "not drawn as the policy meant (propensity not valid)": 1,
        "recorded under other definitions of features": 1,
        "of customers that the snapshot did not know": 1,
        "outside of any experiment or holdout to compare in": 1,
        "with another choice of offers": 1,
        "with no offer to choose": 1,
        "not drawn by chance": 1,
        "whose 14 days are not over": 1,
    }


def test_an_effect_of_several_slots_is_not_credited_to_the_first(lake: DuckDbLake) -> None:
    shop = Shop((design(),))
    for n in range(60):
        shop.limit = 3 if n < 20 else 1
        shop.visit(f"c-{n}", VECTORS[n], START, n)
    shop.visit("last", VECTORS[0], START + 40 * DAY, 99)
    shop.put_into(lake)

    got = found(lake, stored(design()))

    # Of both variants: who could have seen three are left out also where they saw none.
    assert len(got.rows) == 40
    assert got.left_out["that could show several offers at once"] == 20
    assert got.rows["customer_id"].str.slice(2).astype(int).min() == 20


def test_where_all_decisions_show_several_offers_the_way_out_is_to_ask_for_one(
    lake: DuckDbLake,
) -> None:
    opened(30, lake, design(), limit=3)

    with pytest.raises(TooLittleData, match=r"31 that could show several.*placement with limit 1"):
        found(lake, stored(design()))


def test_earlier_decisions_are_left_out_where_only_later_ones_are_asked_for(
    lake: DuckDbLake,
) -> None:
    opened(60, lake, design())

    since = START + timedelta(seconds=29)
    got = found(lake, stored(design()), after=since)

    assert got.rows["at"].min() > since
    assert len(got.rows) == 30
    assert got.left_out[f"up to {since:%Y-%m-%d %H:%M}"] == 30


def test_the_holdout_compares_while_no_experiment_decides(lake: DuckDbLake) -> None:
    holdout = holdout_design(0.3)
    opened(300, lake, holdout, exploration=0.5)

    rows = found(lake, stored(holdout)).rows

    assert rows.loc[~rows["drawn"], "propensity"].unique() == pytest.approx([0.3])
    # Popular's best of three with .5 + .5 / 3.
    best = rows.loc[rows["offer_id"] == "c", "propensity"]
    assert best.unique() == pytest.approx([0.7 * (0.5 + 0.5 / 3)])
    assert rows["drawn"].mean() == pytest.approx(0.7, abs=0.1)

    beside = stored(holdout, design())
    with pytest.raises(TooLittleData, match="outside of any experiment"):
        found(lake, beside)
    ended = [beside[0], changed(beside[1], stopped_at=START - timedelta(hours=1))]
    assert len(found(lake, ended).rows) == len(rows)


def test_what_is_drawn_too_rarely_to_speak_for_others_is_refused(lake: DuckDbLake) -> None:
    opened(2_500, lake, design("popular"), exploration=0.001)
    got = found(lake, stored(design("popular")))
    rare = got.rows["propensity"] < 0.01
    # As if they had been drawn: enough of each offer, with the recorded chances.
    offers = got.rows["offer_id"].where(got.rows["offer_id"].isna(), np.resize(OFFERS, len(rare)))
    assert not rare.all()
    low = got.rows["propensity"].where(offers != "a", 0.0002)
    twisted = changed(got, rows=got.rows.assign(offer_id=offers, propensity=low))

    with pytest.raises(TooLittleData, match=r"probability below 0.01.*policy random"):
        twisted.trial()


def test_experiments_without_draws_by_chance_or_without_none_teach_nothing(
    lake: DuckDbLake,
) -> None:
    greedy = Experiment(
        "greedy", "greedy", [Variant("a", 0.5, policy="popular"), Variant("b", 0.5, policy="rule")],
        control="a",
    )  # fmt: skip
    opened(50, lake, greedy)

    with pytest.raises(TooLittleData, match="51 of experiments without draws by chance, or none"):
        found(lake, stored(greedy))
