"""Credentials and secrets, planted wherever an installation has some, are found nowhere else, whatever fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import canary_functions
import psutil
import pytest
import redis
from canary_functions import MARKER
from click.testing import CliRunner
from test_secrets import in_redis, in_s3, on_disk, unfolded

from reconciler.api.errors import ActionFailed
from reconciler.cli import main
from reconciler.client import Client
from reconciler.embedded.ports import LOOPBACK, pick_ports
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]
PASSWORD = "canary-redis-0xFACADE"
WRONG = "canary-wrong-0xBADBAD"
OWN = "canary-environment-0xFEED00"
SECRET = "canary-secret-0xC0FFEE"
CELERY = (sys.executable, "-m", "celery", "-A", "worker")
PATIENCE = 60.0


class Aviary:
    """A whole installation with canaries in it, and everything it has shown to anybody.

    Attributes:
        shown: what was seen, by place; `leaks` searches it.
    """

    def __init__(self, servers: EmbeddedServers, steps: Stack, attempts: Stack, ports: list[int]) -> None:
        self.servers, self.steps, self.attempts, self.ports = servers, steps, attempts, ports
        self.client = Client.from_settings(Settings.from_env(steps.env()))
        self.shown: dict[str, bytes] = {}
        self.canaries = {
            "the password of Redis": PASSWORD,
            "a wrong password": WRONG,
            "a variable of the workers": OWN,
            "a secret": SECRET,
            "the access key of S3": servers.access_key,
            "the secret key of S3": servers.secret_key,
        }

    def worker(self, seconds: float, env: dict[str, str]) -> int | None:
        """Keep what a further worker says, which is ended after so many seconds; returns its exit status if it ended."""
        line = (*CELERY, "worker", "-Q", "steps", "-P", "threads", "-n", "further@%h", "-l", "DEBUG")
        given = self.attempts.env() | {"RECONCILER_METRICS_PORT": "0"} | env
        with subprocess.Popen(
            line, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        ) as process:
            said = b""
            try:
                said, _ = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                said, _ = process.communicate()
                return None
            finally:
                self.shown[f"worker with {sorted(env)}"] = said
        return process.returncode

    def command(self, *args: str, **env: str) -> int:
        """Keep the output of a command line, run in this process; returns its exit status."""
        done = CliRunner().invoke(
            main,
            args,
            env=self.attempts.env()
            | {"RECONCILER_METRICS_PORT": "0", "PYTHONPATH": str(Path(__file__).parent)}
            | env,
        )
        self.shown[f"{' '.join(args)} {sorted(env)}"] = done.output.encode() + repr(done.exception).encode()
        return done.exit_code

    def fetch(self, port: int | str, page: str) -> bytes:
        """Keep and return the answer of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=20) as answer:
            self.shown[f"{port}/{page}"] = answer.read()
        return self.shown[f"{port}/{page}"]

    def processes(self) -> list[psutil.Process]:
        """Return everything that runs for the installation, servers and guardians too."""
        family = psutil.Process().children(recursive=True)
        return [process for process in family if process.status() != psutil.STATUS_ZOMBIE]

    def leaks(self) -> list[str]:
        """Which canary was seen where."""
        return [
            f"{canary} in {place}: …{_around(unfolded(data), value)}…"
            for place, data in self.shown.items()
            for canary, value in self.canaries.items()
            if value.encode() in unfolded(data)
        ]


def _around(data: bytes, value: str) -> str:
    at = data.index(value.encode())
    return data[max(0, at - 80) : at].decode(errors="replace")


@contextmanager
def monitored(url: str) -> Iterator[list[bytes]]:
    """Record every command a Redis server is sent meanwhile; the server itself leaves out what AUTH carries."""
    seen: list[bytes] = []
    with redis.Redis.from_url(url) as server, server.monitor() as monitor:

        def listen() -> None:
            try:
                while True:
                    seen.append(monitor.connection.read_response())
            except (redis.RedisError, OSError, ValueError, AttributeError):
                return  # closed below

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield seen
        monitor.connection.disconnect()
        thread.join(10)


@pytest.fixture(scope="module")
def aviary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aviary]:
    """Servers with passwords, both kinds of workers with metrics, beat and Flower, with open doors for the test."""
    folder = tmp_path_factory.mktemp("aviary")
    ports = pick_ports(2)
    with ExitStack() as parts:
        servers = parts.enter_context(EmbeddedServers(folder / "servers"))
        with redis.Redis.from_url(servers.redis_url) as server:
            server.config_set("requirepass", PASSWORD)
        url = servers.redis_url.replace("://", f"://:{PASSWORD}@")
        env = {
            "RECONCILER_REDIS_URL": url,
            "RECONCILER_SECRETS": "env",
            "SECRET_BIRD": SECRET,
            "MY_DATABASE_PASSWORD": OWN,
            "FLOWER_UNAUTHENTICATED_API": "true",
        }
        patch = parts.enter_context(pytest.MonkeyPatch.context())
        for name, value in servers.env().items():
            patch.setenv(name, value)
        here, imports = Path(__file__).parent, ["canary_functions"]
        steps, attempts = (
            parts.enter_context(
                Stack(
                    folder / name,
                    imports=imports,
                    steps=number,
                    attempts=1 - number,
                    beat=bool(number),
                    flower=bool(number),
                    env={**env, "RECONCILER_METRICS_PORT": str(port)},
                    cwd=here,
                    servers=servers,
                )
            )
            for name, number, port in (("steps", 1, ports[0]), ("attempts", 0, ports[1]))
        )
        made = Aviary(servers, steps, attempts, ports)
        canary_functions.env.client = made.client
        yield made


def test_no_canary_is_found(aviary: Aviary, tmp_path: Path) -> None:
    """Work, failures, deaths, refused servers: no canary is in Redis, S3, logs, pages, metrics or titles."""
    url = aviary.client.settings.redis_url
    with monitored(url) as commands:
        names = work(aviary, tmp_path)
        refusals(aviary, url)
        looks(aviary, names)
        pages(aviary)
    aviary.shown["commands of Redis"] = b"\n".join(commands)
    aviary.shown["Redis"] = in_redis(url)
    aviary.shown["S3"] = in_s3(aviary.servers.env())
    for name, stack in (("steps", aviary.steps), ("attempts", aviary.attempts)):
        for process in stack.processes.values():
            aviary.shown[f"log of {name} {process.name}"] = process.log.read_bytes()
    aviary.shown["logs of the servers"] = on_disk(aviary.servers.processes["s3"].log.parent)
    titles = [" ".join(process.cmdline()) for process in aviary.processes()]
    aviary.shown["titles of processes"] = "\n".join(titles).encode()
    assert len(titles) > 8
    assert [
        place
        for place in ("commands of Redis", "Redis", "S3")
        if MARKER.encode() not in unfolded(aviary.shown[place])
    ] == []
    assert b"**" in aviary.shown["S3"], "no log with a masked secret was stored"
    print(
        f"{len(aviary.canaries)} canaries, {len(aviary.shown)} places, {sum(map(len, aviary.shown.values()))} bytes"
    )
    assert aviary.leaks() == []
    aviary.shown = {"a place where it was planted": b64encode(f"password: {SECRET}".encode())}
    assert len(aviary.leaks()) == 1, "the search finds nothing at all"


def work(aviary: Aviary, folder: Path) -> list[str]:
    """Return success, failure, a dead child, a dead worker; gives the runs."""
    used, failed, died = (
        canary_functions.use.delay(),
        canary_functions.fail.delay(),
        canary_functions.die.delay(),
    )
    assert used.result(PATIENCE) == MARKER
    for run in (failed, died):
        with pytest.raises(ActionFailed) as caught:
            run.result(PATIENCE)
        aviary.shown[f"error of {run}"] = str(caught.value).encode()
    started = folder / "started"
    late = canary_functions.linger.delay(str(started))
    until(started.exists)
    aviary.attempts.kill_workers()
    aviary.attempts.start_workers()
    assert late.result(PATIENCE) == MARKER
    return [run.id.run for run in (used, failed, died, late)]


def refusals(aviary: Aviary, url: str) -> None:
    """What programs say when they are given wrong credentials, or wrong URLs with credentials in them."""
    wrong = url.replace(PASSWORD, WRONG)
    nobody = f"redis://:{WRONG}@{LOOPBACK}:{pick_ports(1)[0]}/0"
    unreadable = f"redis://:{WRONG}@host:none/0"
    refused: list[dict[str, str]] = [
        {"RECONCILER_REDIS_URL": wrong},
        {"RECONCILER_REDIS_URL": f"redis://:{WRONG}/x@host:1/0"},
        {"RECONCILER_BROKER_URL": unreadable},
        {"RECONCILER_BROKER_URL": nobody},
        {"AWS_SECRET_ACCESS_KEY": WRONG},
    ]
    talks: list[dict[str, str]] = [{"RECONCILER_SHARDS": "16"}]
    with ThreadPoolExecutor(3) as pool:
        ended = list(pool.map(lambda env: aviary.worker(60, env), refused))
        stayed = list(pool.map(lambda env: aviary.worker(10, env), talks))
    assert all(ended), "a worker started on servers that refuse it"
    assert stayed == [None]
    for env in refused:
        assert aviary.command("doctor", **env)
    # well once the worker that was killed is no longer taken for a living one
    aviary.command("doctor", **talks[0])


def looks(aviary: Aviary, runs: list[str]) -> None:
    """What the command shows."""
    # the worker at another broker, which was stopped above, counts as alive for some seconds more
    until(lambda: aviary.command("doctor") == 0)
    for line in (("doctor", "--json"), ("list", "--json")):
        status = aviary.command(*line)
        assert status == 0, aviary.shown[f"{' '.join(line)} []"].decode()
    for run in runs:
        for verb in ("get", "events", "logs"):
            assert aviary.command(verb, run, "--json") == 0
    assert MARKER.encode() in aviary.shown[f"logs {runs[0]} --json []"]


def pages(aviary: Aviary) -> None:
    """What Flower shows, also on the pages of a worker, which ask it for its configuration, and what the metrics say."""
    flower = aviary.steps.flower_url.rpartition(":")[2]
    until(lambda: len(json.loads(aviary.fetch(flower, "api/workers?refresh=1"))) >= 2)
    workers = json.loads(aviary.shown[f"{flower}/api/workers?refresh=1"])
    assert b"broker_url" in aviary.shown[f"{flower}/api/workers?refresh=1"], "Flower shows no configuration"
    for page in (
        "",
        "workers",
        "tasks",
        "broker",
        "metrics",
        "api/tasks",
        "api/task/types",
        "api/queues/length",
    ):
        aviary.fetch(flower, page)
    for name in workers:
        aviary.fetch(flower, f"worker/{name}")
    tasks = json.loads(aviary.shown[f"{flower}/api/tasks"])
    assert tasks, "Flower knows no attempt"
    for task in tasks:
        aviary.fetch(flower, f"task/{task}")
    served = [aviary.fetch(port, "metrics") for port in aviary.ports]
    assert re.search(rb"reconciler_attempts_total\{.*\} [1-9]", served[1])


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline, tick = time.monotonic() + PATIENCE, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "this did not come true in time"
        tick.wait(0.1)
