"""What the tests of the command line share: real servers, and a worker that works when it is told to."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.broker.conf import build_app
from reconciler.broker.recording import RecordingMessenger
from reconciler.cli import main
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import PREFIX, Settings
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.wiring import Engine
from worker.attempts.drawing import Drawing
from worker.attempts.flower import Telling
from worker.attempts.runners import close_runner

ROOT = Path(__file__).parents[2]
SLEEP = {"inputs": {"duration": "duration"}}
ECHO = {"inputs": {"x": "int"}, "outputs": {"y": "int"}}
HERE = "default/development"
_prefixes = (f"cli{number}" for number in itertools.count())


def eventually(condition: Callable[[], object], within: float = 60.0) -> None:
    """Wait until a condition holds; fail when it does not within so many seconds."""
    deadline = time.monotonic() + within
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "this did not come true in time"
        tick.wait(0.02)


class Backend:
    """An installation of its own on shared servers, and the command line that talks to it.

    Attributes:
        engine: does the work of both kinds of workers, in this process, when `drive` is called.
        client: submits what the command line cannot.
    """

    def __init__(self) -> None:
        self.settings = Settings.from_env()
        self.store = RedisStore(self.settings)
        self.messenger = RecordingMessenger()
        self.engine = Engine(
            self.settings, store=self.store, blobs=S3Blobs(self.settings), messenger=self.messenger
        )
        self.client = Client(self.store, self.engine.blobs, self.messenger, self.settings)

    def reconciler(self, *args: str, **options: Any) -> Result:
        """Run a command line in this process; an error it does not expect fails the test."""
        result = CliRunner().invoke(main, list(args), **options)
        assert result.exit_code != 1, result.output
        return result

    def answer(self, *args: str) -> Any:
        """Return the JSON document of a command that succeeds."""
        result = self.reconciler(*args, "--json")
        assert result.exit_code == 0, result.output
        return self.parsed(result)

    @staticmethod
    def parsed(result: Result) -> Any:
        """Return the one JSON document on stdout."""
        [line] = result.stdout.splitlines()
        return json.loads(line)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command line as a process, as a shell would."""
        return subprocess.Popen(
            [sys.executable, "-m", "reconciler.cli", *args],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def drive(self) -> None:
        """Take all steps that are due, and run all that stands in line then."""
        telling = Telling(build_app(self.settings), "here")
        while True:
            for shard in range(self.settings.shards):
                self.engine.stepper.step(shard)
            queues, self.messenger.tickets = set(self.messenger.tickets), []
            if not queues:
                return
            for queue in queues:
                Drawing(self.engine, queue, "", telling).run()

    def get(self, run: str, action: str = "a0") -> TaskAction:
        """Return a record."""
        return self.client.get(ActionId("default", "development", run, action))

    def end(self, run: str) -> None:
        """Drive until the root of a run has ended."""

        def ended() -> bool:
            self.drive()
            return self.get(run).phase.is_terminal()

        eventually(ended)

    def sleep(self, run: str, seconds: float = 0, *more: str) -> None:
        """Submit a sleep."""
        inputs = ("--inputs", json.dumps({"duration": seconds}), "--interface", json.dumps(SLEEP))
        result = self.reconciler("submit", "--type", "core-sleep", *inputs, "--run", run, *more)
        assert result.exit_code == 0, result.output

    def call(self, run: str, function: str, **args: object) -> None:
        """Submit a call of a function."""
        result = self.reconciler("submit", f"shop.{function}", "--args", json.dumps(args), "--run", run)
        assert result.exit_code == 0, result.output


def echo_spec(document: bytes, run: str = "") -> ActionSpec:
    """Return an action whose output is its input."""
    interface = Interface(inputs=ECHO["inputs"], outputs=ECHO["outputs"])
    template = encode_template(TaskTemplate(type="echo", interface=interface))
    return ActionSpec(run_name=run, task_type="echo", task_template=template, inputs=document)


def error_of(result: Any) -> dict[str, Any]:
    """Return the error object on stderr."""
    found: dict[str, Any] = json.loads(result.stderr.splitlines()[-1])["error"]
    return found


def make(backend: Backend, end: str) -> None:
    """Make a run `r` that has ended in this way."""
    if end == "failed":
        backend.call("r", "fail", why="no stock")
    elif end == "timed_out":
        template = {
            "type": "core-sleep",
            "interface": SLEEP,
            "metadata": {"timeouts": {"overall": "PT0.05S"}},
        }
        spec = ActionSpec(
            run_name="r",
            task_type="core-sleep",
            task_template=json.dumps(template).encode(),
            inputs=b'{"duration": 3600}',
        )
        backend.client.submit(spec)
    else:
        backend.sleep("r", 3600 if end == "aborted" else 0)
    if end == "aborted":
        backend.drive()
        assert backend.reconciler("abort", "r", "--reason", "no need", "--yes").exit_code == 0
    backend.end("r")
    assert str(backend.get("r").phase) == end


@contextmanager
def backend_on(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch, **more: str) -> Iterator[Backend]:
    """Provide a backend, with the environment a shell would have, and with more settings."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in servers.env().items():
        monkeypatch.setenv(name, value)
    prefix = next(_prefixes)
    monkeypatch.setenv("RECONCILER_KEY_PREFIX", prefix)
    monkeypatch.setenv("RECONCILER_S3_PREFIX", prefix)
    monkeypatch.setenv("RECONCILER_IMPORTS", "cli_functions")
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    backend = Backend()
    yield backend
    backend.store.close()


def stop_runner() -> None:
    """End the process that runs functions."""
    close_runner()
