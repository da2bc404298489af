"""Calls that are made ready before their turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.settings import Settings
from worker.attempts import attempt
from worker.runner.messages import Call


def test_a_call_whose_abort_is_known_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would begin, and be stopped at its turn: also when it was made ready before the abort."""
    engine: Any = SimpleNamespace(settings=Settings())
    call = Call("shop.f", b"{}", {}, {})
    monkeypatch.setattr(attempt, "prepared_call", lambda *_: call)
    one = attempt.Attempt(
        engine, TaskAction(ActionId("p", "d", "r", "a0"), ActionSpec(task_type="function")), "w", drawn=0.0
    )
    assert one.prepare() is call
    one.beat._ask("aborted")
    assert one.prepare() is None
