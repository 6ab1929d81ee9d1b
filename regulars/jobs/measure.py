"""Measure: let simulated shoppers through a running experiment and hold the report to the truth."""

from dataclasses import dataclass
from typing import Any

from adapters.postgres_admin import PostgresAdmin
from experiments.design import Experiment
from experiments.report import Effect, Report, summary_lines
from foundation.access import SCOPES
from foundation.errors import NothingToDo
from foundation.money import Currency
from regulars.assumptions import margin_rate, statements
from regulars.jobs.ingest import ingest
from regulars.jobs.report import experiment_report
from regulars.jobs.segment import customer_features
from regulars.jobs.simulate import Shop, Simulated, simulate
from regulars.locks import only_one
from regulars.progress import Progress
from regulars.shoppers import shoppers_from
from regulars.wiring import House


@dataclass(frozen=True)
class Measured:
    """An experiment's report beside the effect that was planted."""

    design: Experiment
    simulated: Simulated
    report: Report
    assumptions: list[str]

    @property
    def treatment(self) -> str:
        return next(v.name for v in self.design.variants if v.name != self.design.control)

    @property
    def effect(self) -> Effect | None:
        return self.report.metrics.get("margin", {}).get(self.treatment)

    @property
    def truth(self) -> float | None:
        """Mean planted effect on margin against the control, in minor units a customer."""
        gained = self.simulated.mean_effect(self.treatment)
        anyway = self.simulated.mean_effect(self.design.control)
        return None if gained is None or anyway is None else gained - anyway

    def figures(self) -> dict[str, Any]:
        """Return decisions and the experiment's figures; money in minor units."""
        effect = self.effect
        return {
            "decisions": self.simulated.decisions,
            "experiment": {
                "key": self.design.key,
                "estimate": None if effect is None else effect.difference,
                "low": None if effect is None else effect.low,
                "high": None if effect is None else effect.high,
                "truth": self.truth,
                "sample_ratio_p": self.report.sample_ratio.p,
            },
        }

    def told(self, currency: Currency) -> list[str]:
        """Return the report, the truth and the assumptions as people read them."""
        lines = summary_lines(self.report, currency.show)
        effect = self.effect
        if self.truth is not None:
            place = "beside it no interval"
            if effect is not None and effect.low is not None and effect.high is not None:
                inside = effect.low <= self.truth <= effect.high
                place = f"{'inside' if inside else 'outside'} the interval"
            lines.append(f"planted truth: {currency.show(self.truth)} margin a customer, {place}")
        return [*lines, *(f"assumed: {statement}" for statement in self.assumptions)]


def simulate_experiment(
    house: House, admin: PostgresAdmin, url: str, seed: int, progress: Progress
) -> Measured:
    """Send every customer of the lake to a running service once and report on what runs there.

    Raises:
        NothingToDo: No experiment runs, or the lake holds no products.
        StoreUnavailable: The service does not answer.
    """
    running = [stored for stored in admin.experiments() if stored.stopped_at is None]
    if not running:
        raise NothingToDo("no experiment runs; start one with 'regulars experiment start FILE'")
    design = running[0].design
    shoppers = shoppers_from(customer_features(house.lake, house.clock.now()))
    key = admin.make_key("simulation", SCOPES)
    try:
        simulated = simulate(
            url, key, shoppers, _shop(house, design.key), house.clock, seed, progress
        )
    finally:
        admin.revoke_key(key)
    with only_one(house.settings.lock_folder, "ingest"):
        ingest(house.lake, admin, house.clock, house.settings.time_zone, progress)
    report = experiment_report(house.lake, design, house.clock.now())
    return Measured(design, simulated, report, statements(house.lake))


def _shop(house: House, experiment: str) -> Shop:
    lake = house.lake
    products = lake.fetch(lake.table("products").order_by("product_id").limit(1)).to_pylist()
    if not products:
        raise NothingToDo("the lake holds no products; load some with 'regulars load'")
    offers = lake.fetch(lake.table("offers").select("offer_id", "cost")).to_pylist()
    return Shop(
        costs={offer["offer_id"]: offer["cost"] for offer in offers},
        margin_rate=own if (own := products[0]["margin_rate"]) is not None else margin_rate(lake),
        product_id=products[0]["product_id"],
        experiment=experiment,
    )
