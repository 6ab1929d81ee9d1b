"""What comes through the console's gate? A real console process, asked over HTTP."""

import asyncio
import base64
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from fastapi import FastAPI

from adapters.embedded_postgres import EmbeddedPostgres
from adapters.postgres_admin import PostgresAdmin
from foundation.access import ROLES, Role
from foundation.clock import SystemClock
from serving.console.account_pages import add_account_pages
from serving.console.gate import Gate
from serving.console.sign_in import SignIn
from tests.experiments.reported import EVIL

ROOT = Path(__file__).parents[3]
NEW = "ein neuer langer Satz mit Wald"


@dataclass
class Console:
    """A console, and a user of each role."""

    url: str
    passwords: dict[Role, str]
    admin: PostgresAdmin

    @property
    def own(self) -> dict[str, str]:
        """What a browser sends with the console's own forms."""
        return {"Origin": self.url}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    @contextmanager
    def signed_in(self, role: Role) -> Iterator[httpx.Client]:
        with self.client() as client:
            form = {"name": role, "password": self.passwords[role]}
            answer = client.post("/sign-in", data=form, headers=self.own)
            assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
            yield client


def started(url: str, server: EmbeddedPostgres, *more: str) -> "subprocess.Popen[bytes]":
    port = url.rpartition(":")[2]
    command = [sys.executable, "-m", "tests.browser.reported_console", port, server.url, *more]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 120
    headers = {"X-Forwarded-Proto": "https"} if more else {}
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            answer = httpx.get(f"{url}/health/live", headers=headers, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.2)
            continue
        assert answer.json() == {"status": "live"}
        return process


def free_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("gate") / "pg") as server:
        yield server


@pytest.fixture(scope="module")
def console(server: EmbeddedPostgres) -> Iterator[Console]:
    admin = PostgresAdmin(server.url)
    passwords = {role: admin.users.add(role, role) for role in ROLES}
    url = free_url()
    process = started(url, server)
    try:
        yield Console(url, passwords, admin)
    finally:
        process.terminate()
        process.wait(20)
        admin.close()


@pytest.fixture(autouse=True)
def nobody_tried(server: EmbeddedPostgres, console: Console) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("DELETE FROM sign_in_tries")


# What each page asks for; None: nobody needs to be signed in.
PAGES: dict[tuple[str, str], Role | None] = {
    ("GET", "/sign-in"): None,
    ("POST", "/sign-in"): None,
    ("GET", "/style.css"): None,
    ("GET", "/health/live"): None,
    ("GET", "/"): "viewer",
    ("GET", "/password"): "viewer",
    ("POST", "/password"): "viewer",
    ("GET", "/audit"): "admin",
    ("POST", "/experiments/{key}/stop"): "marketer",
    ("POST", "/sign-out"): "viewer",
}


def test_every_page_has_a_row() -> None:
    # In a process of its own: NiceGUI keeps its pages globally.
    listed = subprocess.run(
        [
            sys.executable,
            "-c",
            "from serving.console.page import create_console\n"
            "from nicegui import app\n"
            "web = create_console(None, None, behind_proxy=False)\n"
            "for route in [*web.routes, *app.routes]:\n"
            "    for method in getattr(route, 'methods', None) or ():\n"
            "        print(method, route.path)",
        ],
        cwd=ROOT,
        env={**os.environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {tuple(line.split(" ", 1)) for line in listed.splitlines()}
    # What NiceGUI brings to every page, and FastAPI's answers to HEAD.
    brought = re.compile(r"/_nicegui|/docs|/redoc|/openapi|/favicon.ico")
    ours = {(m, p) for m, p in found if m != "HEAD" and not brought.match(p)}
    assert ours == set(PAGES)


@pytest.mark.parametrize(("method", "path"), PAGES)
def test_without_a_session_only_signing_in_is_there(
    console: Console, method: str, path: str
) -> None:
    needed, path = PAGES[method, path], path.replace("{key}", "autumn")
    for cookie in (None, "guessed"):
        with console.client() as client:
            if cookie is not None:
                client.cookies.set("regulars_session", cookie)
            answer = client.request(method, path, headers=console.own)
        if needed is None:
            assert answer.status_code in (200, 401)
        elif method == "GET":
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        else:
            assert (answer.status_code, answer.text) == (401, "sign in first")


def test_what_a_page_is_made_of_is_behind_the_gate_too(console: Console) -> None:
    with console.client() as stranger, console.signed_in("viewer") as client:
        for path in ("/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/nothing", "/docs"):
            assert stranger.get(path).status_code in (303, 401)
        assert client.get("/_nicegui_ws/socket.io/?EIO=4&transport=polling").status_code == 200


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_what_it_says_and_nothing_more(console: Console, role: Role) -> None:
    with console.signed_in(role) as client:
        for (method, path), needed in PAGES.items():
            if path in ("/sign-out", "/sign-in") or needed is None:
                continue
            answer = client.request(method, path.replace("{key}", "x"), headers=console.own)
            if ROLES.index(role) >= ROLES.index(needed):
                # What was wrong with the form, or does not run, is said afterwards.
                assert answer.status_code in (200, 401, 409, 429), (method, path)
            else:
                assert answer.status_code == 403, (method, path)
                assert f"for the role {needed}; {role} is a {role}" in answer.text


def test_who_acts_is_told_to_the_desk(console: Console) -> None:
    with console.signed_in("marketer") as client:
        answer = client.post("/experiments/a%20b%22/stop", headers=console.own)
    assert answer.status_code == 409
    assert "Experiment &#39;a b&#34;&#39; does not run, marketer." in answer.text


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "https://127.0.0.1",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "nonsense",
    ],
)
def test_what_a_foreign_page_sends_does_nothing(console: Console, origin: str | None) -> None:
    port = console.url.rpartition(":")[2]
    headers = {} if origin is None else {"Origin": origin.format(port=port)}
    with console.signed_in("admin") as client:
        for path in ("/sign-out", "/password", "/experiments/x/stop", "/sign-in"):
            form = {"name": "admin", "password": console.passwords["admin"]}
            answer = client.post(path, data=form, headers=headers)
            assert (answer.status_code, answer.text) == (
                403,
                "this request comes from another page",
            )
        if origin is not None:
            # Nor may it read.
            assert client.get("/", headers=headers).status_code == 403
        # The session is still there.
        assert client.get("/password").status_code == 200


def handshake(console: Console, cookie: str, origin: str | None) -> str:
    """Open the page's socket and return the status line of the answer."""
    host, _, port = console.url.removeprefix("http://").partition(":")
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /_nicegui_ws/socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: {host}:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"Cookie: regulars_session={cookie}",
        *([] if origin is None else [f"Origin: {origin}"]),
    ]
    with socket.create_connection((host, int(port)), timeout=20) as asked:
        asked.sendall("\r\n".join([*lines, "", ""]).encode())
        # The socket's first frame, which is no text, may come with the answer.
        return asked.recv(1000).partition(b"\r\n")[0].decode()


def test_the_pages_socket_opens_for_a_session_and_from_our_own_page_alone(
    console: Console,
) -> None:
    with console.signed_in("viewer") as client:
        cookie = client.cookies["regulars_session"]
        assert " 101 " in handshake(console, cookie, console.url)
        for given, origin in (
            (cookie, "http://evil.example"),
            (cookie, None),
            ("guessed", console.url),
            ("", console.url),
        ):
            assert " 403 " in handshake(console, given, origin)
        client.post("/sign-out", headers=console.own)
    time.sleep(1.1)
    assert " 403 " in handshake(console, cookie, console.url)


def test_a_session_is_over_when_she_signs_out_or_is_removed(console: Console) -> None:
    with console.signed_in("viewer") as client:
        token = client.cookies["regulars_session"]
        answer = client.post("/sign-out", headers=console.own)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert "regulars_session" not in client.cookies
    with console.client() as client:
        client.cookies.set("regulars_session", token)
        # One look at a session serves a page's files for a second.
        time.sleep(1.1)
        assert client.get("/").status_code == 303
    password = console.admin.users.add("carla", "viewer")
    with console.client() as client:
        form = {"name": "carla", "password": password}
        assert client.post("/sign-in", data=form, headers=console.own).status_code == 303
        assert client.get("/password").status_code == 200
        console.admin.users.remove("carla")
        time.sleep(1.1)
        assert client.get("/password").status_code == 303


def test_a_new_sign_in_brings_a_new_token_and_ends_the_old_one(console: Console) -> None:
    with console.signed_in("viewer") as client:
        before = client.cookies["regulars_session"]
        form = {"name": "viewer", "password": console.passwords["viewer"]}
        assert client.post("/sign-in", data=form, headers=console.own).status_code == 303
        assert client.cookies["regulars_session"] != before
    with console.client() as client:
        client.cookies.set("regulars_session", before)
        time.sleep(1.1)
        assert client.get("/").status_code == 303


def test_the_cookie_is_for_this_console_alone(console: Console) -> None:
    form = {"name": "viewer", "password": console.passwords["viewer"]}
    with console.client() as client:
        answer = client.post("/sign-in", data=form, headers=console.own)
    parts = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= parts
    # Over plain HTTP a browser would not keep it otherwise; see below for what a proxy changes.
    assert "secure" not in parts
    assert not any(part.startswith("domain") for part in parts)


def test_her_own_password_is_changed_by_who_knows_the_old_one(console: Console) -> None:
    password = console.admin.users.add("dora", "viewer")

    def change(client: httpx.Client, old: str, new: str) -> httpx.Response:
        return client.post("/password", data={"old": old, "new": new}, headers=console.own)

    with console.client() as client, console.client() as elsewhere:
        form = {"name": "dora", "password": password}
        for one in (client, elsewhere):
            assert one.post("/sign-in", data=form, headers=console.own).status_code == 303
        assert change(client, "wrong", NEW).status_code == 401
        short = change(client, password, "short")
        assert (short.status_code, "15 to 200 characters" in short.text) == (422, True)
        assert change(client, password, NEW).status_code == 303
        time.sleep(1.1)
        assert client.get("/password").status_code == 200
        assert elsewhere.get("/password").status_code == 303


def test_too_many_tries_are_told_and_not_looked_at(console: Console) -> None:
    console.admin.users.add("eva", "viewer")
    with console.client() as client:
        for _ in range(5):
            form = {"name": "eva", "password": "wrong"}
            answer = client.post("/sign-in", data=form, headers=console.own)
            assert answer.status_code == 401
            assert "Name or password is wrong." in answer.text
        answer = client.post("/sign-in", data=form, headers=console.own)
        assert answer.status_code == 429
        assert "Too many tries" in answer.text
        assert "regulars_session" not in client.cookies


def test_a_form_that_is_none_of_ours_is_refused(console: Console) -> None:
    with console.client() as client:
        for sent, status in ((b"x" * 20_000, 413), (b"\xff\x00&&==", 401), (b"", 401)):
            answer = client.post("/sign-in", content=sent, headers=console.own)
            assert answer.status_code == status
        form = {"name": "<script>alert(1)</script>", "password": "x"}
        shown = client.post("/sign-in", data=form, headers=console.own).text
        assert "<script>" not in shown
        assert "&lt;script&gt;" in shown


def test_the_audit_log_shows_names_as_text(console: Console) -> None:
    with console.signed_in("admin") as client:
        shown = client.get("/audit").text
    assert EVIL not in shown
    assert "&lt;" in shown


@pytest.mark.parametrize("path", ["/sign-in", "/", "/password", "/style.css", "/nothing"])
def test_browsers_are_told_what_to_keep_out(console: Console, path: str) -> None:
    with console.signed_in("viewer") as client:
        headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    if path in ("/sign-in", "/password"):
        assert "script" not in headers["content-security-policy"]
    if path != "/style.css":
        assert headers["cache-control"] == "no-store"


def test_a_name_that_points_here_is_refused(console: Console) -> None:
    with console.client() as client:
        assert client.get("/sign-in", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.slow
class TestBehindAProxy:
    """The proxy ends TLS for console.example, and says so."""

    OWN = {  # noqa: RUF012
        "Host": "console.example",
        "Origin": "https://console.example",
        "X-Forwarded-Proto": "https",
    }

    @pytest.fixture(scope="class")
    def proxied(self, console: Console, server: EmbeddedPostgres) -> Iterator[str]:
        url = free_url()
        process = started(url, server, "proxied")
        try:
            yield url
        finally:
            process.terminate()
            process.wait(20)

    def sign_in(self, proxied: str, console: Console, **headers: str) -> httpx.Response:
        form = {"name": "viewer", "password": console.passwords["viewer"]}
        return httpx.post(
            f"{proxied}/sign-in", data=form, headers=self.OWN | headers, trust_env=False
        )

    def test_cookies_are_secure_and_browsers_stay_with_https(
        self, proxied: str, console: Console
    ) -> None:
        answer = self.sign_in(proxied, console)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith("__host-regulars_session=")
        assert "; secure" in cookie
        assert answer.headers["strict-transport-security"] == "max-age=31536000"

    def test_what_did_not_come_encrypted_is_refused(self, proxied: str, console: Console) -> None:
        for changed in (
            {"X-Forwarded-Proto": "http"},
            {"Origin": "http://console.example"},
            {"Origin": "https://evil.example"},
        ):
            assert self.sign_in(proxied, console, **changed).status_code == 403
        direct = httpx.get(f"{proxied}/sign-in", trust_env=False)
        assert (direct.status_code, direct.text) == (403, "come through the proxy, over https")

    def test_tries_count_for_the_caller_and_not_for_the_proxy(
        self, proxied: str, console: Console
    ) -> None:
        statuses = []
        for n in range(22):
            form = {"name": f"guess-{n}", "password": "x"}
            headers = self.OWN | {"X-Forwarded-For": "203.0.113.5"}
            statuses.append(
                httpx.post(
                    f"{proxied}/sign-in", data=form, headers=headers, trust_env=False, timeout=30
                ).status_code
            )
        assert statuses == [401] * 20 + [429] * 2
        assert self.sign_in(proxied, console).status_code == 303


def test_without_a_trusted_proxy_forwarded_headers_are_not_believed(console: Console) -> None:
    form = {"name": "viewer", "password": console.passwords["viewer"]}
    headers = console.own | {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.77"}
    with console.client() as client:
        answer = client.post("/sign-in", data=form, headers=headers)
    assert answer.status_code == 303
    assert "secure" not in answer.headers["set-cookie"].lower()


def test_a_database_that_is_away_lets_nobody_in_and_is_told(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path / "pg") as server:
        admin = PostgresAdmin(server.url)
        sign_in = SignIn(admin.users, SystemClock())
        token = sign_in.sign_in("ana", admin.users.add("ana", "admin"), "192.0.2.1")
        web = FastAPI()
        add_account_pages(web, sign_in)
        gated = Gate(web, sign_in, encrypted=False)

        async def asked(method: str, path: str) -> httpx.Response:
            transport = httpx.ASGITransport(gated)
            cookies = {"regulars_session": token}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://x", cookies=cookies
            ) as one:
                return await one.request(method, path, headers={"Origin": "http://x"})

        assert asyncio.run(asked("GET", "/password")).status_code == 200
    time.sleep(1.1)
    for method, path in (("GET", "/password"), ("POST", "/sign-in")):
        answer = asyncio.run(asked(method, path))
        assert answer.status_code == 503
        assert "PostgreSQL does not answer" in answer.text
    admin.close()
