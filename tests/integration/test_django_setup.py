"""Django in the process of functions: set up before the imports, or told in one sentence why it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from runner_support import LOG_LIMIT

from worker.runner.runner import NotStarted, Runner

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
