"""The examples run as they are, in their order, and say what they promise."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready
from reconciler.embedded.stack import Stack

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
SAID = {
    "01_first_action": r"default/development/thumbnail-\w{8} (queued|running|succeeded)\nthumbs/640/cats/1.jpg\n",
    "02_map": r"-2: \S+NonRetryableError: -2 has no square root\n-1: .*\n0: 0.000\n(.*\n){8}9: 3.000\n",
    "03_async": r"(\d+ (open|closed)\n){5}",
    "04_retries_and_errors": r"answered at attempt 3\n(  attempt \d \w+\n)*  attempt 3 succeeded\n"
    r".*unlucky-\w+ failed: ConnectionError: nobody answered attempt 4\nthe log of attempt 4, .*\n"
    r"this line goes to the log of attempt 4\nTraceback (?s:.*)\nConnectionError: nobody answered attempt 4\n\n"
    r".*charge-\w+ failed: \S+NonRetryableError: 'none' is no card number\nthe log of attempt 1, .*\n"
    r"Traceback (?s:.*)NonRetryableError: 'none' is no card number\n\n",
    "05_timeouts_and_abort": r"timed out: .*longer than 1 s\n(  queued\n)+(  running\n)+abort: .*REQUESTED\n"
    r"(  running\n)*  aborted\naborted: .*we have seen enough\n",
    "06_plain_client": r"(  queued\n)+(  running\n)+  succeeded\nthe same run: True\n"
    r"action \S+ exists with another spec; these fields differ: inputs.*\nsucceeded\n",
    "08_pipeline": r"12 pictures, 146 bytes, ticket 7\n15 actions: succeeded\n",
    "09_saga": r"train of bob\nflight of bob\nhotel of bob\nnot booked: .*no room is left\ncancelled the flight of ann\n"
    r"cancelled the train of ann\n",
    "10_approval": r"suspended: .*\nsucceeded published the news\nsuspended: .*\nfailed .*a rumour was declined\n",
    "07_remote_service": r"42\nSumFailed\nattempt 1 succeeded: queued succeeded\n",
}
"""What each example prints, as a regular expression."""
PLUGINS = {"RECONCILER_PLUGINS": "examples.07_remote_service"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One backend for all examples; its workers know the package `examples`, as those of docker-compose.yml."""
    with Stack(tmp_path_factory.mktemp("examples"), imports=["examples"], env=PLUGINS, cwd=ROOT) as running:
        yield running


def test_no_example_is_forgotten() -> None:
    """Each numbered file is run below."""
    assert sorted(SAID) == sorted(path.stem for path in (ROOT / "examples").glob("[0-9]*.py"))


@pytest.mark.parametrize("example", SAID)
def test_example_says_what_it_promises(stack: Stack, example: str) -> None:
    """The example, started as a script, succeeds and prints what it is there to show."""
    done = subprocess.run(
        [sys.executable, f"examples/{example}.py"],
        cwd=ROOT,
        env={**os.environ, **stack.servers.env(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(SAID[example], done.stdout), done.stdout


@pytest.fixture(scope="module")
def web(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The web application, where it has none of the tasks' code; its address."""
    [port] = pick_ports(1)
    folder = tmp_path_factory.mktemp("web")
    (folder / "web.py").write_text((ROOT / "examples" / "web.py").read_text())
    command = [sys.executable, "-m", "uvicorn", "--app-dir", ".", "--port", str(port), "web:app"]
    env = {name: value for name, value in stack.servers.env().items() if name != "RECONCILER_IMPORTS"}
    server = ManagedProcess(
        "web",
        command,
        log=folder / "web.log",
        cwd=folder,
        env={**os.environ, **env, "PYTHONPATH": str(folder)},
    )
    server.start()
    try:
        await_ready(server, lambda: listens(port), 30)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.stop()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310  # our own server
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_web_application(web: str) -> None:
    """Submitted, polled, and followed by server-sent events, which go on where a browser was cut off."""
    status, said = ask(f"{web}/thumbnails?key=cats/1.jpg&width=64", "POST", **{"Idempotency-Key": "form 7"})
    run = json.loads(said)["run"]
    assert (
        status,
        ask(f"{web}/thumbnails?key=cats/1.jpg&width=64", "POST", **{"Idempotency-Key": "form 7"}),
    ) == (
        202,
        (202, said),
    )
    assert json.loads(ask(f"{web}/runs/{run}?wait=60")[1]) == {
        "phase": "succeeded",
        "result": "thumbs/64/cats/1.jpg",
    }
    events = ask(f"{web}/runs/{run}/events")[1].decode()
    assert re.fullmatch(r"(id: \d+\nevent: phase\ndata: \w+\n\n)+", events)
    assert events.endswith("data: succeeded\n\n")
    assert (
        ask(f"{web}/runs/{run}/events", **{"Last-Event-ID": "1"})[1].decode() == events.partition("\n\n")[2]
    )
    assert ask(f"{web}/runs/{run}", "DELETE")[0] == 202


@pytest.mark.parametrize(
    ("path", "method", "status", "told"),
    [
        ("/runs/never-was", "GET", 404, "it was never accepted"),
        ("/runs/never-was/events", "GET", 404, "it was never accepted"),
        ("/runs/a%3Ab", "GET", 422, "is not allowed"),
        (f"/thumbnails?key={'x' * 9}&width=wide", "POST", 422, "valid integer"),
    ],
)
def test_what_the_web_application_refuses(web: str, path: str, method: str, status: int, told: str) -> None:
    """One sentence each, with the status a web client expects."""
    answered, said = ask(web + path, method)
    assert answered == status
    assert told in said.decode()
