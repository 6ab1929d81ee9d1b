"""The console's desk: what it shows, read from the lake, the registry and the database.

Each call opens a lake of its own, because one DuckDB connection cannot serve several threads.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import ibis

from adapters.postgres_admin import PostgresAdmin, StoredExperiment
from experiments.holdout import HOLDOUT
from experiments.programme import Programme
from experiments.report import Report
from foundation.access import User
from foundation.audit import AuditEntry
from foundation.clock import Clock
from foundation.errors import NothingToDo, RegularsError
from foundation.lake import Lake
from foundation.money import Currency
from foundation.settings import Settings
from recommender.model_card import ModelCard, ModelCards
from regulars.contacts import contact_costs
from regulars.jobs.clusters import stored_model
from regulars.jobs.ingest import CURSOR
from regulars.jobs.overview import overview, report_of
from regulars.jobs.runs import all_runs
from segmentation.lifecycle import STATES
from segmentation.rfm import GROUPS
from serving.console.desk import Group, Holdings, Segments, Trial
from serving.profiles import ProfileStore, refresh

SPEND_DAYS = 365
NO_EXPERIMENT = "there is no experiment yet; start one with 'regulars experiment start FILE'"
# What experiment_report's margin is made of where the data do not say.
BEHIND_MONEY = ("margin_rate", "offer_reward")


class HouseDesk:
    """See serving.console.desk.Desk."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        open_lake: Callable[[], Lake],
        cards: Callable[[], ModelCards],
        profiles: ProfileStore,
        admin: PostgresAdmin,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._open_lake = open_lake
        self._cards = cards
        self._profiles = profiles
        self._admin = admin
        self._reports: dict[str, tuple[tuple[Any, ...], Report]] = {}

    @property
    def currency(self) -> Currency:
        return self._settings.currency

    @property
    def zone(self) -> ZoneInfo:
        return self._settings.zone

    def segments(self) -> Segments:
        lake = self._open_lake()
        rows = lake.table("segments")
        runs = all_runs(lake)
        if not runs:
            raise NothingToDo(_missing_run(lake))
        as_of = runs[-1].as_of
        latest = rows.filter(rows.run_id == runs[-1].run_id)
        bought = lake.table("purchases").filter(
            lambda t: (
                (t["at"] < ibis.literal(as_of))
                & (t["at"] >= ibis.literal(as_of - timedelta(days=SPEND_DAYS)))
            )
        )
        spend = bought.group_by("customer_id").aggregate(spend=lambda t: t.amount.sum())
        named = latest.left_join(spend, "customer_id").select(
            "rfm", "lifecycle", "cluster", spend=lambda t: t.spend.fill_null(0)
        )
        found = lake.fetch(named)

        def groups(segmentation: str, order: list[str]) -> tuple[Group, ...]:
            sums = found.group_by(segmentation).aggregate([("spend", "count"), ("spend", "sum")])
            made = [
                Group(row[segmentation], row["spend_count"], row["spend_sum"])
                for row in sums.to_pylist()
            ]
            places = {name: place for place, name in enumerate(order)}
            return tuple(
                sorted(made, key=lambda g: (places.get(g.name, len(places)), -g.customers))
            )

        drawn = groups("cluster", [])
        stored = stored_model(lake, as_of)
        # A run without stable clusters leaves the last model stored, and drew nothing from it.
        names = {group.name for group in drawn}
        told = [] if stored is None else [c for c in stored.model.clusters if c.name in names]
        return Segments(
            as_of=as_of,
            days=SPEND_DAYS,
            rfm=groups("rfm", list(GROUPS)),
            lifecycle=groups("lifecycle", list(STATES)),
            cluster=drawn,
            cluster_rules={cluster.name: cluster.told for cluster in told},
            cluster_stability=stored.model.stability.value if stored and told else None,
        )

    def champion(self) -> ModelCard:
        card = self._cards().card("champion")
        if card is None:
            raise NothingToDo("there is no offer model yet; train one with 'regulars train'")
        return card

    def trial(self) -> Trial:
        stored = self._shown_experiment()
        lake = self._open_lake()
        report: Report | None = None
        refused: str | None = None
        try:
            report = report_of(lake, stored, self._clock.now(), contact_costs(self._settings))
        except RegularsError as refusal:
            refused = str(refusal)
        told = lake.fetch(lake.table("assumptions").order_by("name")).to_pylist()
        return Trial(
            design=stored.design,
            started_at=stored.started_at,
            stopped_at=stored.stopped_at,
            report=report,
            refused=refused,
            money_rests_on=tuple(r["statement"] for r in told if r["name"] in BEHIND_MONEY),
            assumed=tuple(r["statement"] for r in told if r["name"] not in BEHIND_MONEY),
        )

    def programme(self) -> Programme:
        stored = self._admin.experiments()
        if not stored:
            raise NothingToDo(NO_EXPERIMENT)
        lake, now = self._open_lake(), self._clock.now()

        def report(one: StoredExperiment) -> Report:
            # Of many experiments few move: a report is made anew with new data, or on a new day.
            made_from = (one.content_hash, one.stopped_at, lake.version, now.date())
            kept = self._reports.get(one.design.key)
            if kept is None or kept[0] != made_from:
                kept = (made_from, report_of(lake, one, now, contact_costs(self._settings)))
                self._reports[one.design.key] = kept
            return kept[1]

        return overview(lake, stored, now, report)

    def holdings(self) -> Holdings:
        lake = self._open_lake()
        decisions = lake.table("decisions")
        ingested = lake.fetch(decisions.aggregate(n=decisions.count()))["n"][0].as_py()
        refresh(self._profiles)
        return Holdings(
            snapshot=self._profiles.facts(),
            lake_version=lake.version,
            recorded=ingested + self._admin.count_decisions(lake.note(CURSOR)),
            ingested=ingested,
        )

    def changes(self, most: int) -> list[AuditEntry]:
        return self._admin.audit.newest(most)

    def stop_experiment(self, key: str, user: User) -> None:
        self._admin.acting(f"user {user.name}").stop_experiment(key, self._clock.now())

    def _shown_experiment(self) -> StoredExperiment:
        stored = self._admin.experiments()
        if not stored:
            raise NothingToDo(NO_EXPERIMENT)
        # The holdout always runs: what people look for is the test beside it.
        shown = [s for s in stored if s.design.key != HOLDOUT] or stored
        return next((s for s in shown if s.stopped_at is None), shown[0])


def _missing_run(lake: Lake) -> str:
    customers = lake.table("customers")
    if lake.fetch(customers.aggregate(n=customers.count()))["n"][0].as_py():
        return "customers are loaded, and not yet in segments; run 'regulars segment'"
    return (
        "the lake holds no customers; load some with 'regulars load SOURCE', "
        "then run 'regulars segment'"
    )
