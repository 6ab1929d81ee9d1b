"""The service's own policy: the response model's, or a document that the settings name."""

from pathlib import Path

import pytest

from adapters.policy_file import write_policy
from foundation.decision import Policy, Posterior
from foundation.errors import RegularsError
from foundation.settings import Settings, load_settings
from regulars.wiring import House

LEARNED = Policy("thompson", 0.05, posteriors={"o-1": Posterior("beta", 2, 3)})


def test_without_a_document_the_response_model_serves(tmp_path: Path) -> None:
    assert House(Settings(home=tmp_path, exploration=0.2)).policy() == Policy("response", 0.2)


def test_a_document_serves_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "policy.yaml"
    write_policy(LEARNED, file)
    monkeypatch.setenv("REGULARS_POLICY", str(file))
    assert House(load_settings(tmp_path)).policy() == LEARNED


def test_a_document_without_exploration_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    write_policy(Policy("rule", order=("o-1",)), file)
    with pytest.raises(RegularsError, match="exploration 0 would leave nothing to learn"):
        House(Settings(home=tmp_path, policy=file)).policy()
