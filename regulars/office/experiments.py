"""Experiments, as marketers' programs plan, start, stop and read them."""

import re
import threading
from typing import Any

import msgspec
from rich.console import Console

from adapters.postgres_admin import PostgresAdmin, StoredExperiment
from experiments.design import Experiment, read_design
from experiments.holdout import HOLDOUT
from experiments.layers import LayerTaken
from experiments.lock import differing_fields
from foundation.errors import RegularsError, StoreUnavailable
from foundation.replay import digest
from regulars.assumptions import statements
from regulars.contacts import contact_costs
from regulars.jobs.experiment import check_plan, start_experiment, waits_for
from regulars.jobs.follow_up import with_follow_up
from regulars.jobs.ingest import ingest
from regulars.jobs.overview import report_of
from regulars.jobs.ranking_models import check_models
from regulars.jobs.report import More
from regulars.jobs.simulated import without_simulated
from regulars.jobs.uplift_bins import UpliftModels
from regulars.locks import only_one
from regulars.office.changes import changed, check_seen
from regulars.office.room import Room
from regulars.progress import Progress
from serving.errors import InvalidField
from serving.office.asking import Asked, Told
from serving.office.experiment_messages import (
    ExperimentList,
    ExperimentTerms,
    NewExperiment,
    RemovedExperiment,
    ReportAnswer,
    ShownExperiment,
)
from serving.problems import Problem

# Fields by the word with which a broken rule of them begins.
_FIELDS = {
    "channel": "channels",
    "it": "variants",
    "layer": "layer",
    "margin": "guardrails",
    "metric": "secondary_metrics",
    "offer": "variants",
    "policy": "variants",
    "segmentation": "segments",
    "variant": "variants",
    "weight": "variants",
    "weights": "variants",
    "a": "variants",
}


class Experiments:
    """The operations of /v1/experiments."""

    def __init__(self, room: Room) -> None:
        self._room = room
        # Two reports at a time would refuse each other the one ingest.
        self._bringing_in = threading.Lock()

    def page(self, asked: Asked[None]) -> Told:
        """Return some experiments, drafts among them."""
        admin = self._room.admin
        shown = {key: _draft(key, document) for key, document in admin.drafts.all().items()}
        shown |= {one.design.key: _started(one) for one in admin.experiments()}
        keys, after = asked.page.of(shown)
        return Told(ExperimentList([shown[key] for key in keys], after))

    def one(self, asked: Asked[None]) -> Told:
        """Return an experiment."""
        shown = _required(self._room.admin, asked.subject)
        return Told(shown, shown.version)

    def add(self, asked: Asked[NewExperiment]) -> Told:
        """Keep a plan as a draft."""
        key = asked.body.key

        def change(admin: PostgresAdmin) -> Told:
            before = _found(admin, key)
            if before is not None:
                raise Problem(
                    409,
                    "experiment_exists",
                    f"experiment {key!r} is there already ({before.state}); give the new one a key "
                    "of its own",
                    "key",
                )
            return self._drafted(admin, key, asked.body, 201)

        return changed(self._room.admin, asked, change)

    def put(self, asked: Asked[ExperimentTerms]) -> Told:
        """Keep a draft in the place of what there is; of what runs, let more in."""
        key = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            before = _found(admin, key)
            check_seen(asked, before and before.version, f"experiment {key!r}")
            if before is None or before.state == "draft":
                return self._drafted(admin, key, asked.body, 200)
            shown = self._ramped_up(admin, key, asked.body)
            return Told(shown, shown.version)

        return changed(self._room.admin, asked, change)

    def remove(self, asked: Asked[None]) -> Told:
        """Forget a draft."""
        key = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            before = _seen(admin, asked)
            if before.state != "draft":
                raise Problem(
                    409,
                    "experiment_started",
                    f"experiment {key!r} is {before.state}; what was started stays for its report",
                    "key",
                )
            admin.drafts.remove(key, self._room.clock.now())
            return Told(RemovedExperiment(key))

        return changed(self._room.admin, asked, change)

    def start(self, asked: Asked[None]) -> Told:
        """Start a draft; from now on its plan is locked."""
        key = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            before = _seen(admin, asked)
            if before.state != "draft":
                detail = f"experiment {key!r} is {before.state}; give a new one a key of its own"
                raise Problem(409, f"experiment_{before.state}", detail, "key")
            now, lake = self._room.clock.now(), without_simulated(self._room.lake())
            plan = read_design(_with_policies(admin, admin.drafts.one(key)))
            plan, counted = with_follow_up(lake, plan, now)
            vocabulary = self._room.vocabulary()
            try:
                check_models(self._room.house, plan)
                stored = start_experiment(admin, plan, now, vocabulary)
            except LayerTaken as error:
                raise Problem(409, "layer_taken", _one_line(error), "layer") from error
            except RegularsError as error:
                raise _of_plan(plan.primary_metric, error) from error
            admin.drafts.remove(key, now, logged=False)
            waits = None if vocabulary is None else waits_for(plan, vocabulary)
            notes = [] if counted is None else [counted]
            if waits is not None:
                notes.append(f"it assigns nobody before the next 'regulars segment': {waits}")
            shown = _started(stored, notes)
            return Told(shown, shown.version)

        return changed(self._room.admin, asked, change)

    def stop(self, asked: Asked[None]) -> Told:
        """Stop what runs; nobody is assigned any more."""
        key = asked.subject

        def change(admin: PostgresAdmin) -> Told:
            before = _seen(admin, asked)
            if before.state != "running" or key == HOLDOUT:
                why = "is permanent" if key == HOLDOUT else f"is {before.state}, it does not run"
                code = "experiment_permanent" if key == HOLDOUT else "experiment_not_running"
                raise Problem(409, code, f"experiment {key!r} {why}", "key")
            shown = _started(admin.stop_experiment(key, self._room.clock.now()))
            return Told(shown, shown.version)

        return changed(self._room.admin, asked, change)

    def report(self, asked: Asked[None]) -> Told:
        """Bring the newest outcomes in and say what an experiment earned."""
        key, admin = asked.subject, self._room.admin
        if _required(admin, key).state == "draft":
            detail = f"experiment {key!r} has not started; POST /v1/experiments/{key}/start"
            raise Problem(409, "experiment_draft", detail, "key")
        settings, house, lake = self._room.settings, self._room.house, self._room.lake()
        with self._bringing_in, only_one(settings.lock_folder, "ingest"):
            silent = Progress(Console(quiet=True))
            ingest(lake, admin, self._room.clock, settings.time_zone, silent)
        models = UpliftModels(house.life, house.uplift) if house.has_trained else None
        more = More(models, settings.time_zone)
        now, costs = self._room.clock.now(), contact_costs(settings)
        # Whoever writes meanwhile takes no file away that it is made of.
        lake = lake.pinned()
        try:
            found = report_of(lake, admin.experiment(key), now, costs, more)
        except StoreUnavailable:
            raise
        except RegularsError as refusal:
            # Of the experiment as it is now: nothing of the request is wrong.
            raise Problem(409, "no_report", _one_line(refusal), "key") from refusal
        return Told(ReportAnswer(msgspec.to_builtins(found), statements(lake)))

    def _drafted(self, admin: PostgresAdmin, key: str, terms: ExperimentTerms, status: int) -> Told:
        document = _document(key, terms)
        vocabulary = self._room.vocabulary()
        try:
            plan = read_design(_with_policies(admin, document))
            check_plan(admin, plan, vocabulary)
        except RegularsError as error:
            raise _of_plan(terms.primary_metric, error) from error
        if admin.drafts.one(key) != document:
            admin.drafts.put(key, document, self._room.clock.now())
        waits = None if vocabulary is None else waits_for(plan, vocabulary)
        shown = _draft(key, document, [] if waits is None else [waits])
        return Told(shown, shown.version, status)

    def _ramped_up(self, admin: PostgresAdmin, key: str, terms: ExperimentTerms) -> ShownExperiment:
        """Let a larger share in, where nothing else is asked for."""
        stored = admin.experiment(key)
        document = _document(key, terms)
        # What was chosen at the start is no other plan.
        document.setdefault("follow_up_days", stored.design.follow_up_days)
        try:
            asked = read_design(_with_policies(admin, document))
        except RegularsError as error:
            raise _of_plan(terms.primary_metric, error) from error
        differing = differing_fields(stored.design, asked)
        if stored.stopped_at is not None or differing:
            state = "runs" if stored.stopped_at is None else "was run before"
            what = f"; it differs in {', '.join(differing)}" if differing else ""
            raise Problem(
                409,
                "plan_locked",
                f"experiment {key!r} {state} and its plan is locked{what}; give the new one a key "
                "of its own",
                "key",
            )
        if asked.exposure == stored.design.exposure:
            return _started(stored)
        try:
            return _started(admin.ramp_up(key, asked.exposure, self._room.clock.now()))
        except RegularsError as error:
            raise Problem(409, "exposure_locked", str(error), "exposure") from error


def _found(admin: PostgresAdmin, key: str) -> ShownExperiment | None:
    document = admin.drafts.one(key)
    if document is not None:
        return _draft(key, document)
    return next((_started(one) for one in admin.experiments() if one.design.key == key), None)


def _required(admin: PostgresAdmin, key: str) -> ShownExperiment:
    found = _found(admin, key)
    if found is None:
        detail = f"experiment {key!r} does not exist; GET /v1/experiments lists those that do"
        raise Problem(404, "unknown_experiment", detail, "key")
    return found


def _seen(admin: PostgresAdmin, asked: Asked[None]) -> ShownExperiment:
    found = _required(admin, asked.subject)
    check_seen(asked, found.version, f"experiment {asked.subject!r}")
    return found


def _draft(key: str, document: Any, notes: list[str] | None = None) -> ShownExperiment:
    return ShownExperiment(
        key=key,
        version=digest(document).hex(),
        state="draft",
        plan=document,
        plan_hash=None,
        started_at=None,
        stopped_at=None,
        notes=notes or [],
    )


def _started(stored: StoredExperiment, notes: list[str] | None = None) -> ShownExperiment:
    state = "running" if stored.stopped_at is None else "stopped"
    plan = msgspec.to_builtins(stored.design)
    return ShownExperiment(
        key=stored.design.key,
        version=digest([state, plan]).hex(),
        state=state,
        plan=plan,
        plan_hash=stored.content_hash,
        started_at=stored.started_at,
        stopped_at=stored.stopped_at,
        notes=notes or [],
    )


def _document(key: str, terms: ExperimentTerms) -> dict[str, Any]:
    """Return terms as the document of a plan, without what was left out."""
    written: dict[str, Any] = msgspec.to_builtins(terms)
    told = {name: value for name, value in written.items() if value is not None}
    for name in ("variants", "guardrails"):
        told[name] = [
            {field: value for field, value in one.items() if value is not None}
            for one in told[name]
        ]
    return {**told, "key": key}


def _with_policies(admin: PostgresAdmin, document: Any) -> Any:
    """Return a plan's document with the kept policies that its variants name, whole."""
    kept = admin.policies.all()

    def whole(variant: dict[str, Any]) -> dict[str, Any]:
        policy = variant.get("policy")
        if isinstance(policy, str) and policy in kept:
            return {**variant, "policy": kept[policy]}
        return variant

    return {**document, "variants": [whole(variant) for variant in document["variants"]]}


def _of_plan(primary_metric: str, error: RegularsError) -> RegularsError:
    """Return a fault of a plan with its field, as far as its line begins with one."""
    if isinstance(error, StoreUnavailable):
        return error
    line = _one_line(error)
    said = re.sub(r"^experiment '[^']*': ", "", line)
    if said.startswith(f"metric {primary_metric!r}"):
        return InvalidField(line, "primary_metric")
    path = re.match(r"[a-z_]+(\[\d+\])?(\.[a-z_\[\]\d]+)*", said)
    word = "" if path is None else re.split(r"[.\[]", path[0])[0]
    if path is not None and word in Experiment.__struct_fields__:
        return InvalidField(line, path[0])
    return InvalidField(line, _FIELDS.get(word, "variants"))


def _one_line(error: Exception) -> str:
    return "; ".join(str(error).split("\n"))
