"""How much is logged: all of a service, of what a command shows only what somebody has to know."""

import json

import pytest
import structlog

from regulars.wiring import LOG_LEVEL, quiet_logs


@pytest.mark.parametrize(
    ("least", "environment", "told"),
    [("info", "", ["step", "fault"]), ("warning", "", ["fault"]), ("info", "warning", ["fault"])],
)
def test_a_step_is_told_where_it_is_asked_for_and_a_fault_everywhere(
    least, environment, told, monkeypatch, capsys
):
    monkeypatch.setenv(LOG_LEVEL, environment)
    before = structlog.get_config()
    try:
        quiet_logs(least)
        log = structlog.get_logger("test")
        log.info("step")
        log.warning("fault")
    finally:
        structlog.configure(**before)
    written = capsys.readouterr()
    assert [json.loads(line)["event"] for line in written.err.splitlines()] == told
    assert written.out == ""
