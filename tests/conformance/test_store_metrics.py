"""The Redis store times its calls and measures what it loads."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import created, eventually, make_action

from reconciler import metrics
from reconciler.api.errors import StoreUnavailable
from reconciler.embedded.ports import pick_ports
from reconciler.settings import Settings
from reconciler.stores.redis.store import RedisStore
from worker import metrics as worker_metrics

pytestmark = [pytest.mark.rule("R61"), pytest.mark.servers]


def test_claims_are_measured(valkey_url: str, tmp_path: Path) -> None:
    """A claim tells the size of its batch and of each record, its duration, and how late the oldest action was."""
    store = RedisStore(Settings(redis_url=valkey_url, key_prefix="metrics"))
    shard = created(store, make_action("a0"), make_action("a1"))
    until = store.now() + 30
    eventually(lambda: store.now() >= until)
    metrics.enable(tmp_path)
    try:
        assert len(store.claim(shard, owner="s", limit=10).actions) == 2
        store.claim(shard, owner="s", limit=10)
    finally:
        metrics.disable()
        store.close()
    value = worker_metrics.registry_of(tmp_path).get_sample_value
    assert value("taskaction_store_duration_milliseconds_count", {"op": "claim", "error": "false"}) == 2
    assert value("taskaction_record_size_bytes_count") == 2
    assert (value("taskaction_record_size_bytes_sum") or 0) > 100
    assert value("reconciler_step_batch_size_count") == 1
    assert value("reconciler_step_due_lag_seconds_count") == 1
    assert 0.03 <= (value("reconciler_step_due_lag_seconds_sum") or 0) < 60


def test_failed_calls_are_timed_as_such(tmp_path: Path) -> None:
    """A call that fails counts with `error="true"`."""
    [port] = pick_ports(1)
    store = RedisStore(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))
    metrics.enable(tmp_path)
    try:
        with pytest.raises(StoreUnavailable):
            store.now()
    finally:
        metrics.disable()
        store.close()
    name = "taskaction_store_duration_milliseconds_count"
    assert worker_metrics.registry_of(tmp_path).get_sample_value(name, {"op": "now", "error": "true"}) == 1
