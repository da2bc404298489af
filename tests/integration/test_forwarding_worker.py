"""Forwarding as it runs: inside of real steps workers, which are stopped and killed."""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_processes import environment, started
from cli_support import Backend, backend_on, eventually
from forward_support import EXCHANGE, Service

from reconciler.embedded.ports import pick_ports
from reconciler.embedded.servers import EmbeddedServers

pytestmark = [pytest.mark.rule("R59"), pytest.mark.servers]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Valkey and S3 of this module."""
    running = EmbeddedServers(tmp_path_factory.mktemp("servers"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own, whose workers forward."""
    with backend_on(servers, monkeypatch) as made:
        monkeypatch.setenv("RECONCILER_EVENTS_EXCHANGE", EXCHANGE)
        yield made


@pytest.fixture
def service(backend: Backend) -> Iterator[Service]:
    """A program that follows the ends of actions."""
    bound = Service(backend.settings.effective_exchange_url(), "*.*.*.*.succeeded")
    yield bound
    bound.close()


def worker(name: str, *options: str) -> tuple[str, ...]:
    """Return the command of a steps worker."""
    quiet = ("--without-gossip", "--without-mingle", "-l", "WARNING")
    queue = ("-Q", "steps", "-P", "threads", "-c", "2", "-n", f"{name}@here")
    return (sys.executable, "-m", "celery", "-A", "worker", "worker", *queue, *quiet, *options)


def surroundings(**more: str) -> dict[str, str]:
    """Return the variables of a worker that knows the functions of the tests."""
    env = environment(**more)
    env["PYTHONPATH"] += f"{os.pathsep}{Path(__file__).parent}"
    return env


def ended(service: Service, run: str) -> Callable[[], bool]:
    """Whether the service was told the end of a run, as a condition to wait for."""
    return lambda: f"default.development.{run}.a0.succeeded" in {key for key, _, _ in service.take()}


def metric(port: int, name: str) -> float:
    """Return a number of a worker; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    except OSError:
        return 0.0
    return float(found[1]) if found else 0.0


def test_workers_forward_whoever_dies(backend: Backend, service: Service, tmp_path: Path) -> None:
    """A steps worker forwards what its steps commit, ends cleanly, and after a kill another one goes on."""
    [port] = pick_ports(1)
    env = surroundings(RECONCILER_METRICS_PORT=str(port))
    with started(worker("one"), tmp_path, env) as first:
        backend.sleep("r1")
        eventually(ended(service, "r1"), 60)
        events = backend.get("r1").events
        eventually(lambda: metric(port, 'reconciler_events_forwarded_total{outcome="sent"}') == events)
        assert metric(port, "reconciler_forward_lag_seconds_count") == events
        first.terminate()
        said, _ = first.communicate(timeout=60)
        assert first.returncode == 0, said
    with started(worker("two"), tmp_path, surroundings()) as second:
        backend.sleep("r2")
        eventually(ended(service, "r2"), 60)
        second.kill()
    with started(worker("three"), tmp_path, surroundings()) as third:
        backend.sleep("r3")
        eventually(ended(service, "r3"), 60)
        third.terminate()
        third.communicate(timeout=60)


def test_a_worker_refuses_an_exchange_it_cannot_use(tmp_path: Path) -> None:
    """A broker without bindings for others ends the worker at its start, with the remedy."""
    env = surroundings(RECONCILER_EVENTS_EXCHANGE_URL="memory://")
    with started(worker("one"), tmp_path, env) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 78, said
    assert "RECONCILER_EVENTS_EXCHANGE_URL" in said
