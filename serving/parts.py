"""The adapters a decision service is put together from, and the models it takes over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foundation.clock import Clock
from foundation.contact_policy import DEFAULT_CONTACT_POLICY, ContactPolicy
from foundation.decision import Policy
from recommender.value import NO_COSTS, Contacts
from serving.catalogue import CatalogueSource
from serving.contacts import ContactCounter
from serving.customers import Customers
from serving.journal import Journal
from serving.keys import KeyStore
from serving.profiles import ProfileStore
from serving.rates import Rates
from serving.refusals import KeptRefusals
from serving.scoring import Model, Quick
from serving.spool import Spool
from serving.uplift_scoring import UpliftValues
from serving.uses import Uses
from serving.write_ahead import WriteAhead

# OpenTelemetry takes its time to import, and most deployments trace nothing.
if TYPE_CHECKING:
    from serving.tracing import Traces


def _no_rows(_customer_id: str) -> dict[str, list[dict[str, Any]]]:
    return {}


@dataclass(frozen=True)
class LiveModel:
    """A response model and its name, e.g. response@7; see serving.canary for `trained_mean`.

    `quick` answers requests in its place, once it has proved to be its equal.
    """

    name: str
    model: Model
    trained_mean: float | None = None
    quick: Quick | None = None


@dataclass(frozen=True)
class LiveUplift:
    """The uplift model that serves and its name, e.g. uplift@2."""

    name: str
    model: UpliftValues


@dataclass(frozen=True)
class Parts:
    """The adapters a service is put together from."""

    clock: Clock
    catalogue: CatalogueSource
    journal: Journal
    uses: Uses
    contact_counter: ContactCounter
    customers: Customers
    kept_refusals: KeptRefusals
    keys: KeyStore
    profiles: ProfileStore
    champion: Callable[[], LiveModel | None]
    uplift: Callable[[], LiveUplift | None]
    policy: Policy
    time_zone: str
    activation_seconds: int
    # Where decisions are for the moment until the database has them.
    ahead: WriteAhead
    # Where decisions and outcomes wait that the database does not take.
    spool: Spool
    # What the database may take of a decision's time; then it is answered without.
    deadline_seconds: float
    # Models that score beside those that serve, by what they score: response, uplift.
    shadows: Callable[[], Mapping[str, LiveModel | LiveUplift]] = dict
    contacts: Contacts = NO_COSTS
    # Where requests are traced to; nowhere without.
    traces: "Traces | None" = None
    rates: Rates = field(default_factory=Rates)
    contact_policy: ContactPolicy = DEFAULT_CONTACT_POLICY
    # The lake's rows about a customer, by table; asked off the event loop.
    lake_rows: Callable[[str], dict[str, list[dict[str, Any]]]] = _no_rows
