"""Django in the process of functions: set up before the imports, or told in one sentence why it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from runner_support import LOG_LIMIT

from worker.runner.runner import Call, NotStarted, Returned, Runner

SHOP = Path(__file__).parents[2] / "examples" / "django"
PROBLEM = (
    "Django cannot be set up: ModuleNotFoundError: No module named 'shop.nowhere'. Correct "
    "DJANGO_SETTINGS_MODULE='shop.nowhere' or what it names, or take the variable out of the environment of this worker"
)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("shop.settings", ""),
        (
            "shop.nowhere",
            PROBLEM,
        ),
    ],
)
def test_django_is_set_up_before_the_imports(
    monkeypatch: pytest.MonkeyPatch, settings: str, problem: str
) -> None:
    """A module that needs the models can be named in RECONCILER_IMPORTS; wrong settings are no riddle."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", settings)
    monkeypatch.syspath_prepend(SHOP)
    with Runner(["shop.models"], log_limit=LOG_LIMIT, start_timeout=30) as runner:
        found = runner.functions()
    assert (found.message if isinstance(found, NotStarted) else "") == problem


def test_connections_end_with_the_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each call finds none of the one before, in the same process."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite3"))
    monkeypatch.syspath_prepend(SHOP)
    now = {"action": "p/d/r/a0", "attempt": "1", "started": "2026-01-01T00:00:00+00:00"}
    call = Call("shop.connects", b"{}", {}, now)
    with Runner(["celery_django"], log_limit=LOG_LIMIT, start_timeout=30) as runner:
        ends = [
            runner.run(call, stop=lambda: None, poll=1.0, timeout=30, grace=5, log=bytearray())
            for _ in range(2)
        ]
        assert ends == [Returned(b'{"o0": true}')] * 2
        assert runner.children == 1
