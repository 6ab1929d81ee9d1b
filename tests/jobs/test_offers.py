"""Offers one by one: what a marketer writes is neither lost to a run nor brought back by a load."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.duckdb_lake import DuckDbLake
from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from adapters.postgres_offers import PostgresOffers
from foundation.contracts import OFFERS
from foundation.uses import read_limits
from regulars.jobs.offers import put_offer, withdraw_offer
from regulars.jobs.publish import catalogue_offers, offered, publish_catalogue
from serving.errors import InvalidField
from tests.deployment import Shelf

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def row(offer_id: str, **more: Any) -> dict[str, Any]:
    usual = {
        "offer_id": offer_id,
        "title": "One off coffee",
        "kind": "amount",
        "reward": 100.0,
        "min_spend": 0,
        "scope": [],
        "channels": [],
        "placements": [],
        "stores": [],
        "valid_from": NOW,
        "valid_to": datetime(2027, 1, 1, tzinfo=UTC),
        "cost": 100,
        "priority": 0,
        "combinable": True,
    }
    return {**dict.fromkeys(OFFERS.names), **usual, **more}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[PostgresOffers]:
    """The offers of a catalogue of one's own."""
    with EmbeddedPostgres(tmp_path / "pg") as server:
        admin = PostgresAdmin(server.url, who="ana")
        yield admin.offers
        admin.close()


def put(lake: DuckDbLake, *rows: dict[str, Any]) -> None:
    """Load rows as a file would be."""
    with lake.write() as write:
        write.merge(OFFERS.name, OFFERS.from_rows(rows))


def test_what_is_written_while_a_run_publishes_is_published_too(lake: DuckDbLake) -> None:
    put(lake, row("old"))
    published: list[list[str]] = []

    class Meanwhile(Shelf):
        """A marketer writes just after the run has read."""

        def publish_offers(
            self, offers: Sequence[dict[str, Any]], popularity: dict[str, float]
        ) -> bool:
            published.append([one["offer_id"] for one in offers])
            if len(published) == 1:
                put(lake, row("new"))
            return True

    assert publish_catalogue(lake, lake, Meanwhile(), NOW) == 2
    assert published == [["old"], ["new", "old"]]


def test_a_withdrawn_offer_stays_away_until_it_is_written_anew(
    lake: DuckDbLake, shelf: PostgresOffers
) -> None:
    put_offer(lake, shelf, row("latte"), NOW)
    withdraw_offer(lake, shelf, "latte", NOW)
    assert shelf.page("", 10) == []
    # Its file is loaded every night.
    put(lake, row("latte", title="Two off"), row("mocha"))
    assert [one["offer_id"] for one in offered(lake)] == ["mocha"]
    assert [one["offer_id"] for one in catalogue_offers(lake)] == ["latte", "mocha"]
    put_offer(lake, shelf, row("latte"), NOW)
    assert [one["offer_id"] for one in offered(lake)] == ["latte", "mocha"]
    assert shelf.page("", 10) == [one for one in offered(lake) if one["offer_id"] == "latte"]


def test_an_offer_that_breaks_the_contract_is_refused_by_its_column(
    lake: DuckDbLake, shelf: PostgresOffers
) -> None:
    with pytest.raises(InvalidField, match=r"lever '3.0' must be at most 2") as caught:
        put_offer(lake, shelf, row("latte", lever=3.0), NOW)
    assert caught.value.field == "lever"
    assert catalogue_offers(lake) == []


def test_pieces_by_store_reach_the_service_as_numbers(lake: DuckDbLake) -> None:
    put(lake, row("piled", store_stock='{"s-1": 2}'))
    limits = read_limits(catalogue_offers(lake)[0])
    assert limits.store_stock == {"s-1": 2}
