"""Runs in Flower on a real stack: the JSON API, who is let in, and the pages in Debian's Chromium."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import jsonschema
import msgspec
import pytest
import redis
import runs_functions as orchard
from browser_support import Browser
from cli_support import eventually
from click.testing import CliRunner
from flower_support import Site, browser, needs_chromium

from reconciler import Client, Settings
from reconciler.api.action import ActionId, ActionSpec, RunId
from reconciler.api.event import AuditEntry
from reconciler.api.phase import ActionPhase
from reconciler.archive.index import Group, Row, write_rows
from reconciler.cli import main
from reconciler.client import door
from reconciler.core.liveness import WorkerFacts
from reconciler.embedded.ports import pick_ports
from reconciler.embedded.stack import Stack
from reconciler.stores.redis.store import RedisStore
from reconciler.sweeps.collect import collect

pytestmark = pytest.mark.servers
PATIENCE = 60
HERE = Path(__file__).parent
AXE = Path(__file__).parents[1] / "support" / "axe" / "axe.min.js"
"""axe-core 4.14.1, as npm has it."""
HOSTILE = orchard.HOSTILE + "\u0000" + "W" * 9_600
NAME = "<img src=x onerror=alert(1)>\u202e\u200b\u001b[31m"
"""The same for what has to be short."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    variables = {"FLOWER_READ_ONLY": "false", "RECONCILER_QUOTAS": "press=1"}
    folder = tmp_path_factory.mktemp("runs")
    with (
        Stack(
            folder, imports=["runs_functions"], flower=True, attempts_concurrency=4, env=variables, cwd=HERE
        ) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, stack.env()[name])
        found = Site(stack)
        orchard.env.client = found.client
        yield found


@pytest.fixture(autouse=True)
def nothing_left(site: Site) -> Iterator[None]:
    """Whatever a test leaves behind, or one that failed, takes no worker from the next."""
    yield
    for summary in site.client.runs(200):
        if summary.counts.ended < summary.counts.total:
            site.client.abort(summary.id.action("a0"), "the test is over")


# -- the API -----------------------------------------------------------------------------------------------------------
def test_every_page_of_flower_has_the_tab(site: Site) -> None:
    """Runs are the first page; the pages of Flower are as they were."""
    for path in ("/", "/runs", "/runs/a/b/c", "/runs/a/b/c/d", "/waiting", "/health"):
        status, headers, body = site.ask(path)
        assert (status, b"<main" in body) == (200, True)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    for path, text in (("/workers", b"Workers"), ("/tasks", b"Tasks"), ("/broker", b"Broker")):
        status, _, body = site.ask(path)
        assert (status, b'href="/runs"' in body, text in body) == (200, True, True)


def test_answers_are_as_documented(site: Site) -> None:
    """Each answer fits the OpenAPI document, and each address of it is there."""
    run = orchard.picks.delay(3)
    run.result(PATIENCE)
    document = site.api("/openapi.json")
    names = dict(zip(("project", "domain", "run", "action"), str(run.action).split("/"), strict=True))
    names["verb"] = "recover"
    for path, operations in document["paths"].items():
        if "get" not in operations or path.endswith(("/live", "/inputs", "/outputs")):
            continue  # no JSON object, or tried below
        schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(site.api(path.format(**names)), {**schema, "components": document["components"]})
    status, headers, body = site.ask(f"/reconciler/api/actions/{run.action}/outputs")
    assert (status, json.loads(body)) == (200, {"o0": 3 * 10**18})
    assert headers["content-disposition"].startswith("attachment")
    assert "picking 3" in site.api(f"/actions/{run.action}/log")["log"]


def test_what_is_not_there_or_not_readable_is_told(site: Site) -> None:
    """By status and sentence."""
    for path, wanted in (
        ("/runs/a/b/nothing", 404),
        ("/actions/a/b/c/nothing", 404),
        ("/runs?limit=0", 400),
        ("/runs?colour=red", 400),
        ("/runs/a/b/..%2f", 400),
    ):
        status, _, body = site.ask(f"/reconciler/api{path}")
        assert (status, bool(json.loads(body)["error"]["message"])) == (wanted, True), path


def test_a_press_needs_our_own_page(site: Site) -> None:
    """Without the token, from another site or under another name nothing happens; nor is anything shown under one."""
    run = orchard.runs.delay(120.0)
    path, token, body = f"/reconciler/api/actions/{run.action}/abort", site.token(), {"reason": "no need"}
    for headers in (
        {},
        {"Cookie": token["Cookie"]},
        {**token, "X_XSRFToken": "x" * 32},
        {**token, "Sec_Fetch_Site": "cross-site"},
        {**token, "Origin": "http://evil.example"},
        {**token, "Host": "evil.example"},
    ):
        assert site.ask(path, body=body, **headers)[0] == 403, headers
    for page in (
        "/reconciler/api/runs",
        "/runs",
        "/workers",
        "/tasks",
        "/broker",
        "/metrics",
        "/api/workers",
        f"/task/{run.action}/1",
    ):
        assert (page, site.ask(page, Host="evil.example")[0]) == (page, 403)
    assert "access-control-allow-origin" not in site.ask("/reconciler/api/runs")[1]
    assert site.client.get(run.action).metadata.deletion is None
    status, _, answer = site.ask(path, body=body, Origin=site.url, Sec_Fetch_Site="same-origin", **token)
    assert (status, json.loads(answer)["outcome"]) == (200, "requested")


def test_changes_are_told_as_they_come(site: Site) -> None:
    """A stream from the cursor of the run tells what ended, within a moment."""
    run = orchard.runs.delay(120.0)
    cursor = site.api(f"/runs/{run.id}")["cursor"]
    where = urlsplit(site.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    connection.request("GET", f"/reconciler/api/runs/{run.id}/live?cursor={cursor}")
    stream = connection.getresponse()
    assert stream.getheader("content-type") == "text/event-stream"
    run.abort("seen enough")
    phases: list[str] = []
    while "aborted" not in phases:
        line = stream.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            phases += [row["phase"] for row in json.loads(line[6:])["actions"]]
    connection.close()


@needs_chromium
def test_a_page_whose_stream_is_refused_goes_on_to_look(site: Site, tmp_path: Path) -> None:
    """It says that it is not live, shows the end of the run all the same, and is live again once there is room."""
    run = orchard.runs.delay(120.0)
    where = urlsplit(site.url)
    streams: list[http.client.HTTPConnection] = []

    def are_all_taken() -> bool:
        """Take each stream there is; none while a page that was closed before still counts."""
        for _ in range(32 - len(streams)):
            streams.append(http.client.HTTPConnection(where.hostname or "", where.port, timeout=30))
            streams[-1].request("GET", f"/reconciler/api/runs/{run.id}/live")
            if streams[-1].getresponse().status != 200:
                streams.pop().close()
                return False
        return True

    eventually(are_all_taken, PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{run.id}")
        page.wait_text("not live: ", "looked at")
        run.abort("seen enough")
        page.wait("document.querySelector('.rc-facts .rc-badge').innerText === 'aborted'")
        for one in streams:
            one.sock.shutdown(socket.SHUT_RDWR)
            one.close()
        page.wait("document.querySelector('.rc-live').innerText === 'live'")
        assert page.errors
        assert all("503" in error for error in page.errors)
        page.errors.clear()  # the browser itself notes each refusal


def test_no_address_of_flower_takes_large_bodies(site: Site) -> None:
    """Its own neither: they would be read into memory before anybody looked at the login."""
    for path in (
        "/api/task/apply/orchard.picks",
        "/api/worker/shutdown/x",
        "/login",
        "/reconciler/api/matching/abort",
    ):
        assert (path, _announced(site.url, path, 90_000_000)) in {(path, 400), (path, 413)}


def test_a_number_that_is_too_large_is_refused_in_words(site: Site) -> None:
    """Whoever sends it, and nothing of the reader behind is told."""
    asks = site.client.condition("far", "float", prompt="How far?")
    for number in ("1e999", "9" * 5_000, "9" * 400):
        status, _, body = site.ask(
            f"/reconciler/api/actions/{asks.action}/signal", raw=f'{{"value": {number}}}', **site.token()
        )
        message = json.loads(body)["error"]["message"]
        assert (status, "64" in message, "$" in message) == (400, True, False), message
    asks.abort("enough")


# -- behind a login ----------------------------------------------------------------------------------------------------
@contextmanager
def another_flower(site: Site, *options: str, **variables: str) -> Iterator[str]:
    """Provide a second Flower on the same servers, and its address."""
    [port] = pick_ports(1)
    env = {
        name: text for name, text in site.stack.env().items() if not name.startswith("FLOWER_")
    } | variables
    command = [sys.executable, "-m", "celery", "-A", "worker", "flower", f"--port={port}", *options]
    process = subprocess.Popen(
        command, env=env, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return site.ask("/healthcheck", url=url)[0] > 0
        except OSError:
            return False

    try:
        eventually(answers, PATIENCE)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@needs_chromium
def test_the_login_of_flower_is_ours(site: Site, tmp_path: Path) -> None:
    """Pages, API and buttons ask for it, below a prefix too; read-only hides and refuses each button.

    The address may hold user and password: a browser then refuses what is relative to it.
    """
    run = orchard.runs.delay(120.0)
    key = "Basic " + base64.b64encode(b"ada:secret").decode()
    with another_flower(site, "--basic_auth=ada:secret", "--read_only=true", "--url_prefix=ops") as root:
        for path in ("/runs", "/", "/reconciler/api/runs", f"/reconciler/api/actions/{run.action}"):
            assert site.ask(f"/ops{path}", url=root)[0] == 401, path
            assert site.ask(f"/ops{path}", url=root, Authorization=key, Host="flower.example")[0] == 200, path
        _, headers, page = site.ask("/ops/runs", url=root, Authorization=key)
        assert b'src="/ops/reconciler/static/main.js"' in page
        assert site.ask("/ops/reconciler/static/main.js", url=root)[0] == 200
        found = json.loads(
            site.ask(f"/ops/reconciler/api/actions/{run.action}", url=root, Authorization=key)[2]
        )
        assert (found["phase"] in {"queued", "running"}, found["buttons"]) == (True, [])
        token = headers["set-cookie"].split(";")[0].partition("=")[2]
        status, _, answer = site.ask(
            f"/ops/reconciler/api/actions/{run.action}/abort",
            url=root, body={"reason": "no"}, Authorization=key, Cookie=f"_xsrf={token}", X_XSRFToken=token,
        )  # fmt: skip
        assert (status, "read-only" in json.loads(answer)["error"]["message"]) == (403, True)
        asked = f"/ops/reconciler/api/actions/{run.action}/abort"
        assert _announced(root, asked, 90_000_000) == 401
        assert _announced(root, asked, 90_000_000, Authorization=key) == 413
        with browser(tmp_path) as page:
            page.open(f"{root.replace('//', '//ada:secret@')}/ops/runs/{run.id}")
            page.wait_text("orchard.runs", "live")
            page.click(".rc-name")
            page.wait_text("History", "attempt 1")
    run.abort("enough")


def _announced(url: str, path: str, size: int, **headers: str) -> int:
    """Return the status of a POST that announces a body and sends none of it."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        token = {"Cookie": "_xsrf=abc", "X-XSRFToken": "abc", "Content-Length": str(size)}
        connection.putrequest("POST", path)
        for name, text in (token | headers).items():
            connection.putheader(name, text)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_login_sees_its_projects_alone(site: Site) -> None:
    """Each door of our API is closed to a run of another project, and Flower's own pages, which tell of all, are as well."""
    settings = msgspec.structs.replace(site.client.settings, project="secret")
    orchard.env.client = Client.from_settings(settings)
    try:
        hidden = orchard.runs.submit((300.0,), run="hidden-orchids")
    finally:
        orchard.env.client = site.client
    shown = orchard.runs.submit((300.0,), run="shown-orchids")
    names = dict(zip(("project", "domain", "run", "action"), str(hidden.action).split("/"), strict=True))
    paths = site.api("/openapi.json")["paths"]
    with another_flower(
        site, "--basic_auth=ada:a,root:r", RECONCILER_FLOWER_PROJECTS="ada=default,root=*"
    ) as root:
        ada, all_ = (
            {"Authorization": "Basic " + base64.b64encode(key).decode()} for key in (b"ada:a", b"root:r")
        )
        _, headers, _ = site.ask("/runs", url=root, **ada)
        token = headers["set-cookie"].split(";")[0].partition("=")[2]
        pressing = {**ada, "Cookie": f"_xsrf={token}", "X_XSRFToken": token}
        for path, operations in paths.items():
            for verb in ("abort", "rerun", "signal"):
                where = "/reconciler/api" + path.format(**names, verb=verb, button=verb)
                found = [site.ask(where, url=root, **ada)] if "get" in operations else []
                if "post" in operations:
                    asked = {"query": {"name": "orchids"}, "count": 2, "values": {"reason": "no"}}
                    found.append(site.ask(where, url=root, body=asked, **pressing))
                for status, _, body in found:
                    assert b"hidden-orchids" not in body, path
                    assert status in ({404} if "{run}" in path else {200, 400, 403}), (path, status)
        status, _, body = site.ask("/reconciler/api/runs?name=orchids", url=root, **ada)
        assert [run["run"] for run in json.loads(body)["runs"]] == [str(shown.id)]
        assert (
            len(json.loads(site.ask("/reconciler/api/runs?name=orchids", url=root, **all_)[2])["runs"]) == 2
        )
        for path in (
            "/workers",
            "/tasks",
            f"/task/{hidden.action}/1",
            "/broker",
            "/api/tasks",
            "/api/workers",
            "/metrics",
        ):
            assert (path, site.ask(path, url=root, **ada)[0]) == (path, 403)
            assert (path, site.ask(path, url=root, **all_)[0]) in {(path, 200), (path, 404)}
        for path in ("/api/worker/shutdown/x", "/api/task/revoke/x", "/api/task/async-apply/x"):
            assert (path, site.ask(path, url=root, body={}, **pressing)[0]) == (path, 403)
        assert site.ask("/reconciler/api/health", url=root, **ada)[0] == 403
        assert site.ask("/runs", url=root)[0] == 401
    with another_flower(site, RECONCILER_FLOWER_PROJECTS="ada=default") as root:
        assert site.ask("/reconciler/api/runs", url=root)[0] == 403
    assert site.client.get(hidden.action).metadata.deletion is None
    hidden.abort("enough")
    shown.abort("enough")


def test_an_open_flower_shows_no_runs(site: Site) -> None:
    """On all addresses without a login its own pages may be open; ours are not, and say what to do."""
    with another_flower(site, "--address=0.0.0.0", FLOWER_UNAUTHENTICATED_API="true") as root:
        for path in ("/", "/runs", "/reconciler/api/runs"):
            status, _, body = site.ask(path, url=root)
            assert (status, b"FLOWER_BASIC_AUTH" in body) == (403, True), path


# -- the pages ---------------------------------------------------------------------------------------------------------
@needs_chromium
def test_buttons_are_pressed_by_mouse_and_keyboard(site: Site, tmp_path: Path) -> None:
    """An answer and an abort, with the reason in the history; the keyboard moves through a run and opens an action."""
    asks = site.client.condition("pears", "int", prompt="How many pears?")
    run = orchard.runs.map([300.0, 300.0])
    with browser(tmp_path) as page:
        page.open(f"{site.url}/waiting")
        page.wait_text("How many pears?")
        page.click(f"li:has(a[href$='{asks.action}']) [data-button=signal]")
        page.fill("dialog input", "many")
        page.click("dialog [type=submit]")
        page.wait_text("must be a whole number")
        page.fill("dialog input", "9007199254740993")
        page.click("dialog [type=submit]")
        page.wait("!document.querySelector('dialog')")
        assert asks.result(PATIENCE) == 9007199254740993

        page.open(f"{site.url}/runs/{run.action}")
        page.wait_text("History", "attempt 1")
        assert "Celery task" not in page.text()  # the root of a map is never sent to a worker
        page.open(f"{site.url}/runs/{run.id}/m0")
        page.click(".rc-quiet-link")  # of one that runs, Flower has heard
        page.wait("location.pathname.startsWith('/task/')")
        page.wait_text("orchard.runs")
        page.open(f"{site.url}/runs/{run.id}")
        page.wait_text("m1", "live")
        page.run("document.querySelector('[role=tree]').focus()")
        page.key("ArrowDown")
        page.key("Enter")
        page.wait("location.pathname.endsWith('/m0')")
        page.click("[data-button=abort]")
        page.fill("dialog input", "wrong orchard")
        page.key("Enter")
        page.wait("document.querySelector('.rc-badge.p-aborted')")
        page.wait_text("wrong orchard")
        page.open(f"{site.url}/runs/{run.id}")
        page.wait_text("aborted")
        run.abort("enough")
        page.wait("document.querySelector('.rc-facts .rc-badge.p-aborted, .rc-facts .rc-badge.p-failed')")
        eventually(lambda: site.client.counts(run.id).ended == 3, PATIENCE)
        page.click("[data-button=rerun]")
        page.click("dialog [type=submit]")
        page.wait(f"document.querySelector('h1') && !location.pathname.endsWith('{run.id}')")
        page.wait_text("m1")
        made = page.run("location.pathname.replace('/runs/', '')")
        site.client.abort(RunId.parse(made).action("a0"))


@needs_chromium
def test_everything_is_done_without_a_mouse(site: Site, tmp_path: Path) -> None:
    """Search, tree, forms and tabs by keyboard alone: each stop is seen, Escape closes, and the keyboard goes back."""
    run = orchard.runs.map([300.0, 300.0], run="keys-live")
    asks = site.client.condition("gate", prompt="Open the gate?")
    large = orchard.says.submit(("x" * 40_000,), run="keys-large")
    large.wait(PATIENCE)
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs")
        page.wait_text("keys-live")
        _search_by_keyboard(page)
        page.tab_to("a.rc-run[href$='keys-live']")
        page.key("Enter")
        _run_by_keyboard(page)
        _action_by_keyboard(page)
        eventually(lambda: site.client.get(run.id.action("m0")).phase is ActionPhase.ABORTED, PATIENCE)
        page.open(f"{site.url}/runs/{large.action}")
        page.wait("document.querySelector('[data-button=fork]')")
        page.tab_to("[data-button=fork]")
        page.key("Enter")
        page.wait("document.querySelector('dialog textarea').value.includes('xxxx')")
        _escape(page, "[data-button=fork]")
        page.tab_to(".rc-pre")
        page.open(f"{site.url}/waiting")
        page.wait_text("Open the gate?")
        page.tab_to(f"li:has(a[href$='{asks.action}']) [data-button=signal]")
        page.key(" ")
        page.wait("document.activeElement.matches('dialog select')")
        page.tab_to("dialog [type=submit]")
        page.key("Enter")
        page.wait("!document.querySelector('dialog')")
        assert asks.result(PATIENCE) is True
        page.open(f"{site.url}/health")
        page.wait("document.querySelector('summary')")
        page.tab_to("[data-doctor]")
        page.key("Enter")
        page.wait_text("settings")
        page.tab_to("summary")
        page.key("Enter")
        page.wait_text("orchard.picks")
        page.tab_to(".rc-names")
    run.abort("enough")


def _search_by_keyboard(page: Browser) -> None:
    page.key("/")
    page.wait("document.activeElement.id === 'rc-search'")
    page.type("keys-")
    page.wait("document.querySelectorAll('a.rc-run').length === 2")
    page.tab_to(".rc-chip.p-failed")
    page.key(" ")
    page.wait_text("No run fits this search.")
    assert page.run("document.activeElement.matches('.rc-chip.p-failed')")
    page.key("/")
    page.wait("document.activeElement.id === 'rc-search'")
    page.run("document.activeElement.select()")
    page.type("keys-")
    page.wait("document.querySelectorAll('a.rc-run').length === 2")
    page.tab_to("[data-all=abort]")
    page.key("Enter")
    page.wait("document.activeElement.matches('dialog [name=reason]')")
    _escape(page, "[data-all=abort]")


def _run_by_keyboard(page: Browser) -> None:
    page.wait_text("m1", "live")
    page.tab_to("[aria-label='Find an action']")
    page.type("m0")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 1")
    page.key("Escape")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 3")
    page.tab_to("[role=tree]")
    page.key("Home")
    page.key("ArrowDown")
    page.key("ArrowLeft")  # up to the root
    page.key("ArrowLeft")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 1")
    page.key("ArrowRight")
    page.wait("document.querySelectorAll('[role=treeitem]').length === 3")
    for key in ("End", "Home", "ArrowDown"):
        page.key(key)
    page.key("Enter")
    page.wait("location.pathname.endsWith('/m0') && document.querySelector('[data-button=abort]')")


def _action_by_keyboard(page: Browser) -> None:
    page.tab_to("[data-button=prioritize]")
    page.key("Enter")
    page.wait("document.activeElement.matches('dialog input')")
    _escape(page, "[data-button=prioritize]")
    page.key("Enter")
    page.wait("document.activeElement.matches('dialog input')")
    page.run("document.activeElement.select()")
    page.type("7")
    page.key("Enter")
    page.wait(
        "!document.querySelector('dialog') && document.activeElement.matches('[data-button=prioritize]')"
    )
    page.wait_text("7, by")
    page.tab_to(".rc-attempts .rc-button")
    page.key("Enter")
    page.wait_text("still here")
    page.tab_to(".rc-log")
    page.tab_to("[data-button=abort]", 120)
    page.key("Enter")
    page.type("by keyboard")
    page.key("Enter")
    page.wait("document.querySelector('.rc-badge.p-aborted')")
    page.wait_text("by keyboard")


def _escape(page: Browser, opener: str) -> None:
    page.key("Escape")
    page.wait(f"!document.querySelector('dialog') && document.activeElement.matches({json.dumps(opener)})")


@needs_chromium
def test_all_runs_of_a_search_are_aborted(site: Site, tmp_path: Path) -> None:
    """The search is counted, the number typed, and those that fit are aborted in the name of who asks."""
    found = [orchard.runs.submit((300.0,), run=f"flock-{n}") for n in range(3)]
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?q=flock-")
        page.wait_text("flock-2")
        page.click("[data-all=abort]")
        page.wait_text("3 runs")
        page.fill("dialog input[name=reason]", "flown")
        page.fill("dialog input[name=count]", "2")
        page.click("dialog [type=submit]")
        page.wait("document.querySelector('dialog .rc-red').innerText.includes('Type 3')")
        page.fill("dialog input[name=count]", "3")
        page.click("dialog [type=submit]")
        page.wait_text("3 runs are being aborted.")
    for run in found:
        deletion = site.client.get(run.action).metadata.deletion
        assert deletion is not None
        assert deletion.reason == "flown"


@needs_chromium
def test_a_search_lies_in_the_address(site: Site, tmp_path: Path) -> None:
    """By fields or as it is typed, in upper case too; back and forward go through searches; what is not known is told."""
    good, bad = orchard.picks.submit((1,), run="geese-good"), orchard.fails.submit(("fog",), run="geese-bad")
    eventually(lambda: good.phase.is_terminal() and bad.phase.is_terminal(), PATIENCE)
    seen = "[...document.querySelectorAll('.rc-run strong')].map(one => one.innerText).join()"
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?name=geese&PHASE=Failed&colour=red")
        page.wait(f"{seen} === 'geese-bad'")
        page.wait_text("The address names colour")
        assert page.run("document.querySelector('.rc-chip.p-failed').getAttribute('aria-pressed')") == "true"
        page.click(".rc-chip.p-succeeded")
        page.wait(f"{seen} === 'geese-good'")
        page.click(".rc-chip.p-")
        page.wait(f"{seen} === 'geese-bad,geese-good'")
        page.fill("#rc-search", "geese-b")
        page.wait(f"{seen} === 'geese-bad'")
        page.fill("#rc-search", "geese-g")
        page.wait(f"{seen} === 'geese-good'")
        for wanted in ("geese-bad,geese-good", "geese-good", "geese-bad"):
            page.run("history.back()")
            page.wait(f"{seen} === '{wanted}'")
        page.run("history.forward()")
        page.wait(
            f"{seen} === 'geese-good' && document.querySelector('#rc-search').value.includes('phase:succeeded')"
        )
        page.fill("#rc-search", "since:yesterday")
        page.wait_text("since:yesterday cannot be read")
        page.fill("#rc-search", "geese since:7D")
        page.wait(f"{seen} === 'geese-bad,geese-good'")


@needs_chromium
def test_only_what_some_run_can_be_met_by_is_offered(site: Site, tmp_path: Path) -> None:
    """What has succeeded is not recovered, what has ended is not aborted, and what lives is not rerun."""
    good, bad = orchard.picks.submit((1,), run="ducks-good"), orchard.fails.submit(("fog",), run="ducks-bad")
    live = orchard.runs.submit((300.0,), run="ducks-live")
    eventually(lambda: good.phase.is_terminal() and bad.phase.is_terminal(), PATIENCE)
    seen = "[...document.querySelectorAll('[data-all]')].filter(one => one.checkVisibility())"
    offered = f"{seen}.map(one => one.dataset.all).join()"
    with browser(tmp_path) as page:
        for search, wanted in (
            ("ducks-good", "rerun"),
            ("ducks-bad", "rerun,recover"),
            ("ducks-live", "abort"),
            ("ducks-", "abort,rerun,recover"),
            ("ducks-none", ""),
        ):
            page.open(f"{site.url}/runs?q={search}")
            page.wait("/These are all|No run fits/.test(document.body.innerText)")
            page.wait(f"{offered} === '{wanted}'")
        page.open(f"{site.url}/runs?q=ducks-bad")
        page.click("[data-all=recover]")
        page.fill("dialog input[name=count]", "1")
        page.click("dialog [type=submit]")
        page.wait_text("1 new run was made.")
    live.abort("enough")


@needs_chromium
def test_who_comes_second_sees_what_the_first_has_done(site: Site, tmp_path: Path) -> None:
    """Two tabs have the form open; the second answer is refused in words, and then its button is gone."""
    asks = site.client.condition("boat", "int", prompt="How many boats?")
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs/{asks.action}")
        page.wait_text("How many boats?")
        assert "boats?." not in page.text()
        page.click("[data-button=signal]")
        page.fill("dialog input", "9" * 30)
        page.click("dialog [type=submit]")
        page.wait(
            "document.querySelector('dialog .rc-red').innerText.includes('must be from -9223372036854775808')"
        )
        page.fill("dialog input", "2")
        site.client.signal(asks.action, 1, "the first")
        page.click("dialog [type=submit]")
        page.wait("document.querySelector('dialog .rc-red').innerText.endsWith('.')")
        _escape_to_the_page(page)
        page.wait("!document.querySelector('[data-button=signal]')")
        page.wait("document.querySelector('.rc-badge.p-succeeded')")
        page.errors.clear()  # the browser notes the refusal


def _escape_to_the_page(page: Browser) -> None:
    page.key("Escape")
    page.wait("!document.querySelector('dialog')")


@needs_chromium
def test_hostile_strings_are_text(site: Site, tmp_path: Path) -> None:
    """In arguments, errors, logs, labels, questions, reasons: none runs, and none breaks the layout.

    Nor in the names of actors, workers, queues and functions, in keys of labels, in warnings, in the archive with its
    domains, and in the address.
    """
    shown = HOSTILE.replace("\u0000", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            door, "check_labels", lambda _: None
        )  # what lies in Redis need not have come through it
        said = orchard.says.submit((HOSTILE,), labels={"evil": shown[:60], NAME + "W" * 90: NAME})
    failed = orchard.fails.delay(shown)
    asks = site.client.condition("evil", prompt=shown[:900], description=shown[:2000])
    named = site.client.submit(
        ActionSpec(task_type=NAME, short_name=NAME, group=NAME), fair_key=NAME, idempotency_key=NAME
    )
    pays = orchard.pays.delay(NAME)
    aborted = orchard.runs.delay(300.0)
    site.client.abort(aborted.action, shown, shown[:200])
    eventually(lambda: all(run.phase.is_terminal() for run in (said, failed, named, aborted)), PATIENCE)
    _tell_hostile(site, shown, failed.action)
    evil = quote(NAME)
    with browser(tmp_path) as page:
        for width in (1440, 400):
            page.resize(width, 900)
            for path in (
                "/runs", "/runs?q=hostile-row", f"/runs?{evil}=1&q={evil}", f"/runs/default/{evil}/hostile-row",
                "/waiting", "/health", f"/runs/{failed.id}",
                *(f"/runs/{one.action}" for one in (said, failed, asks, named, pays, aborted)),
            ):  # fmt: skip
                page.open(site.url + path)
                page.wait_text("onerror=alert(1)") if path != "/runs" or width > 1000 else page.wait_text(
                    "fails-"
                )
                assert page.run("document.documentElement.scrollWidth <= innerWidth"), (path, width)
                assert page.run("document.querySelectorAll('main img, main script').length") == 0
                assert not page.run(r"/[\u202e\u200b\u001b]/.test(document.body.innerText)"), path
        page.errors[:] = [
            one for one in page.errors if "/hostile-row" not in one
        ]  # it is no run, as the browser notes
        for path in ("/tasks", f"/task/{failed.action}/1", "/workers", "/broker"):  # Flower's own
            page.open(site.url + path)
            page.wait("document.querySelector('main, .container-fluid')")
    site.client.store.say_alive(shown[:150], b"", 0)
    asks.abort("enough")
    pays.abort("enough")
    for run in (said, failed, named, pays, asks, aborted):
        for verb in (("get",), ("describe",), ("events",), ("watch",), ("list",)):
            told = _on_a_terminal(site, *verb, str(run.action) if verb != ("list",) else str(run.id))
            assert re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e]", told) is None, (verb, run.id)


def _on_a_terminal(site: Site, *words: str) -> str:
    """What a command writes, less the colours that are ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.stack.env().items():
            patch.setenv(name, value)
        told = CliRunner().invoke(main, words)
    assert isinstance(told.exception, (SystemExit, type(None))), words
    return re.sub(r"\x1b\[[0-9;:]*m", "", told.output)


def _tell_hostile(site: Site, shown: str, action: ActionId) -> None:
    """Say it where workers, the engine and the archive do: what lies in Redis and in S3 is data of others."""
    store, now = site.client.store, site.client.store.now()
    assert isinstance(store, RedisStore)
    facts = WorkerFacts(
        pid=1, host=shown, queues=("attempts", shown[:90]), release=shown, functions=1, troubles=(shown,)
    )
    store.say_alive(shown[:150], msgspec.json.encode(facts), 300)
    store.tell_functions("evil@here", "attempts", {shown.replace(" ", "_"): "1"}, 300_000)
    warnings = (("FailedPluginHandle", f"[WorkerLost] {shown}"), ("CleanupFailed", shown))
    store.record_audit([AuditEntry(id=action, reason=r, action="x", message=m, at=now) for r, m in warnings])
    row = Row(
        project="default", domain=NAME + "W" * 90, run="hostile-row", incarnation="1234567890", created_at=now - 9000,
        ended_at=now - 5000, phase="failed", task=shown, actions=1, groups=(Group(shown, "failed", shown, 1),),
        labels={"evil": shown},
    )  # fmt: skip
    write_rows(site.client.blobs, [row])


@needs_chromium
def test_axe_finds_nothing_serious(site: Site, tmp_path: Path) -> None:
    """On no page, in light and dark, wide and narrow; and a prompt is Markdown that can do nothing."""
    asks = site.client.condition(
        "axe",
        prompt="**Ship** [it](https://example.com/1)?\n\n<img src=x onerror=alert(1)>\n\n|a|\n|-|\n|b|",
        description="_Soon_",
    )
    failed, run = orchard.fails.delay("closed"), orchard.runs.map([300.0, 0.0])
    eventually(lambda: failed.phase is ActionPhase.FAILED and site.client.counts(run.id).ended == 1, PATIENCE)
    paths = (
        "/runs",
        "/waiting",
        "/health",
        *(f"/runs/{one}" for one in (run.id, run.action, failed.action, asks.action)),
    )
    with browser(tmp_path) as page:
        for scheme, width in (("light", 1440), ("dark", 400)):
            page.theme(scheme)
            page.resize(width, 900)
            for path in paths:
                page.open(site.url + path)
                page.wait("document.querySelector('.rc-body')?.children.length > 1")
                if path == "/health":
                    page.click("[data-doctor]")
                    page.wait_text("settings")
                page.run(AXE.read_text() + ";0")
                found = page.run(
                    "axe.run().then(r => r.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
                    ".map(v => [v.id, v.nodes[0].html]))"
                )
                assert (path, scheme, found) == (path, scheme, [])
        page.open(f"{site.url}/runs/{asks.action}")
        page.wait("document.querySelector('.rc-prose strong')?.innerText === 'Ship'")
        assert page.run("document.querySelector('.rc-prose a').href") == "https://example.com/1"
        page.wait_text("<img src=x onerror=alert(1)>")
        assert page.run("document.querySelectorAll('main img').length") == 0
    asks.abort("enough")
    run.abort("enough")


@needs_chromium
def test_what_is_redacted_shows_nowhere(site: Site, tmp_path: Path) -> None:
    """Neither inputs nor outputs, in no page, answer, event, log or command, although the function tells all it can."""
    words = "xyzzy plugh frotz"
    good, bad = orchard.whispers.delay(words, False), orchard.whispers.delay(words, True)
    assert good.result(PATIENCE) == {"answer": words[::-1]}
    eventually(lambda: bad.phase is ActionPhase.FAILED, PATIENCE)
    told = []
    for run in (good, bad):
        action = run.action
        for path in (
            f"/runs/{run.id}",
            f"/runs/{run.id}/actions",
            f"/actions/{action}",
            f"/actions/{action}/log",
        ):
            told += [site.ask(f"/reconciler/api{path}")[2].decode()]
        for command in ("get", "describe", "result", "events", "logs", "list"):
            for form in ([], ["--json"]):
                answer = CliRunner().invoke(main, [command, str(run.id), *form], env=site.stack.env())
                told.append(answer.stdout + answer.stderr)
        told.append(site.ask(f"/task/{action}/1")[2].decode())
        assert site.ask(f"/reconciler/api/actions/{action}/inputs")[0] == 400
    assert site.ask(f"/reconciler/api/actions/{good.action}/outputs")[0] == 400
    with browser(tmp_path) as page:
        for run in (good, bad):
            page.open(f"{site.url}/runs/{run.action}")
            page.wait_text("[redacted]", "attempt 1")
            page.click(".rc-attempts .rc-button")
            page.wait_text("heard **")
            told.append(page.text())
    found = "\n".join(told)
    assert "cannot keep **" in found
    assert "replies **" in found
    assert "is redacted" in found
    assert [piece for piece in ("xyzzy", "plugh", "ztorf", "hgulp") if piece in found] == []


@needs_chromium
def test_a_large_run_draws_only_what_is_seen(site: Site, tmp_path: Path) -> None:
    """A group of equal siblings is one row; opened, only some rows exist, wherever one scrolls."""
    site.client.pause_queue("attempts")
    run = orchard.picks.map(list(range(1500)))
    try:
        eventually(lambda: site.client.counts(run.id).total == 1501, PATIENCE)
        with browser(tmp_path) as page:
            page.open(f"{site.url}/runs/{run.id}")
            page.wait_text("1,500 \u00d7 orchard.picks")
            page.click("[role=treeitem]:nth-child(2)")
            page.wait("document.querySelectorAll('[role=treeitem]').length > 10")
            page.run("document.querySelector('[role=tree]').scrollTop = 1e9")
            page.wait_text("m1499")
            assert page.run("document.querySelectorAll('[role=treeitem]').length") < 80
            page.fill(".rc-small", "m777")
            page.wait("document.querySelectorAll('[role=treeitem]').length === 1")
    finally:
        run.abort("enough")
        site.client.resume_queue("attempts")


@needs_chromium
def test_a_flood_of_new_actions_is_seen_as_it_comes(site: Site, tmp_path: Path) -> None:
    """Told in short by the stream, and read in full where it is seen."""
    site.client.pause_queue("attempts")
    run = orchard.plants.delay(400)
    try:
        with browser(tmp_path) as page:
            page.open(f"{site.url}/runs/{run.id}")
            page.wait_text("a0", "live")
            site.client.resume_queue("attempts")
            page.wait_text("400 \u00d7 orchard.picks", "402 succeeded")
            page.run(
                "[...document.querySelectorAll('[role=treeitem]')].find(one => one.innerText.includes('400')).click()"
            )
            page.wait("document.querySelectorAll('[role=treeitem]').length > 10")
            page.wait("performance.getEntriesByType('resource').some(one => one.name.includes('names='))")
            assert page.errors == []
    finally:
        site.client.resume_queue("attempts")
        run.abort("enough")


@pytest.mark.rule("R42")
@needs_chromium
def test_all_is_there_after_a_restart_of_everything(site: Site, tmp_path: Path) -> None:
    """Also when Redis has lost all it held: then the archive tells. Last here: it restarts what there is."""
    run = orchard.picks.submit((7,), run="pears-of-old", labels={"team": "red"})
    assert run.result(PATIENCE) == 7 * 10**18
    settings = msgspec.structs.replace(site.client.settings, retention=timedelta(0))
    eventually(lambda: _collected(site, settings, run.id), PATIENCE)

    def listed() -> list[tuple[str, bool]]:
        return [(one["run"], one["archived"]) for one in site.api("/runs?name=pears-of&limit=200")["runs"]]

    eventually(
        lambda: listed() == [(str(run.id), True)], PATIENCE
    )  # Flower keeps a list of the archive for 10 s
    site.stack.restart("flower")
    assert listed() == [(str(run.id), True)]
    with redis.Redis.from_url(site.stack.env()["RECONCILER_REDIS_URL"]) as server:
        server.flushall()
    for process in ("attempts-1", "steps-1", "beat", "flower"):
        site.stack.restart(process)
    found = site.api("/runs?label=team=red&name=pears-of")["runs"]
    assert [(one["run"], one["archived"]) for one in found] == [(str(run.id), True)]
    with browser(tmp_path) as page:
        page.open(f"{site.url}/runs?q=pears-of")
        page.wait_text("pears-of-old", "archived")
        page.click(".rc-run")
        page.wait_text("from the archive", "orchard.picks", "Rerun")
        page.click(".rc-row .rc-name")
        page.wait_text("7000000000000000000", "team=red", "attempt 1")
        page.click(".rc-attempts .rc-button")
        page.wait_text("picking 7")
        page.click("[data-button=rerun]")
        page.click("dialog [type=submit]")
        page.wait_text("rerun of pears-of-old")
        page.wait("document.querySelector('.rc-facts .rc-badge.p-succeeded')")


def _collected(site: Site, settings: Settings, run: RunId) -> bool:
    """Have all ended runs archived; whether this one is."""
    collect(site.client.store, settings, site.client.blobs)
    return site.client.store.counts(run) is None
