"""A policy document is read as it was written, and a wrong one is refused in a line."""

from pathlib import Path

import msgspec
import pytest

from adapters.policy_file import read_policy, with_policies, write_policy
from experiments.design import content_hash, read_design
from foundation.decision import Policy, Posterior
from foundation.errors import RegularsError

THOMPSON = Policy("thompson", 0.1, posteriors={"o-1": Posterior("beta", 3.5, 9.25)})
MIXTURE = Policy("mixture", 0.2, parts=(Policy("response"), THOMPSON), weights=(0.7, 0.3))


@pytest.mark.parametrize("policy", [THOMPSON, MIXTURE, Policy("rule", 0.1, order=("o-2", "o-1"))])
def test_a_policy_comes_back_whole(tmp_path: Path, policy: Policy) -> None:
    file = tmp_path / "policy.yaml"
    write_policy(policy, file)
    assert read_policy(file) == policy


def test_json_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"kind": "rule", "exploration": 0.1, "order": ["o-1"]}')
    assert read_policy(file) == Policy("rule", 0.1, order=("o-1",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: best", "Invalid enum value 'best'"),
        ("kind: thompson", "needs posteriors"),
        ("{kind: rule, exploration: 2}", "share from 0 to 1"),
        ("{kind: rule, floor: 1}", "unknown field 'floor'"),
        ("kind: [", "is not YAML"),
    ],
)
def test_what_is_no_policy_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(RegularsError, match=said) as refused:
        read_policy(file)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegularsError, match="name an existing file"):
        read_policy(tmp_path / "none.yaml")
    with pytest.raises(RegularsError, match="name another file"):
        write_policy(THOMPSON, tmp_path / "none" / "policy.yaml")


def test_a_variant_may_name_a_document_beside_its_plan(tmp_path: Path) -> None:
    write_policy(THOMPSON, tmp_path / "learned.yaml")
    named = {"name": "learned", "weight": 0.5, "policy": "learned.yaml"}
    plain = {"name": "plain", "weight": 0.5, "policy": "popular"}
    plan = {"key": "k", "control": "plain", "variants": [plain, named]}

    design = read_design(with_policies(plan, tmp_path))

    assert [variant.policy for variant in design.variants] == ["popular", THOMPSON]
    # The same written into the plan itself is the same plan.
    inline = named | {"policy": msgspec.to_builtins(THOMPSON)}
    whole = read_design({**plan, "variants": [plain, inline]})
    assert content_hash(whole) == content_hash(design)
    with pytest.raises(RegularsError, match="name an existing file"):
        with_policies(plan, tmp_path / "elsewhere")
    # What is no plan is left for its own reader to refuse.
    assert with_policies(["k"], tmp_path) == ["k"]
