"""Where this deployment keeps its things and how it behaves. Environment: REGULARS_<NAME>."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from foundation.clock import known_zone
from foundation.contact_policy import OUTBOUND
from foundation.errors import RegularsError
from foundation.money import OTHER_MINOR_UNITS, Currency

# Balancers and proxies mostly keep a connection for 60 s.
KEPT_SECONDS = 75


def _rising(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(bounds)):
        raise ValueError("bounds must rise; write them like [7, 30, 90, 180]")
    return bounds


Bounds = Annotated[tuple[float, float, float, float], AfterValidator(_rising)]


def _check_channels(named: Iterable[str]) -> None:
    # Imported late: the contracts load pandas, and every command reads the settings.
    from foundation.contracts.tables import CHANNELS

    for channel in named:
        if channel not in CHANNELS:
            raise ValueError(f"{channel!r} is no channel; there are {', '.join(CHANNELS)}")


class RfmCuts(BaseModel):
    """Four rising bounds for each of recency, frequency and money; a fixed score for each part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recency_days: Bounds
    orders: Bounds
    spend: Bounds = Field(description="In major units of the currency.")


class ContactTerms(BaseModel):
    """What one contact through a channel costs, and the chance that it loses the customer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cost: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="In major units.")
    opt_out: float = Field(default=0.0, ge=0, le=1)


class ContactCaps(BaseModel):
    """The most contacts on one local day and in any seven in a row; null for no cap."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: int | None = Field(default=None, ge=0)
    week: int | None = Field(default=None, ge=0)


class ContactRules(ContactCaps):
    """How often a customer is contacted in all and by channel, and in which hours she is not."""

    day: int | None = Field(default=1, ge=0)
    week: int | None = Field(default=3, ge=0)
    channels: dict[str, ContactCaps] = {}
    outbound: tuple[str, ...] = Field(
        default=tuple(sorted(OUTBOUND)), description="Channels that need an opt-in and are counted."
    )
    quiet_from: int = Field(default=21, ge=0, le=23, description="Local hour.")
    quiet_to: int = Field(default=8, ge=0, le=23, description="First local hour after them.")

    @field_validator("channels", "outbound")
    @classmethod
    def _known(cls, named: Iterable[str]) -> Iterable[str]:
        _check_channels(named)
        return named


class Settings(BaseSettings):
    """One deployment. Every field can be set by REGULARS_<NAME>, e.g. REGULARS_HOME=/data."""

    model_config = SettingsConfigDict(
        env_prefix="REGULARS_", extra="forbid", frozen=True, env_ignore_empty=True
    )

    home: Path = Field(
        default=Path(".regulars"), description="Folder of the lake, snapshots, models, database."
    )
    database_url: str | None = Field(
        default=None, description="PostgreSQL to use; without it one is started in the home folder."
    )
    redis_url: str | None = Field(
        default=None,
        description="Redis that keeps the customer snapshot for several nodes; without it a file "
        "in the home folder does.",
    )
    mlflow_tracking_uri: str | None = Field(
        default=None, description="MLflow to use; without it a SQLite file in the home folder."
    )
    currency_code: str = Field(default="USD", pattern="^[A-Z]{3}$", description="ISO 4217 code.")
    time_zone: str = Field(
        default="America/New_York", description="The chain's own zone, where a store has none."
    )
    publish_hour: int = Field(
        default=3, ge=0, le=23, description="Local hour at which the nightly snapshot goes live."
    )
    host: str = Field(default="127.0.0.1", description="Address the service listens on.")
    proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Addresses and networks of proxies that are trusted to say who calls, and "
        "whether encrypted.",
    )
    exploration: float = Field(
        default=0.1, gt=0, le=1, description="Share of slates drawn at random, to keep learning."
    )
    policy: Path | None = Field(
        default=None,
        description="Document of the policy that serves where no experiment says otherwise; "
        "without it the response model does.",
    )
    deadline_ms: int = Field(
        default=50,
        ge=1,
        le=60_000,
        description="How long a decision waits for a database that does not answer.",
    )
    kept_seconds: int = Field(
        default=KEPT_SECONDS,
        ge=5,
        le=3600,
        description="How long a connection stays open from an answer to the next request; longer "
        "than whoever calls, or the balancer between, keeps it.",
    )

    decisions_kept_days: int = Field(
        default=90,
        # Names of repeated requests are kept for three of them, and backups are a few days old.
        ge=7,
        le=3650,
        description="How long the lake holds a decision before it leaves the operational database.",
    )

    activation_minutes: int = Field(
        default=1440, ge=1, description="How long an activated offer is kept for its customer."
    )

    rfm_window_days: int = Field(
        default=365, ge=1, le=3650, description="How far back RFM counts orders and spend, in days."
    )
    rfm_cuts: RfmCuts | None = Field(
        default=None, description="Fixed bounds of RFM scores; without them scores are quintiles."
    )

    contacts: dict[str, ContactTerms] | None = Field(
        default=None,
        description="What contacts cost by channel; one that is not named costs nothing.",
    )
    contact_policy: ContactRules = Field(
        default=ContactRules(),
        description="How often customers are contacted, through which channels, and when not.",
    )
    remaining_value: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="Margin a customer brings yet where no model tells it, in major units.",
    )

    @field_validator("contacts")
    @classmethod
    def _known_channels(
        cls, contacts: dict[str, ContactTerms] | None
    ) -> dict[str, ContactTerms] | None:
        _check_channels(contacts or {})
        return contacts

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return known_zone(name)

    @field_validator("currency_code")
    @classmethod
    def _has_cents(cls, code: str) -> str:
        if code in OTHER_MINOR_UNITS:
            raise ValueError(f"{code} has no cents; name a currency with two decimals, like USD")
        return code

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def currency(self) -> Currency:
        return Currency(self.currency_code)

    @property
    def lake_folder(self) -> Path:
        return self.home / "lake"

    @property
    def snapshot_folder(self) -> Path:
        return self.home / "snapshots"

    @property
    def postgres_folder(self) -> Path:
        return self.home / "postgres"

    @property
    def spool_folder(self) -> Path:
        return self.home / "spool"

    @property
    def last_known_folder(self) -> Path:
        return self.home / "last-known"

    @property
    def lock_folder(self) -> Path:
        return self.home / "locks"

    @property
    def mlflow_uri(self) -> str:
        return self.mlflow_tracking_uri or f"sqlite:///{self.mlflow_file.resolve()}"

    @property
    def mlflow_file(self) -> Path:
        return self.home / "mlflow.db"

    @property
    def artifact_folder(self) -> Path:
        return self.home / "mlflow-artifacts"


def load_settings(home: Path | None = None) -> Settings:
    """Read the settings from the environment.

    Raises:
        RegularsError: A value breaks its rule; the line names the setting.
    """
    try:
        return Settings() if home is None else Settings(home=home)
    except SettingsError as error:
        # It names the field, in quotes, and nothing else of use.
        name = str(error).split('"')[1]
        raise RegularsError(
            f"setting REGULARS_{name.upper()} is no JSON; write it as the guide shows"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        name, *inside = (str(part) for part in first["loc"])
        rule = ": ".join([*inside, first["msg"].removeprefix("Value error, ")])
        raise RegularsError(
            f"setting REGULARS_{name.upper()}={first['input']!r}: {rule}"
        ) from error
