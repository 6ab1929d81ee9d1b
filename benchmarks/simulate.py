"""Does the experiment report find the truth? Many A/B and A/A tests on one loaded base.

The base is a grocer's real year as it was; each shopper's slate is decided once, so her true
effect is known exactly. Each seed salts the assignment anew and redraws every response. The
interval should hold the mean true effect in 95 % of seeds, and without any effect p-values
should be uniform.
"""

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from adapters.complete_journey import read_complete_journey
from benchmarks.run import Bar
from experiments.assignment import variant_of
from experiments.design import Experiment, Variant
from experiments.effect import Effect
from experiments.report import analyse
from foundation.clock import FixedClock
from foundation.decision import Policy
from foundation.offer import Offer, read_offer
from foundation.profile import LiveState
from foundation.settings import Settings
from recommender.affinity import response_hash
from recommender.response import train_response
from regulars.assumptions import margin_rate
from regulars.jobs.customers import SEED, customer_features, registry
from regulars.jobs.load import load
from regulars.jobs.segment import segment
from regulars.jobs.train import training_frame
from regulars.progress import Progress
from regulars.shoppers import Shoppers, shoppers_from, true_effect, visit
from regulars.wiring import House
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedPlacement, DecisionRequest
from serving.profiles import ProfileStore
from serving.scoring import Scorer

# The first local midnight after the data: five campaigns of 2017 are still running then.
NOW = datetime(2018, 1, 1, 5, tzinfo=UTC)
COVERAGE = (0.92, 0.98)
UNIFORM = 0.01


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=200, help="experiments of each kind")
    parser.add_argument("--seed", type=int, default=0, help="where the chance begins")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return coverage of the planted effect and the uniformity of A/A p-values."""
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="regulars-benchmark-") as folder:
        base = Base(House(Settings(home=Path(folder)), FixedClock(NOW)), progress)
    found: list[Effect] = []
    same: list[Effect] = []
    with progress.step("experiments") as step:
        step.expect(options.seeds)
        for seed in range(options.seed, options.seed + options.seeds):
            found += base.experiment(seed, base.slates)
            same += base.experiment(seed, [[] for _ in base.slates])
            step.advance()
        step.show(f"{options.seeds} A/B and {options.seeds} A/A tests")
    covered = [
        e.low <= base.truth <= e.high for e in found if e.low is not None and e.high is not None
    ]
    p_values = [e.p for e in same if e.p is not None]
    interval = stats.binomtest(sum(covered), len(covered)).proportion_ci(method="wilson")
    return {
        "coverage": float(np.mean(covered)),
        "coverage_low": float(interval.low),
        "coverage_high": float(interval.high),
        "aa_ks_p": float(stats.kstest(p_values, "uniform").pvalue),
        "aa_rejections": float(np.mean(np.array(p_values) < 0.05)),
        "seeds": options.seeds,
        # Split by chance so unevenly that the report shows no effect, about one in a thousand; or
        # too skewed to compare.
        "refused": 2 * options.seeds - len(covered) - len(p_values),
        "customers": len(base.shoppers.customer_ids),
        "truth_minor_units": base.truth,
    }


def bars(figures: dict[str, Any]) -> list[Bar]:
    coverage, uniform = figures["coverage"], figures["aa_ks_p"]
    low, high = COVERAGE
    return [
        Bar("coverage", coverage, f"{low} to {high}", low <= coverage <= high),
        Bar("aa_ks_p", uniform, f"above {UNIFORM}", uniform > UNIFORM),
    ]


class Shelf:
    """Keeps the published offers in memory; no service runs that could be told anything."""

    def __init__(self) -> None:
        self.offers: list[Offer] = []

    def publish_offers(
        self, offers: Sequence[dict[str, Any]], popularity: dict[str, float]
    ) -> bool:
        self.offers += [read_offer(d, popularity[d["offer_id"]]) for d in offers]
        return True

    def audiences(self) -> list[dict[str, Any]]:
        return []

    def told_redemptions(self) -> list[str]:
        return []


class Base:
    """The loaded base: shoppers, the slate decided for each, and the mean true effect."""

    def __init__(self, house: House, progress: Progress) -> None:
        lake = house.lake
        load(lake, read_complete_journey(0), house.clock, progress)
        shelf = Shelf()
        segment(lake, house.publish_snapshot, shelf, house.settings, NOW, progress)
        self.shoppers: Shoppers = shoppers_from(customer_features(lake, NOW))
        self.rate = margin_rate(lake)
        self.costs = {offer.offer_id: offer.cost for offer in shelf.offers}
        with progress.step("train") as step:
            trained = train_response(
                training_frame(lake, house.settings), response_hash(registry(lake)), SEED
            )
            step.show(trained.verdict())
        model = trained.models[trained.champion]
        profiles = house.profiles()
        facts = profiles.facts()
        assert facts is not None  # noqa: S101  published a moment ago
        known = Knowledge(
            catalogue=Catalogue(1, shelf.offers, []).compiled(facts.vocabulary),
            snapshot=facts.version,
            feature_names=facts.names,
            scorer=Scorer("response@benchmark", model, facts),
            default_policy=Policy("response", house.settings.exploration),
            time_zone=house.settings.time_zone,
            feature_hash=facts.feature_hash,
            places=facts.places,
        )
        self.slates = [
            _slate(str(customer_id), known, profiles, number)
            for number, customer_id in enumerate(self.shoppers.customer_ids)
        ]
        effects = [
            true_effect(mean, liking, slate, self.costs, self.rate)
            for mean, liking, slate in zip(
                self.shoppers.mean_basket, self.shoppers.liking, self.slates, strict=True
            )
        ]
        self.truth = float(np.mean(effects))

    def experiment(self, seed: int, slates: list[list[str]]) -> list[Effect]:
        """Run one experiment: these slates against none, on a fresh salt and fresh responses.

        Returns:
            The effect on margin; none where the report refuses an uneven split.
        """
        design = Experiment(
            key=f"benchmark-{seed}",
            salt=f"benchmark-{seed}-{'ab' if any(slates) else 'aa'}",
            variants=[Variant("none", 0.5), Variant("offers", 0.5)],
            control="none",
        )
        draw = np.random.default_rng([seed, int(any(slates))])
        rows: list[tuple[str, str, float]] = []
        shoppers = self.shoppers
        for i, customer_id in enumerate(shoppers.customer_ids):
            variant = variant_of(design, str(customer_id)).name
            shown = slates[i] if variant == "offers" else []
            did = visit(float(shoppers.mean_basket[i]), float(shoppers.liking[i]), shown, draw)
            spent = did.basket + sum(redeemed.extra for redeemed in did.redemptions)
            cost = sum(self.costs[redeemed.offer_id] for redeemed in did.redemptions)
            rows.append((str(customer_id), variant, spent * self.rate - cost))
        units = pd.DataFrame(rows, columns=["unit_id", "variant", "margin"])
        return [
            effects["offers"] for effects in analyse(design, units, ["margin"]).metrics.values()
        ]


def _slate(customer_id: str, known: Knowledge, profiles: ProfileStore, seed: int) -> list[str]:
    record = decide(
        DecisionRequest(customer_id, "app", [AskedPlacement("checkout", 3)]),
        profiles.get(customer_id),
        LiveState({}),
        known,
        decision_id=f"benchmark-{customer_id}",
        at=NOW,
        seed=seed,
    )
    return [shown.offer_id for shown in record.slates[0].offers]
