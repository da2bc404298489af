"""A plugin that does not come to an end is told, with its id, by the worker that ends and by doctor."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cli_processes import environment
from cli_support import Backend, backend_on

from reconciler.cli.check_local import check_plugins
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings

pytestmark = pytest.mark.servers
CELERY = str(Path(sys.executable).with_name("celery"))
ROLES = {
    "steps": ("-Q", "steps", "-P", "threads"),
    "attempts": ("-Q", "attempts", "-P", "prefork", "-c", "1"),
}
HANGS = "select.select([], [], [])"
PLUGIN = """
import os
import select
from reconciler.plugins.registry import PluginEntry
from reconciler.plugins.sleep import ENTRY as SLEEP

FIRST = os.environ.setdefault("FIRST", str(os.getpid()))
{top}

def load():
    {body}
    return SLEEP.load()

ENTRY = PluginEntry(id="spark", task_types=("spark",), load=load)
"""
LIMIT = "has not ended after 3 s"
MODULE, LOADER = "the import of the plugin module 'plugin_spark'", "the loader of plugin spark"


@pytest.fixture(autouse=True)
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own, with no functions."""
    with backend_on(servers, monkeypatch) as made:
        monkeypatch.delenv("RECONCILER_IMPORTS")
        yield made


def start(folder: Path, role: str) -> tuple[int, str]:
    """Return the status and the words of a worker with the plugin, which is to end by itself."""
    more = {"RECONCILER_PLUGINS": "plugin_spark", "RECONCILER_IMPORT_TIMEOUT": "3s"}
    done = subprocess.run(
        [
            CELERY,
            "-A",
            "worker",
            "worker",
            *ROLES[role],
            "--without-gossip",
            "--without-mingle",
            "-n",
            "x@here",
        ],
        cwd=folder,
        env={**environment(), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("top", "body", "named"), [(HANGS, "pass", MODULE), ("", HANGS, LOADER)], ids=["module", "loader"]
)
def test_a_plugin_that_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, top: str, body: str, named: str
) -> None:
    """Both say which plugin it is, and the line where it waits."""
    (tmp_path / "plugin_spark.py").write_text(PLUGIN.format(top=top, body=body))
    status, said = start(tmp_path, role)
    assert status == 78, said
    assert f"{named} {LIMIT}" in said
    assert "plugin_spark.py:" in said
    monkeypatch.chdir(tmp_path)
    found = check_plugins(Settings(plugins=("plugin_spark",), import_timeout=timedelta(seconds=3)))
    [problem] = found.problems
    assert f"{named} {LIMIT}" in problem


def test_one_that_hangs_after_the_fork_ends_its_worker(tmp_path: Path) -> None:
    """In a process of the pool; the pool alone would start another one, for ever."""
    body = f"FIRST == str(os.getpid()) or {HANGS}"
    (tmp_path / "plugin_spark.py").write_text(PLUGIN.format(top="", body=body))
    status, said = start(tmp_path, "attempts")
    assert status == 78, said
    assert f"{LOADER} {LIMIT}" in said
