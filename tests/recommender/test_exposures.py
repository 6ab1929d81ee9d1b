"""New York publishes at 3 o'clock: 07:00 UTC in summer, 08:00 UTC in winter."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow

from adapters.duckdb_lake import DuckDbLake
from foundation.clock import live_publication
from foundation.context import NAMES as CONTEXT_NAMES
from foundation.contracts import TABLES
from foundation.features import Feature, definitions, features_as_of
from recommender.affinity import NAMES as AFFINITY_NAMES
from recommender.exposures import TrainingFrame, exposures

ZONE, HOUR = "America/New_York", 3
FEATURES = definitions(("COFFEE",))
MICRO = timedelta(microseconds=1)

# Monday noon in New York; what serves then was published at 3 o'clock that morning.
SHOWN = datetime(2026, 6, 1, 16, tzinfo=UTC)
PUBLISHED = datetime(2026, 6, 1, 7, tzinfo=UTC)
STARTS = datetime(2026, 6, 1, 4, tzinfo=UTC)
ENDS = datetime(2026, 6, 15, 4, tzinfo=UTC)
LATER = datetime(2026, 12, 1, tzinfo=UTC)

Row = dict[str, Any]


def offer(offer_id: str = "o-1", **fields: Any) -> Row:
    return {
        "offer_id": offer_id,
        "title": "Coffee for less",
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 500,
        "scope": ["p-1", "p-2"],
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": STARTS,
        "valid_to": ENDS,
        "cost": 80,
        "priority": 0,
        "combinable": True,
        "campaign_kind": "TypeA",
        **fields,
    }


_count = iter(range(1_000_000))


def told(kind: str, at: datetime, customer: str = "ana", offer_id: str | None = "o-1") -> Row:
    return {
        "event_id": f"e-{next(_count)}",
        "customer_id": customer,
        "at": at,
        "channel": "mail",
        "kind": kind,
        "offer_id": offer_id,
    }


def bought(at: datetime, amount: int, customer: str = "ana") -> Row:
    number = next(_count)
    return {
        "line_id": f"l-{number}",
        "customer_id": customer,
        "order_id": f"r-{number}",
        "product_id": "p-1",
        "store_id": "s-1",
        "channel": "store",
        "at": at,
        "local_day": at.toordinal() - datetime(1970, 1, 1).toordinal(),  # noqa: DTZ001
        "local_hour": at.hour,
        "quantity": 1.0,
        "amount": amount,
        "discount": 0,
        "offer_discount": 0,
    }


def fill(
    lake: DuckDbLake,
    offers: Sequence[Row] = (),
    interactions: Sequence[Row] = (),
    purchases: Sequence[Row] = (),
) -> DuckDbLake:
    with lake.write() as write:
        for name, rows in (
            ("offers", offers),
            ("interactions", interactions),
            ("purchases", purchases),
        ):
            if rows:
                write.merge(name, TABLES[name].from_rows(rows))
    return lake


def framed(
    lake: DuckDbLake, until: datetime = LATER, features: Sequence[Feature] = FEATURES
) -> TrainingFrame:
    return exposures(lake, features, until, ZONE, HOUR)


# Where only who, when and whether matter, one feature is asked for, because it is quicker.
ONE = FEATURES[:1]


def named(frame: TrainingFrame, row: int = 0) -> dict[str, float]:
    return dict(zip(frame.names, frame.matrix[row].tolist(), strict=True))


# ----------------------------------------------------------------------------- what was known then


def test_only_what_last_nights_publication_knew_is_in_the_row(lake: DuckDbLake) -> None:
    fill(
        lake,
        [offer(), offer("o-0", valid_from=STARTS - timedelta(days=30))],
        [
            told("redeem", PUBLISHED - MICRO, offer_id="o-0"),
            # Between the publication and the exposure: true, but nobody served knew it.
            told("redeem", PUBLISHED, offer_id="o-0"),
            told("redeem", SHOWN - MICRO, offer_id="o-0"),
            told("sent", SHOWN),
            told("redeem", SHOWN + timedelta(days=1)),
        ],
        [
            bought(PUBLISHED - timedelta(days=2), 1_000),
            bought(PUBLISHED - MICRO, 200),
            bought(PUBLISHED, 30_000),
            bought(SHOWN - MICRO, 40_000),
            bought(SHOWN + MICRO, 50_000),
        ],
    )

    known = named(framed(lake))

    assert known["spend_7d"] == 1_200
    assert known["orders_365d"] == 2
    assert known["redemptions_90d"] == 1
    # Neither the exposure itself nor what followed it.
    assert known["offers_sent_365d"] == 0
    assert known["offers_redeemed_365d"] == 1


def test_the_publication_is_that_of_the_night_before_an_early_exposure(lake: DuckDbLake) -> None:
    early = PUBLISHED - MICRO
    fill(
        lake,
        [offer()],
        [told("sent", early), told("sent", PUBLISHED, "bea")],
        [
            bought(PUBLISHED - timedelta(hours=1), 700, "ana"),
            bought(PUBLISHED - timedelta(hours=1), 700, "bea"),
        ],
    )

    frame = framed(lake)

    # A microsecond before 3 o'clock yesterday's publication was still live; at 3 it is today's.
    spend = dict(zip(frame.rows["customer_id"], frame.matrix[:, 2], strict=True))
    assert frame.names[2] == "orders_7d"
    assert spend == {"ana": 0, "bea": 1}


def test_offers_of_before_are_history_for_the_next_one(lake: DuckDbLake) -> None:
    before = [SHOWN - timedelta(days=d) for d in (40, 20)]
    fill(
        lake,
        [offer()] + [offer(f"old-{n}", valid_to=SHOWN) for n in range(2)],
        [
            *(told("sent", at, offer_id=f"old-{n}") for n, at in enumerate(before)),
            told("redeem", SHOWN - timedelta(days=10), offer_id="old-1"),
            told("sent", SHOWN),
        ],
    )

    frame = framed(lake)

    assert frame.rows["offer_id"].tolist() == ["old-0", "old-1", "o-1"]
    rates = [named(frame, row)["redeem_rate_365d"] for row in range(3)]
    assert np.isnan(rates[0])
    assert rates[1:] == [0.0, 0.5]
    assert [named(frame, row)["offers_sent_365d"] for row in range(3)] == [0, 1, 2]
    assert frame.outcome.tolist() == [0, 1, 0]


def test_customers_without_history_keep_their_row(lake: DuckDbLake) -> None:
    fill(
        lake,
        [offer()],
        [told("sent", SHOWN, c) for c in ("ana", "new", "later")],
        [bought(SHOWN - timedelta(days=9), 500), bought(SHOWN, 500, "later")],
    )

    frame = framed(lake)

    assert frame.rows["customer_id"].tolist() == ["ana", "new", "later"]
    for row in (1, 2):
        known = named(frame, row)
        for feature in FEATURES:
            value = known[feature.name]
            assert (None if np.isnan(value) else value) == feature.empty, feature.name


def test_every_row_is_what_one_evaluation_at_its_own_publication_gives(lake: DuckDbLake) -> None:
    draw = np.random.default_rng(3)
    # Across the end of summer time on 2026-11-01, several exposures a customer.
    start = datetime(2026, 10, 20, tzinfo=UTC)
    times = [start + timedelta(seconds=int(s)) for s in draw.integers(0, 25 * 86_400, 60)]
    people = [f"c-{n}" for n in draw.integers(0, 12, 60)]
    fill(
        lake,
        [offer(f"o-{n}", valid_from=start, valid_to=start + timedelta(days=40)) for n in range(3)],
        [
            *(
                told("sent", at, who, f"o-{n % 3}")
                for n, (at, who) in enumerate(zip(times, people, strict=True))
            ),
            *(told("redeem", at + timedelta(hours=5), who) for at, who in zip(times, people)),  # noqa: B905
        ],
        [
            bought(
                start + timedelta(seconds=int(draw.integers(-90 * 86_400, 25 * 86_400))),
                int(draw.integers(100, 9_000)),
                f"c-{n % 13}",
            )
            for n in range(300)
        ],
    )

    frame = framed(lake)

    assert len(frame.rows) == 60
    for row in (0, 30, 59):
        exposure = frame.rows.iloc[row]
        as_of = live_publication(exposure["at"].to_pydatetime(), ZONE, HOUR)
        spine = arrow.table(
            {
                "customer_id": [exposure["customer_id"]],
                "as_of": arrow.array([as_of], arrow.timestamp("us", tz="UTC")),
            }
        )
        # Source: the features' own tests hold each evaluation as of an instant.
        alone = lake.fetch(features_as_of(lake, lake.memory(spine), FEATURES)).to_pandas()
        expected = alone[[f.name for f in FEATURES]].to_numpy(dtype=float)[0]
        np.testing.assert_array_equal(frame.matrix[row, : len(FEATURES)], expected)


# ------------------------------------------------------------------------------------ the outcome


def test_a_response_lies_from_the_exposure_on_and_before_the_offers_end(lake: DuckDbLake) -> None:
    times = {
        "before": SHOWN - MICRO,
        "at once": SHOWN,
        "later": SHOWN + timedelta(days=3),
        "at last": ENDS - MICRO,
        "too late": ENDS,
    }
    fill(
        lake,
        [offer()],
        [told("sent", SHOWN, who) for who in times]
        + [told("redeem", at, who) for who, at in times.items()],
    )

    frame = framed(lake, features=ONE)

    found = dict(zip(frame.rows["customer_id"], frame.outcome, strict=True))
    assert found == {"before": 0, "at once": 1, "later": 1, "at last": 1, "too late": 0}


def test_a_response_is_her_own_redemption_of_that_offer(lake: DuckDbLake) -> None:
    day = timedelta(days=1)
    fill(
        lake,
        [offer(), offer("o-2")],
        [
            told("sent", SHOWN),
            told("sent", SHOWN, "bea"),
            told("sent", SHOWN, "bea", "o-2"),
            told("redeem", SHOWN + day, "cleo"),
            told("redeem", SHOWN + day, "bea", "o-2"),
            told("redeem", SHOWN + 2 * day, "bea", "o-2"),
            told("view", SHOWN + day),
            told("activate", SHOWN + day),
            told("redeem", SHOWN + day, offer_id=None),
        ],
    )

    frame = framed(lake, features=ONE)

    # One row an exposure, also where she redeemed twice.
    found = zip(frame.rows["customer_id"], frame.rows["offer_id"], frame.outcome, strict=True)
    assert sorted(found) == [("ana", "o-1", 0), ("bea", "o-1", 0), ("bea", "o-2", 1)]


def test_a_redemption_taken_back_inside_the_window_is_no_response(lake: DuckDbLake) -> None:
    day = timedelta(days=1)
    back = {"kept": None, "back": SHOWN + 2 * day, "one of two": SHOWN + 2 * day, "late": ENDS}
    fill(
        lake,
        [offer()],
        [told("sent", SHOWN, who) for who in back]
        + [told("redeem", SHOWN + day, who) for who in (*back, "one of two")]
        + [told("reverse", at, who) for who, at in back.items() if at is not None],
    )

    frame = framed(lake, features=ONE)

    found = dict(zip(frame.rows["customer_id"], frame.outcome, strict=True))
    assert found == {"kept": 1, "back": 0, "one of two": 1, "late": 1}


def test_other_kinds_of_event_are_no_exposures(lake: DuckDbLake) -> None:
    kinds = ("impression", "view", "activate", "redeem", "dismiss", "visit")
    fill(lake, [offer()], [told(kind, SHOWN) for kind in kinds])

    frame = framed(lake, features=ONE)

    assert len(frame.rows) == 0
    assert frame.matrix.shape == (0, len(frame.names))
    assert (frame.censored, frame.unanswerable) == (0, 0)


def test_exposures_whose_window_is_not_over_are_left_out_and_counted(lake: DuckDbLake) -> None:
    until = ENDS + timedelta(days=3)
    ends = {"over": ENDS, "just": until, "not-yet": until + MICRO, "long": LATER}
    fill(
        lake,
        [offer(offer_id, valid_to=end) for offer_id, end in ends.items()],
        [
            *(told("sent", SHOWN, "ana", offer_id) for offer_id in ends),
            told("sent", SHOWN, "bea", "long"),
            # Already answered, and still left out: of those who answer late nothing is known yet.
            told("redeem", SHOWN + timedelta(days=1), "ana", "long"),
        ],
    )

    frame = framed(lake, until, ONE)

    assert sorted(frame.rows["offer_id"]) == ["just", "over"]
    assert frame.censored == 3
    assert frame.observed_until == until


def test_exposures_that_nobody_could_answer_are_left_out_and_counted(lake: DuckDbLake) -> None:
    fill(
        lake,
        [offer()],
        [
            told("sent", ENDS - MICRO),
            told("sent", ENDS, "bea"),
            told("sent", ENDS + timedelta(days=2), "cleo"),
            told("sent", SHOWN, "dora", "withdrawn"),
            told("sent", SHOWN, "dora", None),
        ],
    )

    frame = framed(lake, features=ONE)

    assert frame.rows["customer_id"].tolist() == ["ana"]
    assert frame.unanswerable == 4
    assert frame.censored == 0


def test_nothing_is_counted_twice_or_lost(lake: DuckDbLake) -> None:
    fill(
        lake,
        [offer(), offer("long", valid_to=LATER), offer("short", valid_to=SHOWN)],
        [
            told("sent", SHOWN + timedelta(minutes=n), f"c-{n}", offer_id)
            for n in range(40)
            for offer_id in ("o-1", "long", "short", "gone")
        ],
    )

    frame = framed(lake, ENDS, ONE)

    assert (len(frame.rows), frame.censored, frame.unanswerable) == (40, 40, 80)


# ----------------------------------------------------------------------------- offer and context


def test_what_is_known_of_the_offer_and_the_channel_is_in_the_row(lake: DuckDbLake) -> None:
    fill(
        lake,
        [offer(), offer("o-2", campaign_kind="TypeB", scope=[]), offer("o-3", campaign_kind=None)],
        [told("sent", SHOWN, offer_id=o) for o in ("o-1", "o-2", "o-3")],
    )

    frame = framed(lake)

    rows = {o: named(frame, row) for row, o in enumerate(frame.rows["offer_id"])}
    first = {name: value for name, value in rows["o-1"].items() if name.startswith("offer_")}
    assert (
        first
        | {
            "offer_days": 14.0,
            "offer_products": 2.0,
            "offer_reward": 100.0,
            "offer_min_spend": 500.0,
            "offer_cost": 80.0,
            "offer_campaign_kind=TypeA": 1.0,
            "offer_campaign_kind=TypeB": 0.0,
        }
        == first
    )
    assert rows["o-2"]["offer_products"] == 0
    assert rows["o-2"]["offer_campaign_kind=TypeB"] == 1
    assert [rows["o-3"][f"offer_campaign_kind=Type{k}"] for k in "AB"] == [0, 0]
    assert rows["o-1"]["context_channel=mail"] == 1
    assert rows["o-1"]["context_channel=app"] == 0
    # When a letter was posted says nothing of the hour at which it is read.
    assert np.isnan(rows["o-1"]["context_hour"])
    assert np.isnan(rows["o-1"]["context_basket_amount"])


def test_columns_are_customer_then_offer_then_affinity_then_context(lake: DuckDbLake) -> None:
    frame = framed(fill(lake, [offer()], [told("sent", SHOWN)]))

    assert frame.names[: len(FEATURES)] == tuple(f.name for f in FEATURES)
    assert frame.names[-len(CONTEXT_NAMES) :] == CONTEXT_NAMES
    last = len(AFFINITY_NAMES) + len(CONTEXT_NAMES)
    between = frame.names[len(FEATURES) : -last]
    assert frame.names[-last : -len(CONTEXT_NAMES)] == AFFINITY_NAMES
    assert all(name.startswith("offer_") for name in between)
    assert len(set(frame.names)) == len(frame.names)
    assert frame.matrix.shape == (1, len(frame.names))
    assert frame.matrix.dtype == np.float64


def test_rows_come_in_the_order_of_time_whatever_the_order_of_loading(lake: DuckDbLake) -> None:
    events = [told("sent", SHOWN + timedelta(hours=h), f"c-{h}") for h in (5, 1, 9, 3)]

    frame = framed(fill(lake, [offer()], events), features=ONE)

    assert frame.rows["customer_id"].tolist() == ["c-1", "c-3", "c-5", "c-9"]
    assert frame.rows["at"].dt.tz is not None
    assert frame.rows["propensity"].isna().all()


def test_taking_rows_takes_them_with_their_features(lake: DuckDbLake) -> None:
    fill(
        lake,
        [offer(), offer("long", valid_to=LATER + MICRO)],
        [told("sent", SHOWN, c) for c in ("ana", "bea")] + [told("sent", SHOWN, offer_id="long")],
        [bought(SHOWN - timedelta(days=1), 900, "bea")],
    )
    frame = framed(lake)

    taken = frame.take((frame.rows["customer_id"] == "bea").to_numpy())

    assert taken.rows["customer_id"].tolist() == ["bea"]
    assert taken.rows.index.tolist() == [0]
    assert named(taken)["spend_7d"] == 900
    assert (taken.censored, taken.names) == (1, frame.names)
    assert isinstance(taken.rows, pd.DataFrame)


def test_an_empty_lake_has_no_exposures(lake: DuckDbLake) -> None:
    frame = framed(lake)

    assert len(frame.rows) == len(frame.matrix) == 0
    assert frame.outcome.shape == (0,)
