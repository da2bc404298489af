"""Recording, adding up and serving of the metrics."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from reconciler import metrics
from reconciler.api.errors import StoreUnavailable
from reconciler.embedded.ports import pick_ports
from reconciler.settings import Settings
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab, ScriptedPlugin
from worker import metrics as worker_metrics
from worker.measuring import Measuring
from worker.metrics import phases

pytestmark = pytest.mark.rule("R61")


def test_nothing_is_recorded_while_disabled(tmp_path: Path) -> None:
    """Every call is a no-op before `enable` and after `disable`."""
    metrics.enable(tmp_path)
    metrics.disable()
    assert not metrics.enabled()
    for record in (
        lambda: metrics.claimed([1], 5),
        metrics.stepped,
        lambda: metrics.committed(1, 1),
        lambda: metrics.woken(sent=True),
        lambda: metrics.failed(lease_lost=True),
        lambda: metrics.audited("x"),
        lambda: metrics.attempted("returned", 1.0),
        lambda: metrics.deleted("deleted", 1),
        lambda: metrics.stored("claim", 0.0, error=False),
    ):
        record()
    with metrics.sweep():
        pass
    registry: Any = worker_metrics.registry_of(tmp_path)
    samples = [s for family in registry.collect() for s in family.samples]
    assert samples
    assert [sample for sample in samples if sample.value] == []


def test_a_batch_is_observed_as_single_ones_would_be(numbers: CollectorRegistry) -> None:
    """Sizes on and between the bounds of the buckets are counted where `observe` counts them; lag is in seconds."""
    sizes = [0, 256, 257, 600, 2_000_000]
    metrics.claimed(sizes, 1500)
    name = "taskaction_record_size_bytes"
    found = metrics._Process.instruments
    assert found is not None
    value = numbers.get_sample_value
    got = {
        bound: value(f"{name}_bucket", {"le": bound})
        for bound in ("256.0", "512.0", "1024.0", "1.048576e+06", "+Inf")
    }
    assert got == {"256.0": 2, "512.0": 3, "1024.0": 4, "1.048576e+06": 4, "+Inf": 5}
    assert value(f"{name}_sum") == sum(sizes)
    assert value(f"{name}_count") == len(sizes)
    assert value("reconciler_step_due_lag_seconds_sum") == 1.5
    assert value("reconciler_step_batch_size_sum") == 5


def test_processes_are_added_up(tmp_path: Path, numbers: CollectorRegistry) -> None:
    """A forked process records nothing until it is enabled; then its numbers count with ours, also when it is gone."""
    metrics.stepped()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            before = metrics.enabled()
            metrics.enable(tmp_path)
            metrics.stepped()
            code = 2 if before else 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert numbers.get_sample_value("reconciler_steps_total") == 2


def test_the_environment_is_left_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """User code never learns of our folder, and keeps one of its own."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics.enable(tmp_path)
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/theirs")
    metrics.enable(tmp_path)
    metrics.disable()
    assert os.environ["PROMETHEUS_MULTIPROC_DIR"] == "/theirs"


def test_steps_and_failures_are_counted(numbers: CollectorRegistry) -> None:
    """Steps and the system failures of a plugin, with their audit entries, are counted as they happen."""
    plugin = ScriptedPlugin("broken", OSError("first"), OSError("second"))
    lab = Lab([plugin], max_system_failures=1)
    lab.submit("broken")
    lab.settle()
    value = numbers.get_sample_value
    assert (value("reconciler_steps_total") or 0) >= 2
    assert value("reconciler_system_failures_total") == 2
    assert value("reconciler_audit_total", {"reason": "FailedPluginHandle"}) == 2
    assert value("reconciler_lease_losses_total") == 0


def test_a_sweep_is_timed(numbers: CollectorRegistry) -> None:
    """A pass of the collector is timed, and what it forgot is counted."""
    lab = Lab()
    lab.submit("echo")
    lab.settle()
    lab.clock.move_to(lab.clock() + 7_200_000)
    assert collect(lab.store, lab.settings) == 1
    value = numbers.get_sample_value
    assert value("taskaction_gc_deletions_total", {"outcome": "deleted"}) == 1
    assert value("taskaction_gc_sweep_duration_milliseconds_count", {"error": "false"}) == 1


def test_phases_are_counted() -> None:
    """The gauge shows each action of the installation in its phase, ended ones too."""
    lab = Lab()
    for _ in range(3):
        lab.submit("echo")
    assert phases(lab.store) == {"queued": 3}
    lab.settle()
    assert phases(lab.store) == {"succeeded": 3}


def test_phases_never_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer, or fails, leaves the gauge empty; a second scrape does not queue behind the first."""
    monkeypatch.setattr(worker_metrics, "PATIENCE", 0.05)
    frozen, answers = threading.Event(), iter([None, StoreUnavailable("away"), {"running": 2}])

    def counts() -> dict[str, int]:
        answer = next(answers)
        if answer is None:
            frozen.wait(120)
            return {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    gauge: Any = worker_metrics.AtScrape(lambda: worker_metrics.active_phases(counts()))
    read = lambda: [sample.value for family in gauge.collect() for sample in family.samples]  # noqa: E731  # one line, used thrice
    began = time.monotonic()
    assert (read(), read()) == ([], [])
    assert time.monotonic() - began < 60
    frozen.set()
    with gauge._reading:  # the first read is over
        pass
    assert read() == []
    with gauge._reading:
        pass
    monkeypatch.setattr(worker_metrics, "PATIENCE", 20)
    assert read() == [2]


def scrape(port: int) -> str:
    """What a scrape answers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_a_worker_serves_its_metrics() -> None:
    """With a port, numbers and phases are served on it until the end, and the folder is removed."""
    [port] = pick_ports(1)
    lab = Lab()
    measuring = Measuring(Settings(metrics_port=port))
    measuring.prepare()
    folder = measuring._folder
    assert folder is not None
    try:
        measuring.serve(lab.store)
        lab.submit("echo")
        lab.step()
        text = scrape(port)
        other = Measuring(Settings(metrics_port=port))
        other._folder = folder
        other.serve(None)  # the port is in use: told, and nothing else is harmed
        assert scrape(port)
    finally:
        measuring.close()
    assert f"reconciler_steps_total {float(lab.store.shards)}" in text
    assert 'taskaction_active{phase="succeeded"} 1.0' in text
    assert not folder.exists()
    assert not metrics.enabled()
    with pytest.raises(OSError, match="refused"):
        scrape(port)


def test_without_a_port_nothing_happens() -> None:
    """The default records nothing and listens nowhere."""
    measuring = Measuring(Settings())
    measuring.prepare()
    measuring.join()
    measuring.serve(None)
    assert not metrics.enabled()
    measuring.close()


@pytest.mark.parametrize("port", [-1, 65536])
def test_impossible_ports_are_refused(port: int) -> None:
    """A port that cannot be is a mistake in the settings."""
    assert "RECONCILER_METRICS_PORT" in " ".join(Settings(metrics_port=port).problems())
