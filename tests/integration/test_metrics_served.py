"""A worker of a prefork pool serves what its children counted."""

from __future__ import annotations

import re
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_processes import environment, left_of, started
from cli_support import Backend, backend_on, eventually

from reconciler.embedded.ports import pick_ports
from reconciler.embedded.servers import EmbeddedServers
from reconciler.stores.redis.store import RedisStore
from reconciler.wiring import build

pytestmark = [pytest.mark.rule("R61"), pytest.mark.servers]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    """Valkey and S3 of this module."""
    running = EmbeddedServers(tmp_path_factory.mktemp("servers"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own."""
    with backend_on(servers, monkeypatch) as made:
        yield made


def samples(port: int) -> dict[str, float]:
    """Return the samples of a scrape; none while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)}


def test_children_of_a_pool_are_counted(backend: Backend, tmp_path: Path) -> None:
    """Attempts run in the pool's processes; the port of their worker shows them, with steps, launches, phases and gauges."""
    [port] = pick_ports(1)
    command = [
        *(sys.executable, "-m", "celery", "-A", "worker", "worker", "-Q", "steps,attempts", "-P", "prefork"),
        *("-c", "2", "--without-gossip", "--without-mingle", "-n", "metrics@here"),
    ]
    here = str(Path(__file__).parent)
    env = environment(RECONCILER_METRICS_PORT=str(port))
    env["PYTHONPATH"] += f":{here}"
    engine = build(backend.settings)
    with started(command, tmp_path, env) as worker:
        for number in range(4):
            backend.call(f"r{number}", "greet", name="x")
        engine.messenger.wake(engine.store.shard_of(backend.get("r0").id.run_id))
        eventually(lambda: samples(port).get('reconciler_attempts_total{ended="returned"}') == 4, 60)
        eventually(lambda: samples(port).get('taskaction_active{phase="succeeded"}') == 4, 60)
        eventually(lambda: samples(port).get('reconciler_workers_alive{role="attempts"}') == 1, 60)
        found = samples(port)
        children = psutil.Process(worker.pid).children(recursive=True)
        worker.terminate()
        worker.communicate(timeout=60)
    assert isinstance(engine.store, RedisStore)
    engine.store.client.set(engine.store.keys.paused("attempts"), "1")
    assert engine.store.paused(["attempts", "other"]) == [True, False]
    engine.store.close()
    assert found["reconciler_launches_total"] == 4
    assert found["reconciler_attempt_duration_seconds_count"] == 4
    assert found["reconciler_steps_total"] >= 4
    assert found['reconciler_queue_waiting{queue="attempts"}'] == 0
    assert found['reconciler_queue_workers{queue="attempts"}'] == 1
    assert found['reconciler_queue_paused{queue="attempts"}'] == 0
    assert found['reconciler_workers_alive{role="steps"}'] == 1
    assert found["reconciler_workers_troubled"] == 0
    assert 0 <= found["reconciler_due_lateness_seconds"] < 60
    assert found['reconciler_sweep_age_seconds{sweep="collect"}'] == 86_400  # there is no beat
    assert found["reconciler_redis_memory_used_bytes"] > 100_000
    assert "reconciler_redis_memory_limit_bytes" in found
    assert abs(found["reconciler_clock_ahead_seconds"]) < 5
    assert found['taskaction_store_duration_milliseconds_count{error="false",op="conclude"}'] >= 1
    assert left_of(children) == []
