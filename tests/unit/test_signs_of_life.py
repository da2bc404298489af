"""A worker that says that it lives has said what it can run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.stores.redis.store import RedisStore
from worker import process


def test_functions_are_published_before_the_worker_says_that_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who waits for a living worker can submit its functions by name at once."""
    said: list[str] = []
    store = RedisStore.__new__(RedisStore)  # nothing is asked of it
    liveness: Any = SimpleNamespace(say=lambda _: said.append("alive"))
    functions: Any = SimpleNamespace(tell=lambda _: said.append("functions") or set())
    monkeypatch.setattr(process, "current_engine", lambda: SimpleNamespace(store=store))
    process.Guardian(liveness, steps=False, functions=functions)._say_alive()
    assert said == ["functions", "alive"]
