"""What the benchmark of caps answers a program that reads it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_claims_among_kills_are_answered_as_one_json_object_and_pass_no_cap(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("regulars"), "benchmark", "caps", "--json"]
    asked = ["--claims", "9000", "--cap", "3000", "--kills", "2"]
    ran = subprocess.run(
        [*command, *asked], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    # What is logged of the kills stands elsewhere.
    figures = json.loads(ran.stdout)["figures"]
    assert figures["killed"] >= 1
    assert figures["redeemed"] == 3000
    assert figures["committed_lost"] == 0
    assert figures["released_ms"] < 1000
    assert '"event": "' in ran.stderr
