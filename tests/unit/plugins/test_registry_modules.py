"""Plugins of users, found by RECONCILER_PLUGINS (R69)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reconciler.api.errors import InvalidSettings
from reconciler.cli.plugins import plugin_problems
from reconciler.plugins.registry import load_entries
from reconciler.settings import Settings
from reconciler.wiring import build

pytestmark = pytest.mark.rule("R69")
GOOD = """
from reconciler.plugins.base import Plugin
from reconciler.plugins.registry import PluginEntry
ENTRY = PluginEntry(id="{0}", task_types=("{0}",), load=Plugin)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that modules can be imported from."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_an_engine_runs_the_plugins_its_settings_name(modules: Path) -> None:
    """The task types of each module's `ENTRY` are known, beside the plugins every installation has."""
    for name in ("warehouse_plugin", "lake_plugin"):
        (modules / f"{name}.py").write_text(GOOD.format(name))
    settings = Settings.from_env({"RECONCILER_PLUGINS": "warehouse_plugin,lake_plugin"})
    types = build(settings).reconciler.plugin_registry.task_types
    assert {"warehouse_plugin", "lake_plugin", "function"} <= set(types)
    assert set(build(Settings()).reconciler.plugin_registry.task_types) == set(types) - {
        "warehouse_plugin",
        "lake_plugin",
    }


def test_every_module_that_cannot_be_used_is_named(modules: Path) -> None:
    """A missing module, one that raises or exits, one without an entry and one with another thing are all told at once."""
    (modules / "plugin_raises.py").write_text("1 / 0\n")
    (modules / "plugin_exits.py").write_text("raise SystemExit(3)\n")
    (modules / "plugin_without.py").write_text("\n")
    (modules / "plugin_other.py").write_text("ENTRY = 'sleep'\n")
    (modules / "plugin_good.py").write_text(GOOD.format("good"))
    names = ["no_such_plugin", "plugin_raises", "plugin_exits", "plugin_without", "plugin_other"]
    with pytest.raises(InvalidSettings) as caught:
        load_entries([*names, "plugin_good"])
    assert len(caught.value.problems) == len(names)
    for name, problem in zip(names, caught.value.problems, strict=True):
        assert name in problem
    assert "ZeroDivisionError" in caught.value.problems[1]
    assert caught.value.problems[-1] == "ENTRY of 'plugin_other' must be a PluginEntry, got str"


@pytest.mark.parametrize(
    ("name", "task_type"),
    [
        ("function", "mine"),
        ("mine", "function"),
        ("mine", "core-sleep"),
        ("second", "mine"),
        ("echo", "mine"),
    ],
)
def test_a_name_that_is_taken_stops_the_start(modules: Path, name: str, task_type: str) -> None:
    """Neither the id of another plugin nor a task type of ours: functions would be run as something else."""
    (modules / "plugin_second.py").write_text(GOOD.format("second"))
    (modules / "plugin_taken.py").write_text(GOOD.format("one").replace('"one"', f'"{task_type}"'))
    text = (modules / "plugin_taken.py").read_text().replace(f'id="{task_type}"', f'id="{name}"')
    (modules / "plugin_taken.py").write_text(text)
    settings = Settings.from_env({"RECONCILER_PLUGINS": "plugin_second,plugin_taken"})
    with pytest.raises(InvalidSettings, match=f"plugin {name}: ") as caught:
        build(settings)
    assert len(caught.value.problems) == 1
    sys.modules.pop("plugin_second"), sys.modules.pop("plugin_taken")


def test_the_doctor_names_a_plugin_that_ends_its_process(
    modules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import that calls os._exit, with whatever status, says nothing by itself."""
    (modules / "plugin_leaves.py").write_text("import os; os._exit(0)\n")
    monkeypatch.chdir(modules)
    (problem,) = plugin_problems(Settings(plugins=("plugin_leaves",)))
    assert "the import of the plugin module 'plugin_leaves' has ended the process" in problem
