"""A small shop of another country, with receipts and offers and nothing else, goes all the way.

Its file has semicolons and decimal commas, its money is EUR, its clocks are Vienna's. There is no
table of customers, no product, no store, no past campaign and so no model.
"""

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import yaml

from adapters.source_files import read_source
from experiments.design import Experiment, Variant
from foundation.clock import SystemClock
from foundation.contracts.mapping import read_mapping
from foundation.errors import NothingToDo
from foundation.settings import Settings
from regulars.jobs.experiment import start_experiment
from regulars.jobs.load import load
from regulars.jobs.measure import simulate_experiment
from regulars.jobs.report import experiment_report
from regulars.jobs.segment import segment
from regulars.jobs.train import train
from regulars.progress import Progress
from regulars.wiring import House
from tests.deployment import listening

CUSTOMERS = 120
RECEIPTS = """
table: purchases
time_zone: Europe/Vienna
delimiter: ";"
decimal: ","
columns:
  line_id: [bon, zeile]
  order_id: bon
  customer_id: karte
  product_id: artikel
  store_id: filiale
  at: {from: zeit, format: "%d.%m.%Y %H:%M"}
  quantity: stueck
  amount: netto
constants: {channel: store}
"""
OFFERS = """
table: offers
time_zone: Europe/Vienna
columns: {offer_id: id, title: titel, cost: kosten, valid_from: von, valid_to: bis}
constants: {kind: gift, reward: 1, min_spend: 0, priority: 0, combinable: true, customer_cap: 1}
"""


@pytest.fixture
def shop(tmp_path: Path, silent: Progress) -> House:
    settings = Settings(
        home=tmp_path / "home", database_url=None, currency_code="EUR", time_zone="Europe/Vienna"
    )
    house = House(settings, SystemClock())
    for name, mapping, rows in (
        ("kassa.csv", RECEIPTS, receipts(house.clock.now())),
        ("aktionen.csv", OFFERS, offers(house.clock.now())),
    ):
        (tmp_path / name).write_text("\n".join(rows), encoding="utf-8")
        read = read_mapping(yaml.safe_load(mapping), name)
        chunks = read_source(tmp_path / name, read, settings.time_zone)
        report = load(house.lake, chunks, house.clock, silent)
        assert all(counts.quarantined == 0 for counts in report.tables.values())
    return house


def receipts(now: datetime) -> list[str]:
    draw = np.random.default_rng(3)
    rows = ["bon;zeile;karte;artikel;filiale;zeit;stueck;netto"]
    for customer in range(CUSTOMERS):
        at = now - timedelta(days=float(draw.uniform(20, 150)))
        while (at := at + timedelta(days=float(draw.exponential(9)))) < now:
            wall = at.astimezone(ZoneInfo("Europe/Vienna"))
            price = f"{draw.gamma(3, 2) + 0.5:.2f}".replace(".", ",")
            rows.append(f"B{len(rows)};1;K{customer:03};A1;F1;{wall:%d.%m.%Y %H:%M};1;{price}")
    return rows


def offers(now: datetime) -> list[str]:
    von, bis = now - timedelta(days=3), now + timedelta(days=30)
    rows = (f"o{n};Gratis Kaffee {n};0,{4 + n}0;{von:%Y-%m-%d};{bis:%Y-%m-%d}" for n in range(4))
    return ["id,titel,kosten,von,bis", *(row.replace(",", ".").replace(";", ",") for row in rows)]


@pytest.mark.slow
def test_from_receipts_to_a_report_beside_the_truth(shop: House, silent: Progress) -> None:
    design = Experiment(
        key="gratis",
        salt="gratis",
        control="ohne",
        variants=[
            Variant("ohne", 0.5, policy="none"),
            Variant("beliebt", 0.25, policy="popular"),
            Variant("modell", 0.25, policy="response"),
        ],
    )
    with shop.database() as database, shop.admin(database) as admin:
        report = segment(
            shop.lake, shop.publish_snapshot, admin, shop.settings, shop.clock.now(), silent
        )
        bought = shop.lake.fetch(shop.lake.table("purchases").select("customer_id").distinct())
        assert report.customers == sum(report.rfm.values()) == bought.num_rows
        with pytest.raises(NothingToDo, match="load offers, and interactions of kind sent"):
            train(shop.lake, shop.models, shop.settings, silent)
        start_experiment(admin, design, shop.clock.now())

        with listening(shop, database) as url:
            first = simulate_experiment(shop, admin, url, 1, silent)
            second = simulate_experiment(shop, admin, url, 2, silent)

        assert first.simulated.decisions == second.simulated.decisions == report.customers
        # Every answer of the response policy was the popular slate: there is no model.
        assert first.simulated.fallbacks == first.report.units["modell"]
        # Both visits of a customer count; free coffee costs less than half of what it brings.
        assert all(0 < first.truth[name] < second.truth[name] for name in ("beliebt", "modell"))
        told = second.told(shop.settings.currency)
        assert any("EUR margin a customer" in line for line in told)

        # A cap per customer holds over both: nobody redeems an offer twice.
        redeemed = shop.lake.table("interactions").filter(lambda t: t.kind == "redeem")
        pairs = redeemed.group_by("customer_id", "offer_id").aggregate(n=redeemed.count())
        assert max(shop.lake.fetch(pairs)["n"].to_pylist()) == 1

        again = segment(
            shop.lake, shop.publish_snapshot, admin, shop.settings, shop.clock.now(), silent
        )
        assert again.customers == report.customers
        later = experiment_report(shop.lake, design, shop.clock.now())
        assert later.metrics["redeemed"] == second.report.metrics["redeemed"]
