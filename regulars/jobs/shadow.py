"""The shadow of a model: which version scores beside the champion, and how that goes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import prometheus_client
from prometheus_client import multiprocess

from foundation.errors import RegularsError
from foundation.lake import Lake
from foundation.model_life import Version
from foundation.scores import Interval
from recommender.agreement import same_top, share
from recommender.registry import RESPONSE
from recommender.uplift_registry import UPLIFT
from regulars.jobs.model_kinds import kind_of, version_of
from regulars.jobs.off_policy import newest_decisions
from regulars.jobs.promotion_value import scores_of
from regulars.jobs.recorded_scores import RecordedScores
from regulars.wiring import House

# Agreement is told of so many of the newest decisions: they take a second or two.
MOST_DECISIONS = 2_000
FEWEST_CUSTOMERS = 10


@dataclass(frozen=True)
class Running:
    """What a service on this machine counted since its start."""

    scored: int
    failed: int
    dropped: int
    # Nine in ten and 99 in 100 decisions took at most so long; None where none was scored.
    seconds_90: float | None
    seconds_99: float | None


@dataclass(frozen=True)
class Shadowed:
    """A shadow beside its champion; without an `agreement` `refusal` says why."""

    shadow: str
    champion: str
    decisions: int
    agreement: Interval | None
    refusal: str | None
    running: Running | None

    def told(self) -> list[str]:
        """Return it as people read it."""
        if self.agreement is None:
            same = f"agreement not told: {self.refusal}"
        else:
            one = self.agreement
            same = (
                f"the same offer first in {one.value:.1%} [{one.low:.1%}, {one.high:.1%}] of "
                f"{self.decisions:,} decisions"
            )
        lines = [f"{self.shadow} shadows {self.champion}: {same}"]
        if self.running is None:
            return [
                *lines,
                "  no service runs here: its own /metrics tells how the shadow keeps up",
            ]
        run = self.running
        took = ""
        if run.seconds_90 is not None and run.seconds_99 is not None:
            took = (
                f"; 90 % within {1000 * run.seconds_90:g} ms, 99 % within "
                f"{1000 * run.seconds_99:g} ms"
            )
        return [
            *lines,
            f"  since the service started: {run.scored:,} scored, {run.failed:,} failed, "
            f"{run.dropped:,} dropped for being behind{took}",
        ]


def set_shadow(house: House, name: str) -> Version:
    """Let a version score beside the champion.

    Args:
        name: A version (response@7), or a model, whose challenger is meant.

    Raises:
        RegularsError: No policy ranks by it, or there is no such version, challenger or champion;
            or the version is the champion.
    """
    model = _ranked_by(name.partition("@")[0])
    version = version_of(house, name) if "@" in name else house.life.named(model, "challenger")
    if version is None:
        raise RegularsError(f"model {model!r} has no challenger; run 'regulars train {model}'")
    champion = house.life.named(model, "champion")
    if champion is None or champion.number == version.number:
        raise RegularsError(
            f"model {version.name!r} has no champion beside it to shadow; name another version, or "
            f"run 'regulars train {model}'"
        )
    house.life.shadow(version)
    return version


def end_shadow(house: House, model: str) -> Version:
    """Let no version of a model score beside the champion.

    Raises:
        RegularsError: There is no such model, or it has no shadow.
    """
    before = house.life.named(_ranked_by(model), "shadow")
    if before is None:
        raise RegularsError(f"model {model!r} has no shadow; nothing to end")
    house.life.end_shadow(model)
    return before


def shadowed(house: House, lake: Lake) -> list[Shadowed]:
    """Return how every shadow does beside its champion."""
    found: list[Shadowed] = []
    for model in (RESPONSE, UPLIFT):
        shadow, champion = (house.life.named(model, a) for a in ("shadow", "champion"))
        if shadow is not None and champion is not None:
            found.append(_shadowed(house, lake, shadow, champion))
    return found


def _shadowed(house: House, lake: Lake, shadow: Version, champion: Version) -> Shadowed:
    running = _running(house.settings.home, shadow.name)
    rows: list[tuple[str, bool]] = []
    refusal = None
    try:
        again = RecordedScores(lake, house.settings)
        scores = scores_of(house, again, shadow)
        for record in newest_decisions(lake, MOST_DECISIONS):
            # The champion's own decisions: what it scored is in the record.
            if record.versions.model != champion.name or record.policy.scored != shadow.model:
                continue
            told = scores(record) if record.scores else None
            if told is not None:
                rows.append((record.customer_id, same_top(told, record.scores)))
    except RegularsError as error:
        refusal = str(error)
    agreement = None
    if refusal is None:
        customers = {customer_id for customer_id, _ in rows}
        if len(customers) < FEWEST_CUSTOMERS:
            refusal = (
                f"the champion decided for {len(customers)} customers among the newest decisions "
                f"in the lake, {FEWEST_CUSTOMERS} are needed; run 'regulars ingest'"
            )
        else:
            agreement = share(
                np.array([same for _, same in rows], dtype=np.float64),
                np.array([customer_id for customer_id, _ in rows], dtype=object),
            )
    return Shadowed(shadow.name, champion.name, len(rows), agreement, refusal, running)


def _ranked_by(model: str) -> str:
    kind_of(model)
    if model not in (RESPONSE, UPLIFT):
        raise RegularsError(
            f"model {model!r} ranks no offers at the till, so that nothing shadows it; name "
            f"{RESPONSE} or {UPLIFT}"
        )
    return model


def _running(home: Path, shadow: str) -> Running | None:
    """Read the figures of services that run on this deployment's folder; None where none does."""
    folders = [folder for folder in home.glob("metrics-*") if folder.is_dir()]
    counts = {"scored": 0.0, "failed": 0.0, "dropped": 0.0}
    below: dict[float, float] = {}
    for folder in folders:
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(folder))
        for sample in (s for family in registry.collect() for s in family.samples):
            if sample.labels.get("model") != shadow:
                continue
            if sample.name == "regulars_shadow_decisions_total":
                counts[sample.labels["result"]] += sample.value
            elif sample.name == "regulars_shadow_seconds_bucket":
                bound = float(sample.labels["le"])
                below[bound] = below.get(bound, 0.0) + sample.value
    if not folders:
        return None
    return Running(
        **{result: int(n) for result, n in counts.items()},
        seconds_90=_quantile(below, 0.9),
        seconds_99=_quantile(below, 0.99),
    )


def _quantile(below: dict[float, float], share: float) -> float | None:
    """Return the smallest bound of a histogram that holds a share of it."""
    total = max(below.values(), default=0.0)
    if total == 0:
        return None
    return next(bound for bound in sorted(below) if below[bound] >= share * total)
