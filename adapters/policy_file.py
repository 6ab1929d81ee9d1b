"""A policy as a document: a kind with its numbers, in YAML or JSON, as it stands in records."""

from pathlib import Path

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
