"""Measure: let simulated shoppers through a running experiment and hold the report to the truth.

The truth is what was planted in all simulated visits of the experiment, of this run and of earlier
ones, summed for each unit and averaged over a variant as the report does it.
"""

import time
from dataclasses import dataclass
from typing import Any

from adapters.postgres_admin import PostgresAdmin
from experiments.design import Experiment
from experiments.effect import Effect
from experiments.holdout import HOLDOUT
from experiments.report import Report, summary_lines
from foundation.access import APP_SCOPES
from foundation.errors import NothingToDo, StoreUnavailable
from foundation.lake import Lake
from foundation.money import Currency
from foundation.outcome import SIMULATED
from regulars.assumptions import margin_rate, statements
from regulars.contacts import contact_costs
from regulars.jobs.assigned import assigned_decisions
from regulars.jobs.customers import customer_features
from regulars.jobs.ingest import ingest
from regulars.jobs.report import experiment_report
from regulars.jobs.simulate import Shop, Simulated, simulate
from regulars.locks import only_one
from regulars.progress import Progress
from regulars.shoppers import shoppers_from
from regulars.wiring import House

# Decisions are passed on ten times a second.
ARRIVAL_SECONDS = 30.0


@dataclass(frozen=True)
class Measured:
    """An experiment's report beside the effect that was planted."""

    design: Experiment
    simulated: Simulated
    report: Report
    # By variant without the control: planted effect on margin against it, minor units a unit.
    truth: dict[str, float]
    assumptions: list[str]

    @property
    def effects(self) -> dict[str, Effect]:
        """The report's effects on margin by variant; none where it refuses to show them."""
        return self.report.metrics.get("margin", {})

    def figures(self) -> dict[str, Any]:
        """Return decisions and the experiment's figures, first variant on top; minor units."""
        variants = {name: self._figures(name) for name in self.truth}
        first = next(iter(variants.values()))
        return {
            "decisions": self.simulated.decisions,
            "experiment": {
                "key": self.design.key,
                **first,
                "sample_ratio_p": self.report.sample_ratio.p,
                "variants": variants,
            },
        }

    def _figures(self, variant: str) -> dict[str, float | None]:
        effect = self.effects.get(variant)
        return {
            "estimate": None if effect is None else effect.difference,
            "low": None if effect is None else effect.low,
            "high": None if effect is None else effect.high,
            "truth": self.truth[variant],
        }

    def told(self, currency: Currency) -> list[str]:
        """Return the report, the truth and the assumptions as people read them."""
        lines = summary_lines(self.report, currency.show)
        for variant, planted in self.truth.items():
            effect = self.effects.get(variant)
            place = "beside it no interval"
            if effect is not None and effect.low is not None and effect.high is not None:
                inside = effect.low <= planted <= effect.high
                place = f"{'inside' if inside else 'outside'} the interval"
            lines.append(
                f"planted truth, {variant}: {currency.show(planted)} margin a "
                f"{self.design.unit}, {place}"
            )
        return [*lines, *(f"assumed: {statement}" for statement in self.assumptions)]


def simulate_experiment(
    house: House, admin: PostgresAdmin, url: str, seed: int, progress: Progress
) -> Measured:
    """Send every customer of the lake to a running service once and report on what runs there.

    Raises:
        NothingToDo: No experiment runs, or the lake holds no purchases.
        StoreUnavailable: The service does not answer.
    """
    running = [
        stored
        for stored in admin.experiments()
        if stored.stopped_at is None and stored.design.key != HOLDOUT
    ]
    if not running:
        raise NothingToDo("no experiment runs; start one with 'regulars experiment start FILE'")
    design = running[0].design
    shoppers = shoppers_from(customer_features(house.lake, house.clock.now()))
    key, before = admin.make_key("simulation", APP_SCOPES), admin.count_decisions()
    try:
        simulated = simulate(url, key, shoppers, _shop(house), house.clock, seed, progress)
    finally:
        admin.revoke_key(key)
    _wait_for(admin, before + simulated.decisions)
    with only_one(house.settings.lock_folder, "ingest"):
        ingest(house.lake, admin, house.clock, house.settings.time_zone, progress)
    costs = contact_costs(house.settings)
    report = experiment_report(house.lake, design, house.clock.now(), contact_costs=costs)
    truth = planted_effects(house.lake, design)
    return Measured(design, simulated, report, truth, statements(house.lake))


def _wait_for(admin: PostgresAdmin, decisions: int) -> None:
    """Wait until so many are in the database: an answered decision is there a moment later."""
    until = time.monotonic() + ARRIVAL_SECONDS
    while (found := admin.count_decisions()) < decisions:
        if time.monotonic() > until:
            raise StoreUnavailable(
                f"{decisions - found:,} answered decisions are not in the database yet; look at "
                "'regulars serve' for why, then measure by 'regulars experiment report'"
            )
        time.sleep(0.05)


def planted_effects(lake: Lake, design: Experiment) -> dict[str, float]:
    """Return by variant what simulated visits really added to a unit's margin against the control.

    A unit whom nothing was planted in counts with 0, as it does in the report.
    """
    visits = lake.table("interactions").filter(
        lambda t: (t.kind == "visit") & (t.text == SIMULATED) & t.value.notnull()
    )
    planted = lake.fetch(visits.select("decision_id", "value")).to_pandas()
    found = assigned_decisions(lake, design).merge(planted, on="decision_id", how="left")
    by_unit = found.groupby(["variant", "unit_id"])["value"].sum()
    by_variant = by_unit.groupby("variant").mean()
    return {
        variant.name: float(by_variant[variant.name] - by_variant[design.control])
        for variant in design.variants
        if variant.name != design.control
    }


def _shop(house: House) -> Shop:
    lake = house.lake
    # What is bought need not be described: a lake of purchases alone will do.
    sold = lake.table("purchases").select("product_id").distinct()
    sold = sold.left_join(lake.table("products"), "product_id").select("product_id", "margin_rate")
    products = lake.fetch(sold.order_by("product_id").limit(1)).to_pylist()
    if not products:
        raise NothingToDo("the lake holds no purchases; load some with 'regulars load'")
    offers = lake.fetch(lake.table("offers").select("offer_id", "cost")).to_pylist()
    return Shop(
        costs={offer["offer_id"]: offer["cost"] for offer in offers},
        margin_rate=own if (own := products[0]["margin_rate"]) is not None else margin_rate(lake),
        product_id=products[0]["product_id"],
    )
