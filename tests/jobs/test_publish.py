"""What the running service works with: how popular an offer is."""

from datetime import UTC, datetime, timedelta

import pytest

from adapters.duckdb_lake import DuckDbLake
from foundation.contracts import INTERACTIONS
from regulars.jobs.publish import PRIOR_EXPOSURES, popularity

AS_OF = datetime(2026, 5, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFFERS = [{"offer_id": "o-1"}, {"offer_id": "o-2"}]


def tell(lake: DuckDbLake, *events: tuple[str, str, str, datetime]) -> None:
    rows = [
        {
            "event_id": f"{kind} {customer} {offer} {at}",
            "customer_id": customer,
            "offer_id": offer,
            "kind": kind,
            "at": at,
            "channel": "app",
        }
        for kind, customer, offer, at in events
    ]
    with lake.write() as write:
        write.merge("interactions", INTERACTIONS.from_rows(rows))


@pytest.fixture
def shown(lake: DuckDbLake) -> DuckDbLake:
    """Two offers, each sent to ten customers."""
    before = AS_OF - 100 * HOUR
    tell(lake, *(("sent", f"c-{n}", o, before) for n in range(10) for o in ("o-1", "o-2")))
    return lake


def rate(redeemed: int, of_all: int) -> float:
    """The smoothed rate of an offer shown to 10, where both were shown to 20."""
    average = (of_all + 1) / (20 + 2)
    return (redeemed + PRIOR_EXPOSURES * average) / (10 + PRIOR_EXPOSURES)


def test_an_offer_is_as_popular_as_it_was_redeemed_and_not_taken_back(shown: DuckDbLake) -> None:
    tell(
        shown,
        *(("redeem", f"c-{n}", "o-1", AS_OF - 50 * HOUR) for n in range(4)),
        ("reverse", "c-0", "o-1", AS_OF - 40 * HOUR),
        # Taken back and redeemed again: she did.
        ("reverse", "c-1", "o-1", AS_OF - 40 * HOUR),
        ("redeem", "c-1", "o-1", AS_OF - 30 * HOUR),
        # Another offer's, and nobody's.
        ("reverse", "c-2", "o-2", AS_OF - 40 * HOUR),
    )
    found = popularity(shown, OFFERS, AS_OF)
    assert found == {"o-1": pytest.approx(rate(3, 3)), "o-2": pytest.approx(rate(0, 3))}


def test_what_is_taken_back_from_the_instant_on_is_not_known_yet(shown: DuckDbLake) -> None:
    tell(shown, *(("redeem", f"c-{n}", "o-1", AS_OF - HOUR) for n in range(4)))
    before = popularity(shown, OFFERS, AS_OF)
    tell(shown, ("reverse", "c-0", "o-1", AS_OF), ("reverse", "c-1", "o-1", AS_OF + HOUR))
    assert popularity(shown, OFFERS, AS_OF) == before
    later = popularity(shown, OFFERS, AS_OF + 2 * HOUR)
    assert later == {"o-1": pytest.approx(rate(2, 2)), "o-2": pytest.approx(rate(0, 2))}


def test_what_nobody_kept_is_as_popular_as_what_nobody_took(shown: DuckDbLake) -> None:
    tell(
        shown,
        ("redeem", "c-0", "o-1", AS_OF - 3 * HOUR),
        ("reverse", "c-0", "o-1", AS_OF - 2 * HOUR),
    )
    found = popularity(shown, OFFERS, AS_OF)
    assert found["o-1"] == found["o-2"] == pytest.approx(rate(0, 0))
