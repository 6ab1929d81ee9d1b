"""A policy as a document: a kind with its numbers, in YAML or JSON, as it stands in records."""

from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from adapters.source_files import read_yaml
from foundation.decision import Policy
from foundation.errors import RegularsError


def read_policy(path: Path) -> Policy:
    """Read a policy document.

    Raises:
        RegularsError: No such file, no YAML, or no policy; the line names the field.
    """
    document = read_yaml(path, "policy")
    try:
        return msgspec.convert(document, Policy)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "'")
        raise RegularsError(
            f"policy {path}: {reason}; write a kind with its exploration, order, posteriors, parts "
            "and weights, or let 'regulars policy learn' write it"
        ) from error


def with_policies(document: Any, folder: Path) -> Any:
    """Return an experiment's document with the policy documents that its variants name, whole.

    Args:
        document: As decoded from YAML; what is wrong in it is left for its own reader.
        folder: Where relative names begin.

    Raises:
        RegularsError: As `read_policy`.
    """
    match document:
        case {"variants": list() as variants}:
            told = [_whole(variant, folder) for variant in cast("list[Any]", variants)]
            return {**cast("dict[Any, Any]", document), "variants": told}
        case _:
            return document


def _whole(variant: Any, folder: Path) -> Any:
    match variant:
        case {"policy": str() as name} if name.endswith((".yaml", ".yml", ".json")):
            policy = msgspec.to_builtins(read_policy(folder / name))
            return {**cast("dict[Any, Any]", variant), "policy": policy}
        case _:
            return variant


def write_policy(policy: Policy, path: Path) -> None:
    """Write a policy document that `read_policy` reads.

    Raises:
        RegularsError: The file cannot be written.
    """
    text = yaml.safe_dump(msgspec.to_builtins(policy), sort_keys=False, allow_unicode=True)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RegularsError(f"policy {path}: {error.strerror}; name another file") from error
