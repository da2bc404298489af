"""The JSON API of runs in Flower on a real stack, and who is let in."""

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
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import msgspec
import pytest
import runs_functions as orchard
from cli_support import eventually
from flower_support import Site, browser, needs_chromium, orchard_site

from reconciler import Client
from reconciler.embedded.ports import pick_ports

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("nothing_left")]
PATIENCE = 60
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    with orchard_site(tmp_path_factory.mktemp("runs")) as found:
        yield found


def test_every_page_of_flower_has_the_tab(site: Site) -> None:
    """Runs are the first page; the pages of Flower are as they were."""
    for path in ("/", "/runs", "/runs/a/b/c", "/runs/a/b/c/d", "/waiting", "/health"):
        status, headers, body = site.ask(path)
        assert (status, b"<main" in body) == (200, True)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
    for path, text in (("/workers", b"Workers"), ("/tasks", b"Tasks"), ("/broker", b"Broker")):
        status, headers, body = site.ask(path)
        assert (status, b'href="/runs"' in body, text in body) == (200, True, True)
        assert (
            text in body.partition(b"app-nav navbar-nav")[2].partition(b"</ul>")[0]
        )  # its own tab, beside ours
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy.partition("script-src")[2].partition(";")[0]
        scripts = re.findall(rb"<script[^>]*>", body)
        nonce = policy.partition("'nonce-")[2].partition("'")[0].encode()
        assert scripts
        assert all(b"src=" in script or nonce in script for script in scripts)
        assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")
    for path in ("/nothing", "/healthcheck", "/metrics", "/api/workers"):
        assert "frame-ancestors 'none'" in site.ask(path)[1]["content-security-policy"], path


def test_flower_logs_no_news_as_warnings(site: Site) -> None:
    """What it tells of each start and request is left out: `reconciler dev` shows its log as warnings and errors."""
    log = site.stack.processes["flower"].log
    assert site.ask("/runs")[0] == 200
    assert "[I " not in log.read_text(), log.read_text()


@needs_chromium
def test_pages_of_flower_work_under_their_policy(site: Site, tmp_path: Path) -> None:
    """Its tables are filled by its scripts, and the browser refuses nothing of them."""
    orchard.picks.delay(1).result(PATIENCE)
    with browser(tmp_path) as page:
        for path, wanted in (
            ("/workers", "document.querySelector('table tbody tr td')"),
            ("/tasks", "document.querySelector('#tasks-table tbody tr, table tbody tr')"),
            ("/broker", "document.querySelector('main')"),
        ):
            page.open(f"{site.url}{path}")
            page.wait(wanted)
            page.wait("document.querySelector('#theme-toggle')")
        assert page.errors == []


def test_answers_are_as_documented(site: Site) -> None:
    """Each answer fits the OpenAPI document, and each address of it is there."""
    run = orchard.picks.delay(3)
    run.result(PATIENCE)
    document = site.api("/openapi.json")
    names = dict(zip(("project", "domain", "run", "action"), str(run.action).split("/"), strict=True))
    names["verb"] = "recover"
    for path, operations in document["paths"].items():
        if "get" not in operations or path.endswith(("/live", "/inputs", "/outputs", "/log.txt")):
            continue  # no JSON object, or tried below
        schema = operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(site.api(path.format(**names)), {**schema, "components": document["components"]})
    site.client.condition("as-documented", prompt="Is all of it documented?")
    eventually(lambda: site.api("/waiting")["questions"], PATIENCE)
    for path, many in (("/waiting", "questions"), ("/health", "queues")):
        answers = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert set(site.api(path)[many][0]) == set(answers["properties"][many]["items"]["properties"])
    status, headers, body = site.ask(f"/reconciler/api/actions/{run.action}/outputs")
    assert (status, json.loads(body)) == (200, {"o0": 3 * 10**18})
    assert headers["content-disposition"].startswith("attachment")
    assert "picking 3" in site.api(f"/actions/{run.action}/log")["log"]
    status, headers, body = site.ask(f"/reconciler/api/actions/{run.action}/log.txt?attempt=1")
    assert (status, body) == (200, b"picking 3\n")
    assert headers["content-disposition"] == 'attachment; filename="log.txt"'


def test_what_is_not_there_or_not_readable_is_told(site: Site) -> None:
    """By status and sentence."""
    without = site.client.condition("without-inputs").action
    for path, wanted in (
        (f"/actions/{without}/inputs", 404),
        (f"/actions/{without}/editable", 404),
        ("/runs/a/b/nothing", 404),
        ("/actions/a/b/c/nothing", 404),
        ("/runs?limit=0", 400),
        ("/runs?colour=red", 400),
        ("/runs?phase=failed&phase=aborted", 400),
        (f"/actions/{without}?colour=red", 400),
        (f"/runs/{without.run_id}/actions?names=a0&limit=5", 400),
        (f"/runs/{without.run_id}/live?brief=maybe", 400),
        ("/waiting?limit=5", 400),
        ("/matching/abort?limit=5", 400),
        ("/runs/a/b/..%2f", 400),
        ("/runs/a/b/c/live?cursor=yesterday", 400),
        ("/runs/a/b/-/live", 400),
        ("/runs/a/b/nothing/live", 404),
        ("/actions/a/b/c/nothing/log.txt", 404),
        (f"/actions/{without}/log.txt?attempt=9", 400),
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
    """It says that it is not live, shows the end of the run all the same, and says so with its stream once there is room."""
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
        page.wait("document.querySelector('.rc-live').innerText === 'has ended'")
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
            page.wait_text("orchard.runs", "live", "read-only")
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
            status, _, body = site.ask(path, url=root, **ada)
            assert (path, status) == (path, 403)
            assert b'href="/workers"' not in body, path
            assert (b"Not for your login" in body) is not path.startswith(("/api", "/metrics")), path
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


@needs_chromium
def test_a_login_is_told_no_more_than_it_can_know(site: Site, tmp_path: Path) -> None:
    """Where it sees nothing it does not read that nothing is stored, and no tab leads to a page that is closed to it."""
    tabs = "[...document.querySelectorAll('.rc-tabs a')].map(one => one.innerText).join()"
    with (
        another_flower(
            site,
            "--basic_auth=ada:a,bob:b,root:r",
            RECONCILER_FLOWER_PROJECTS="ada=meadow,root=*",
        ) as root,
        browser(tmp_path) as page,
    ):
        for login, text, wanted in (
            (
                "ada:a",
                "No run is stored yet in the projects your login sees (meadow)",
                "Runs,Waiting for you",
            ),
            ("bob:b", "Your login sees no project, so no run is shown", "Runs,Waiting for you"),
            ("root:r", "", "Runs,Waiting for you,Health"),
        ):
            page.open(f"{root.replace('//', f'//{login}@')}/runs")
            page.wait_text(text)
            page.wait(f"{tabs} === '{wanted}'")


def test_an_open_flower_shows_no_runs(site: Site) -> None:
    """On all addresses without a login its own pages may be open; ours are not, and say what to do."""
    with another_flower(site, "--address=0.0.0.0", FLOWER_UNAUTHENTICATED_API="true") as root:
        for path in ("/", "/runs", "/reconciler/api/runs"):
            status, _, body = site.ask(path, url=root)
            assert (status, b"FLOWER_BASIC_AUTH" in body) == (403, True), path
            assert (b"<h1" in body) is not path.startswith("/reconciler"), path
    for path in ("/", "/runs", "/tasks", "/workers"):
        status, _, body = site.ask(path, Host="evil.example")
        assert (status, b"<h1" in body, b"FLOWER_BASIC_AUTH" in body) == (403, True, True), path
