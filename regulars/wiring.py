"""Where parts are put together: the one file that chooses adapters."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, MutableMapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeVar, cast

import structlog
from fastapi import FastAPI
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from adapters import lmdb_profiles
from adapters.file_spool import FileSpool
from adapters.last_known import LastKnownCatalogue, LastKnownKeys
from adapters.last_refusals import LastKnownRefusals
from adapters.login import login
from adapters.policy_file import read_policy
from adapters.postgres_contacts import PostgresContacts
from adapters.postgres_customers import PostgresCustomers
from adapters.postgres_journal import PostgresJournal
from adapters.postgres_pool import PostgresPool
from adapters.postgres_uses import PostgresUses
from foundation.clock import Clock, SystemClock
from foundation.decision import Policy
from foundation.errors import RegularsError
from foundation.profile import LiveState, SnapshotFacts
from foundation.settings import Settings, load_settings
from regulars.contacts import contact_policy, contacts_of
from regulars.log_lines import LogLines
from serving.api import create_app
from serving.batching import Batcher
from serving.catalogue import Catalogue
from serving.decision_log import with_decision
from serving.office.passing_on import OfficeDoor
from serving.parts import LiveModel, LiveUplift, Parts
from serving.profiles import ProfileStore, refresh
from serving.rates import Rates
from serving.service import DecisionService

# MLflow alone takes seconds to import, and a worker that died is to be back soon: what not every
# process needs is imported where it is used.
if TYPE_CHECKING:
    from adapters.mlflow_cards import MlflowCards
    from adapters.postgres_admin import PostgresAdmin
    from foundation.consent import ConsentAnswer
    from foundation.lake import Lake
    from foundation.model_life import ModelLife
    from recommender.registry import ModelRegistry
    from recommender.uplift_registry import UpliftRegistry
    from regulars.desk import HouseDesk
    from regulars.jobs.candidates import Running
    from regulars.jobs.forget import Erasures
    from segmentation.registry import ChurnRegistry
    from segmentation.value_registry import ValueRegistry
    from serving.tracing import Traces


Loaded = TypeVar("Loaded")
# Says how much the processes that a command starts are to log.
LOG_LEVEL = "REGULARS_LOG_LEVEL"
# Names the file in which the workers of one machine count together how often keys ask.
RATES = "REGULARS_RATES_FILE"
# Names the socket on which the office of this machine listens to its API workers.
OFFICE = "REGULARS_OFFICE_SOCKET"
# Names the service that the demo loyalty app asks, and its key: "URL KEY".
APP_SERVICE = "REGULARS_APP_SERVICE"
ANSWERS_AT_ONCE = 5_000

TRACES_TO = "OTEL_EXPORTER_OTLP_ENDPOINT"


class House:
    """One deployment's parts, made when first asked for."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        try:
            settings.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegularsError(
                f"setting REGULARS_HOME={str(settings.home)!r}: {error.strerror}; name a folder "
                "that can be made and written"
            ) from error
        self._live: LiveModel | None = None
        self._live_uplift: LiveUplift | None = None
        self._live_shadows: dict[str, LiveModel | LiveUplift] = {}
        # MLflow lays out its database when it is first opened: not twice at once.
        self._opening = threading.Lock()

    @cached_property
    def lake(self) -> "Lake":
        return self.open_lake()

    def open_lake(self, patience: float | None = None) -> "Lake":
        """Return a lake for one thread alone.

        Args:
            patience: Seconds that its writes wait for others'; without it, until these have ended.
        """
        from adapters.duckdb_lake import DuckDbLake

        return DuckDbLake(self.settings.lake_folder, patience)

    @cached_property
    def models(self) -> "ModelRegistry":
        from adapters.mlflow_registry import MlflowRegistry

        return MlflowRegistry(self.settings.mlflow_uri, self.settings.artifact_folder)

    @cached_property
    def life(self) -> "ModelLife":
        from adapters.mlflow_life import MlflowLife

        return MlflowLife(self.settings.mlflow_uri, self.settings.artifact_folder)

    @property
    def has_trained(self) -> bool:
        """Whether models may be tracked: MLflow takes long to lay out a database of its own."""
        return self.settings.mlflow_tracking_uri is not None or self.settings.mlflow_file.exists()

    @cached_property
    def churn(self) -> "ChurnRegistry":
        from adapters.mlflow_churn import MlflowChurn

        return MlflowChurn(self.settings.mlflow_uri, self.settings.artifact_folder)

    @cached_property
    def uplift(self) -> "UpliftRegistry":
        from adapters.mlflow_uplift import MlflowUplift

        return MlflowUplift(self.settings.mlflow_uri, self.settings.artifact_folder)

    @cached_property
    def value_models(self) -> "ValueRegistry":
        from adapters.mlflow_values import MlflowValues

        return MlflowValues(self.settings.mlflow_uri, self.settings.artifact_folder)

    @cached_property
    def publish_snapshot(self) -> "partial[SnapshotFacts]":
        if self.settings.redis_url is None:
            return partial(lmdb_profiles.publish_snapshot, self.settings.snapshot_folder)
        from adapters import redis_profiles

        return partial(redis_profiles.publish_snapshot, self.settings.redis_url)

    def profiles(self) -> ProfileStore:
        """Return the published snapshot, open for reading.

        Raises:
            RegularsError: It cannot be read.
        """
        store = self.profile_store()
        refresh(store)
        return store

    def profile_store(self) -> ProfileStore:
        """Return where snapshots are published; it is opened by who keeps up with newer ones."""
        if self.settings.redis_url is None:
            return lmdb_profiles.LmdbProfiles(self.settings.snapshot_folder)
        from adapters.redis_profiles import RedisProfiles

        return RedisProfiles(self.settings.redis_url, lambda read: Batcher(read, lanes=1).submit)

    @contextmanager
    def database(self) -> Generator[str]:
        """Lend the operational database's URL; starts and watches the embedded one if need be."""
        if self.settings.database_url is not None:
            yield self.settings.database_url
            return
        from adapters.embedded_postgres import EmbeddedPostgres, supervise

        with EmbeddedPostgres(self.settings.postgres_folder) as server:
            stop = threading.Event()
            watcher = supervise(server, stop)
            try:
                yield server.url
            finally:
                stop.set()
                watcher.join()

    @contextmanager
    def admin(self, url: str) -> "Generator[PostgresAdmin]":
        """Lend a running database to a job."""
        from adapters.postgres_admin import PostgresAdmin

        admin = PostgresAdmin(url)
        try:
            yield admin
        finally:
            admin.close()

    def service(self, url: str, rates: Rates | None = None) -> DecisionService:
        """Return a decision service on a running database.

        Args:
            rates: Shared with other workers; of its own where left out.
        """
        # Compiled, which takes half a second to load: only a service needs it.
        from adapters.file_write_ahead import FileWriteAhead

        pool = PostgresPool(url)
        journal, policy = PostgresJournal(pool), contact_policy(self.settings)
        remembered = self.settings.last_known_folder
        return DecisionService(
            Parts(
                clock=self.clock,
                catalogue=LastKnownCatalogue(remembered, journal),
                journal=journal,
                uses=PostgresUses(pool),
                contact_counter=PostgresContacts(pool, policy),
                contact_policy=policy,
                customers=PostgresCustomers(pool),
                kept_refusals=LastKnownRefusals(remembered),
                lake_rows=self.lake_rows,
                activation_seconds=60 * self.settings.activation_minutes,
                ahead=FileWriteAhead(self.settings.spool_folder),
                spool=FileSpool(self.settings.spool_folder),
                deadline_seconds=self.settings.deadline_ms / 1000,
                keys=LastKnownKeys(remembered, journal),
                profiles=self.profile_store(),
                champion=self._one_by_one(self._champion),
                uplift=self._one_by_one(self._uplift_champion),
                shadows=self._one_by_one(self._shadows),
                policy=self.policy(),
                time_zone=self.settings.time_zone,
                contacts=contacts_of(self.settings),
                traces=traces(),
                rates=rates or Rates(),
            )
        )

    def about_customers(
        self, url: str, ask: "Callable[[PostgresCustomers], Coroutine[Any, Any, Loaded]]"
    ) -> Loaded:
        """Ask what a running database holds of customers."""

        async def asked() -> Loaded:
            pool = PostgresPool(url, connections=1)
            try:
                return await ask(PostgresCustomers(pool))
            finally:
                await pool.close()

        return asyncio.run(asked())

    def keep_consents(self, url: str, answers: "Sequence[ConsentAnswer]") -> None:
        """Keep answers that are newer than those a running database holds."""

        async def keep(known: PostgresCustomers) -> None:
            for start in range(0, len(answers), ANSWERS_AT_ONCE):
                await known.answer(answers[start : start + ANSWERS_AT_ONCE])

        self.about_customers(url, keep)

    def erasures(self, url: str) -> "Erasures":
        """Return who is to be forgotten, by a running database."""
        from regulars.jobs.forget import Erasures

        async def pending(known: PostgresCustomers) -> dict[str, str]:
            # What was told of them since goes with the rest.
            for customer_id in await known.erased():
                await known.erase(customer_id, login())
            return await known.pseudonyms()

        return Erasures(
            lambda: self.about_customers(url, pending),
            lambda ids: self.about_customers(url, lambda known: known.forgotten(ids)),
            self._drop_old_snapshots,
        )

    def _drop_old_snapshots(self) -> None:
        # Whichever store serves now, the other one may have served before.
        lmdb_profiles.drop_old_snapshots(self.settings.snapshot_folder)
        if self.settings.redis_url is not None:
            from adapters import redis_profiles

            redis_profiles.drop_old_snapshots(self.settings.redis_url)

    def lake_rows(self, customer_id: str) -> dict[str, list[dict[str, Any]]]:
        """Return the lake's rows about a customer, by table."""
        from regulars.jobs.erase import rows_about

        return rows_about(self.open_lake(), customer_id)

    def policy(self) -> Policy:
        """Return what serves where no experiment says otherwise.

        Raises:
            RegularsError: The document is none, or explores nothing.
        """
        path = self.settings.policy
        if path is None:
            return Policy("response", self.settings.exploration)
        policy = read_policy(path)
        if policy.exploration == 0:
            raise RegularsError(
                f"policy {path}: exploration 0 would leave nothing to learn from, here and in the "
                "variants that name a policy by its word; give it a share above 0, such as 0.1"
            )
        return policy

    def running(self, url: str, customers: Sequence[str]) -> "Running":
        """Return what a running database knows of offers, experiments and these customers."""
        from regulars.jobs.candidates import BLOCK, NOTHING_TOLD, Running

        async def read() -> Running:
            pool = PostgresPool(url, connections=1)
            journal, uses = PostgresJournal(pool), PostgresUses(pool)
            try:
                await uses.release_expired()
                catalogue = Catalogue(*await journal.read())
                states: dict[str, LiveState] = {}
                for start in range(0, len(customers), BLOCK):
                    block = customers[start : start + BLOCK]
                    told = zip(block, await journal.live_states(block, contacts=True), strict=True)
                    states |= {who: state for who, state in told if state != NOTHING_TOLD}
                return Running(catalogue, await uses.held(), states)
            finally:
                await pool.close()

        return asyncio.run(read())

    @cached_property
    def cards(self) -> "MlflowCards":
        from adapters.mlflow_cards import MlflowCards

        return MlflowCards(self.settings.mlflow_uri)

    def desk(self, admin: "PostgresAdmin") -> "HouseDesk":
        """Return what the console shows, read from a running database and the rest of the house."""
        from regulars.desk import HouseDesk

        return HouseDesk(
            self.settings,
            self.clock,
            self.open_lake,
            # MLflow is slow to open: only once somebody looks.
            lambda: self.cards,
            self.profile_store(),
            admin,
        )

    def _one_by_one(self, load: Callable[[], Loaded]) -> Callable[[], Loaded]:
        def loading() -> Loaded:
            with self._opening:
                return load()

        return loading

    def _champion(self) -> LiveModel | None:
        """Return the champion; one that is loaded already is not loaded again."""
        from recommender.quick_response import quick_response
        from recommender.registry import MEAN_SCORE

        named = self.models.described("champion")
        while named is not None and (self._live is None or self._live.name != named.name):
            model, loaded = self.models.load("champion"), named
            # The alias may have moved between the two: a model never goes by another's name.
            named = self.models.described("champion")
            if model is not None and named is not None and named.name == loaded.name:
                mean = loaded.metrics.get(MEAN_SCORE)
                self._live = LiveModel(loaded.name, model, mean, quick_response(model))
        return None if named is None else self._live

    def _shadows(self) -> dict[str, LiveModel | LiveUplift]:
        """Return the shadows of models that policies rank by; loaded ones are not loaded again."""
        from recommender.registry import MEAN_SCORE, RESPONSE
        from recommender.uplift_registry import UPLIFT

        found: dict[str, LiveModel | LiveUplift] = {}
        for kind in (RESPONSE, UPLIFT):
            named = self.life.named(kind, "shadow")
            if named is None:
                continue
            before = self._live_shadows.get(kind)
            if before is not None and before.name == named.name:
                found[kind] = before
            elif kind == UPLIFT:
                found[kind] = LiveUplift(named.name, self.uplift.load(named.number))
            else:
                model = self.models.load_version(named.number)
                found[kind] = LiveModel(named.name, model, named.metrics.get(MEAN_SCORE))
        self._live_shadows = found
        return found

    def _uplift_champion(self) -> LiveUplift | None:
        """Return the uplift model that serves; one that is loaded already is not loaded again."""
        from recommender.uplift_registry import UPLIFT

        version = self.uplift.champion_version()
        if version is None:
            return None
        name = f"{UPLIFT}@{version}"
        if self._live_uplift is None or self._live_uplift.name != name:
            self._live_uplift = LiveUplift(name, self.uplift.load(version))
        return self._live_uplift


def api() -> FastAPI:
    """Return the HTTP application of one worker process; `regulars serve` starts these.

    The parent process runs the database and names it in REGULARS_DATABASE_URL.
    """
    quiet_logs()
    settings = load_settings()
    if settings.database_url is None:
        raise RuntimeError("a worker needs REGULARS_DATABASE_URL; start it by 'regulars serve'")
    shared = os.environ.get(RATES)
    rates = None if shared is None else Rates(Path(shared))
    office = os.environ.get(OFFICE)
    door = None if office is None else OfficeDoor(Path(office))
    return create_app(House(settings).service(settings.database_url, rates), door)


def traces() -> "Traces | None":
    """Return what traces requests, where OpenTelemetry's own variable says to whom."""
    if not os.environ.get(TRACES_TO):
        return None
    from adapters.otlp_traces import open_traces
    from serving.tracing import Traces

    return Traces(open_traces())


def quiet_logs(least: Literal["info", "warning"] = "info") -> None:
    """Write structured logs, one JSON object a line, to standard error.

    Args:
        least: What is told at least, unless the environment says otherwise.
    """
    beside: list[Processor] = [with_decision]
    if os.environ.get(TRACES_TO):
        from serving.tracing import with_trace

        beside.append(with_trace)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(os.environ.get(LOG_LEVEL) or least),
        processors=[
            *beside,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: among them are keys, bodies and customers.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            _without_values,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LogLines(sys.stderr))),
    )


def _without_values(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave of errors their kinds and places: their texts quote what somebody sent.

    PostgreSQL, for one, tells the row that broke a rule.
    """
    for error in event.get("exception", ()):
        error["exc_value"] = ""
        error["exc_notes"] = []
    return event
