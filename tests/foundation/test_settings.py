"""Settings come from the environment; a wrong one is named in one line."""

import json
from pathlib import Path

import pytest

from foundation.errors import RegularsError
from foundation.settings import ContactTerms, load_settings


def test_without_an_environment_everything_lives_in_one_folder(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "home")

    folders = (
        settings.lake_folder,
        settings.snapshot_folder,
        settings.postgres_folder,
        settings.lock_folder,
        settings.artifact_folder,
    )
    assert all(folder.parent == tmp_path / "home" for folder in folders)
    assert len(set(folders)) == len(folders)
    assert settings.mlflow_uri == f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"
    assert settings.host == "127.0.0.1"


def test_every_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGULARS_HOME", "/data")
    monkeypatch.setenv("REGULARS_TIME_ZONE", "Europe/Vienna")
    monkeypatch.setenv("REGULARS_CURRENCY_CODE", "EUR")
    monkeypatch.setenv("REGULARS_PUBLISH_HOUR", "4")
    monkeypatch.setenv("REGULARS_MLFLOW_TRACKING_URI", "http://mlflow:5000")

    settings = load_settings()

    assert settings.lake_folder == Path("/data/lake")
    assert settings.zone.key == "Europe/Vienna"
    assert settings.currency.show(450) == "4.50 EUR"
    assert settings.publish_hour == 4
    assert settings.mlflow_uri == "http://mlflow:5000"


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("REGULARS_TIME_ZONE", "Mars/Base", "'Mars/Base' is no IANA time zone"),
        ("REGULARS_PUBLISH_HOUR", "24", "less than or equal to 23"),
        ("REGULARS_PUBLISH_HOUR", "three", "valid integer"),
        ("REGULARS_CURRENCY_CODE", "euro", "match pattern"),
        # Yen have no hundredths (ISO 4217), and amounts here are kept in hundredths.
        ("REGULARS_CURRENCY_CODE", "JPY", "JPY has no cents"),
        ("REGULARS_CURRENCY_CODE", "KWD", "KWD has no cents"),
        ("REGULARS_EXPLORATION", "0", "greater than 0"),
        ("REGULARS_RFM_WINDOW_DAYS", "0", "greater than or equal to 1"),
        # Names of repeated requests are kept for three days.
        ("REGULARS_DECISIONS_KEPT_DAYS", "6", "greater than or equal to 7"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_rule_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(RegularsError) as refusal:
        load_settings()

    line = str(refusal.value)
    assert line.startswith(f"setting {variable}={value!r}: ")
    assert rule in line
    assert "\n" not in line


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # Compose files pass variables on that are not set.
    monkeypatch.setenv("REGULARS_DATABASE_URL", "")
    monkeypatch.setenv("REGULARS_HOME", "")

    settings = load_settings()

    assert settings.database_url is None
    assert settings.home == Path(".regulars")


def test_fixed_cuts_of_rfm_are_one_json_value(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = {"recency_days": [7, 30, 90, 180], "orders": [2, 5, 9, 20], "spend": [9.5, 20, 50, 99]}
    monkeypatch.setenv("REGULARS_RFM_CUTS", json.dumps(cuts))

    found = load_settings().rfm_cuts

    assert found is not None
    assert found.spend == (9.5, 20, 50, 99)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('{"recency_days": [7, 30, 90], "orders": [1,2,3,4], "spend": [1,2,3,4]}', "recency_days"),
        ('{"recency_days": [7, 7, 90, 99], "orders": [1,2,3,4], "spend": [1,2,3,4]}', "must rise"),
        ('{"recency_days": [7, 9, 90, 99]}', "orders: Field required"),
        ("7,30,90,180", "valid dictionary"),
    ],
)
def test_cuts_that_are_none_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    monkeypatch.setenv("REGULARS_RFM_CUTS", value)

    with pytest.raises(RegularsError, match=says) as refusal:
        load_settings()

    assert "rfm_cuts" in str(refusal.value).lower()
    assert "\n" not in str(refusal.value)


def test_what_contacts_cost_is_one_json_value_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().contacts is None
    monkeypatch.setenv("REGULARS_CONTACTS", '{"mail": {"cost": 0.85, "opt_out": 0.001}, "app": {}}')

    found = load_settings().contacts

    assert found == {"mail": ContactTerms(cost=0.85, opt_out=0.001), "app": ContactTerms()}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('{"pigeon": {"cost": 1}}', "'pigeon' is no channel; there are store, app"),
        ('{"email": {"opt_out": 2}}', "email: opt_out: Input should be less than or equal to 1"),
        ('{"email": {"cost": -1}}', "email: cost: Input should be greater than or equal to 0"),
        ('{"email": {"price": 1}}', "Extra inputs"),
        ("free", "valid dictionary"),
    ],
)
def test_wrong_costs_of_contacts_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, value: str, says: str
) -> None:
    monkeypatch.setenv("REGULARS_CONTACTS", value)

    with pytest.raises(RegularsError, match="setting REGULARS_CONTACTS=") as refusal:
        load_settings()

    assert says in str(refusal.value)
