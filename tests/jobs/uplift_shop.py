"""A shop whose offers' true effects are known: decided by the service's own code, told to a lake.

Half of all customers love offer a, half, independently, offer b; nobody offer c. Shown what she
loves first she redeems with .6, and each such redemption brings 500 of margin that was not there
before; what she does not love she redeems with .5 on what she buys anyway. A redemption costs 80.
So a loved offer earns .6 x (500 - 80) = 252 a decision, another one -.5 x 80 = -40; without any she
brings a gamma variable of mean 400.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np

from adapters.duckdb_lake import DuckDbLake
from adapters.postgres_admin import StoredExperiment
from experiments.design import Experiment, Variant
from foundation.contracts import TABLES
from foundation.decision import DecisionRecord, Policy, encode
from foundation.features import definitions
from foundation.offer import read_offer
from foundation.profile import LiveState, Profile, SnapshotFacts
from recommender.affinity import response_hash
from serving.catalogue import Catalogue
from serving.decide import Knowledge, decide
from serving.messages import AskedPlacement, DecisionRequest
from serving.uplift_scoring import UpliftScorer

START = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 14
ZONE = "America/New_York"
FEATURES = definitions([])
WIDTH = len(FEATURES)
NAMES = tuple(feature.name for feature in FEATURES)
HASH = response_hash(FEATURES)
SNAPSHOT = SnapshotFacts("s-1", START - DAY, NAMES, HASH, 2)
OFFERS = ("a", "b", "c")
LOVED, UNLOVED = 0.6 * (500 - 80), -0.5 * 80
USUAL = 400.0


def effects(vectors: np.ndarray) -> np.ndarray:
    """Return the true effect of each offer at the first position, shape (n, 3)."""
    loved = np.column_stack([vectors[:, 0] > 0, vectors[:, 1] > 0, np.zeros(len(vectors))])
    return np.where(loved > 0, LOVED, UNLOVED)


def draw_vectors(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, WIDTH))


def offer_row(offer_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "offer_id": offer_id, "title": offer_id, "kind": "amount", "reward": 100.0,
        "min_spend": 0, "scope": [], "channels": [], "placements": [], "stores": [],
        "valid_from": START - DAY, "valid_to": START + 90 * DAY, "cost": 80, "priority": 0,
        "combinable": True, "attribution_days": DAYS, **changed,
    }  # fmt: skip


def design(drawing: str = "random", **changed: Any) -> Experiment:
    fields: dict[str, Any] = {
        "key": "who-gains",
        "salt": "who-gains",
        "variants": [Variant("none", 0.5, policy="none"), Variant("some", 0.5, policy=drawing)],
        "control": "none",
    }
    return Experiment(**(fields | changed))


def stored(*designs: Experiment) -> list[StoredExperiment]:
    return [StoredExperiment(one, "", START - DAY, None) for one in designs]


@dataclass
class Shop:
    """Decides and keeps what happens, until it is put into a lake."""

    designs: tuple[Experiment, ...]
    exploration: float = 0.1
    uplift: UpliftScorer | None = None
    limit: int = 1
    records: list[DecisionRecord] = field(default_factory=list[DecisionRecord])
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    redeemed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @cached_property
    def known(self) -> Knowledge:
        documents = [
            {
                "eligibility": None, "customer_cap": None, "exclusive_group": None,
                "campaign_kind": None, **offer_row(offer_id),
                "valid_from": (START - DAY).isoformat(),
                "valid_to": (START + 90 * DAY).isoformat(),
            }
            for offer_id in OFFERS
        ]  # fmt: skip
        offers = [read_offer(one, 0.1 * n) for n, one in enumerate(documents)]
        return Knowledge(
            Catalogue(1, offers, self.designs).compiled(SNAPSHOT.vocabulary),
            SNAPSHOT.version,
            NAMES,
            None,
            Policy("popular", self.exploration),
            ZONE,
            feature_hash=HASH,
            uplift=self.uplift,
        )

    def visit(self, customer: str, vector: np.ndarray, at: datetime, n: int) -> DecisionRecord:
        profile = Profile(customer, None, None, vector, {})
        asked = DecisionRequest(customer, "app", [AskedPlacement("checkout", self.limit)])
        record = decide(
            asked, profile, LiveState({}), self.known, decision_id=f"d-{n}", at=at, seed=n
        )
        self.records.append(record)
        self._respond(record, vector, np.random.default_rng([n, 3]))
        return record

    def _respond(self, record: DecisionRecord, vector: np.ndarray, draw: Any) -> None:
        at = record.at + timedelta(hours=1)
        margins = [round(float(draw.gamma(2.0, USUAL / 2)))]
        shown = record.slates[0].offers
        if shown:
            place = OFFERS.index(shown[0].offer_id)
            loved = effects(vector[None])[0, place] > 0
            if draw.random() < (0.6 if loved else 0.5):
                self.redeemed.append(
                    {
                        "event_id": f"{record.decision_id}-redeem", "at": at, "channel": "app",
                        "customer_id": record.customer_id, "kind": "redeem",
                        "offer_id": shown[0].offer_id, "decision_id": record.decision_id,
                    }
                )  # fmt: skip
                margins += [500] if loved else []
        self.lines += [
            {
                "line_id": f"{record.decision_id}-{i}", "customer_id": record.customer_id,
                "order_id": record.decision_id, "product_id": "p", "at": at, "channel": "till",
                "local_day": 20_577, "local_hour": 8, "quantity": 1.0, "amount": 4 * margin,
                "discount": 0, "offer_discount": 0, "margin": margin,
            }
            for i, margin in enumerate(margins)
        ]  # fmt: skip

    def put_into(self, lake: DuckDbLake) -> None:
        rows = {
            "offers": [offer_row(offer_id) for offer_id in OFFERS],
            "purchases": self.lines,
            "interactions": self.redeemed,
            "decisions": [decision_row(record) for record in self.records],
        }
        with lake.write() as write:
            for table, made in rows.items():
                if made:
                    assert write.merge(table, TABLES[table].from_rows(made)).conflicts == ()


def decision_row(record: DecisionRecord) -> dict[str, Any]:
    return {
        "decision_id": record.decision_id, "customer_id": record.customer_id, "at": record.at,
        "channel": record.channel, "known": record.known,
        "propensity_valid": record.propensity_valid, "policy": record.policy.kind,
        "experiments": encode(record.assignments).decode(),
        "slates": encode(record.slates).decode(), "record": encode(record).decode(),
    }  # fmt: skip


def opened(
    n: int,
    lake: DuckDbLake,
    *designs: Experiment,
    seed: int = 1,
    alike: bool = False,
    start: datetime = START,
    **fields: Any,
) -> Shop:
    """Let n customers come once, and one more when all windows are over.

    Args:
        start: When they come.
        alike: All love offer a, so that nobody gains by another one.
    """
    shop = Shop(designs, **fields)
    vectors = draw_vectors(n, seed)
    if alike:
        vectors[:, 0] = np.abs(vectors[:, 0])
    for i, vector in enumerate(vectors, start=1_000_000 * seed):
        shop.visit(f"c-{i}", vector, start + timedelta(seconds=i % 1_000_000), i)
    last = "last" if start == START else f"last-{seed}"
    shop.visit(last, vectors[0], start + (DAYS + 2) * DAY, 1_000_000 * (seed + 1) - 1)
    shop.put_into(lake)
    return shop
