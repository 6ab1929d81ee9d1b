"""One change after the other, whole or not at all; the guide's own examples."""

import itertools
import re
import shlex
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from adapters import postgres_admin
from tests.serving.office.conftest import Marketer
from tests.serving.office.test_offers import TERMS

GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"


def test_of_two_who_saw_the_same_version_one_writes(marketer: Marketer) -> None:
    seen = marketer.ask("PUT", "/v1/offers/raced", TERMS).headers["etag"]
    answers: list[int] = []

    def write(number: int) -> None:
        body = {**TERMS, "title": f"Writer {number}"}
        answer = marketer.ask("PUT", "/v1/offers/raced", body, If_Match=seen)
        answers.append(answer.status_code)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(answers) == [200, 412, 412, 412]


def test_the_same_request_sent_at_once_is_done_once(marketer: Marketer) -> None:
    body = {"offer_id": "once", **TERMS}
    answers: list[Any] = []

    def write() -> None:
        answers.append(marketer.ask("POST", "/v1/offers", body, key="at once"))

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {(one.status_code, one.content) for one in answers} == {(201, answers[0].content)}
    assert len(marketer.admin.audit.of("offer once")) == 1


def test_a_change_waits_for_another_one_and_then_asks_for_patience(
    marketer: Marketer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_admin, "LOCK_SECONDS", 1)
    with marketer.house.database() as url, psycopg.connect(url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [postgres_admin.CHANGES_LOCK])
        problem = marketer.refused(503, "PUT", "/v1/offers/patient", TERMS)
        assert "another change" in problem["detail"]
        # Who only reads does not wait.
        marketer.get("/v1/offers")
    assert marketer.ask("PUT", "/v1/offers/patient", TERMS).status_code == 200


def test_a_load_that_writes_is_waited_for_and_nothing_is_kept_then(
    marketer: Marketer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regulars.office.room.LAKE_SECONDS", 0.3)
    before = len(marketer.log())
    with marketer.house.open_lake().write():
        problem = marketer.refused(503, "PUT", "/v1/offers/loading", TERMS, key="loading")
    assert "being written by a load" in problem["detail"]
    assert marketer.refused(404, "GET", "/v1/offers/loading")
    assert len(marketer.log()) == before
    assert marketer.ask("PUT", "/v1/offers/loading", TERMS, key="loading").status_code == 200


def test_a_database_that_takes_no_writes_asks_for_patience(marketer: Marketer) -> None:
    with (
        marketer.house.database() as url,
        psycopg.connect(
            url, autocommit=True, options="-c default_transaction_read_only=off"
        ) as other,
    ):
        other.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        other.execute("SELECT pg_reload_conf()")
        try:
            problem = marketer.refused(503, "PUT", "/v1/policies/standby", {"kind": "random"})
        finally:
            other.execute("ALTER SYSTEM RESET default_transaction_read_only")
            other.execute("SELECT pg_reload_conf()")
    assert "takes no writes" in problem["detail"]


def test_the_examples_of_the_guide_work(marketer: Marketer) -> None:
    chapter = GUIDE.read_text().partition("\n## A marketer's program\n")[2].partition("\n## ")[0]
    lines = re.sub(r"\\\n", " ", chapter)
    told: list[tuple[str, str, int]] = []
    for command in re.findall(r"^    (curl (?:[^'\n]|'[^']*')*)", lines, re.M):
        words = shlex.split(command)
        (address,) = (word for word in words if word.startswith("http://127.0.0.1:8000"))
        options = list(itertools.pairwise(words))
        body = next((value for name, value in options if name == "-d"), None)
        method = next((value for name, value in options if name == "-X"), "POST" if body else "GET")
        path = address.removeprefix("http://127.0.0.1:8000")
        headers = dict(value.split(": ", 1) for name, value in options if name == "-H")
        assert headers.pop("Authorization") == "Bearer $KEY"
        answer = marketer.client.request(method, path, content=body, headers=headers)
        told.append((method, path, answer.status_code))
        assert answer.status_code in (200, 201) or answer.json()["code"] == "no_report", answer.text
    assert len(told) == 9
    marketer.ask("DELETE", "/v1/policies/default")
