"""The process of a function finds modules where its worker does, however that was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.api.errors import FunctionsNotLoaded
from reconciler.cli.functions import functions_in_child
from reconciler.core.functions import Needs
from reconciler.core.probe import PROBE
from worker.runner.functions import make_runner
from worker.runner.messages import Call, Returned

ROOT = Path(__file__).parents[2]
LIMIT = timedelta(seconds=60)
TASKS = """
from reconciler import TaskEnvironment
env = TaskEnvironment("{0}")
@env.task()
def double(x: int) -> int:
    return 2 * x
"""
ASK = """
import json
from worker.runner.functions import functions_of, make_runner
from datetime import timedelta
print(json.dumps(sorted(functions_of(make_runner(["mine"], timedelta(seconds=60))))))
"""
WAYS = {
    "celery": (str(Path(sys.executable).with_name("celery")), "-A", "application", "report"),
    "python -m celery": (sys.executable, "-m", "celery", "-A", "application", "report"),
    "celery --workdir": (
        *(str(Path(sys.executable).with_name("celery")), "--workdir", "."),
        *("-A", "application", "report"),
    ),
    "a script": (sys.executable, "application.py"),
}
"""Programs that load a module `application` as workers load theirs."""


def environment(**more: str) -> dict[str, str]:
    """Return the variables of this process, without a search path."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def known(way: tuple[str, ...], cwd: Path, **env: str) -> list[str]:
    """What the child of such a program knows."""
    (cwd / "application.py").write_text(f"{ASK}\nfrom celery import Celery\napp = Celery()\n")
    done = subprocess.run(
        way, cwd=cwd, env=environment(**env), capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert lines, done.stdout + done.stderr
    names: list[str] = json.loads(lines[0])
    return names


@pytest.mark.parametrize("way", WAYS)
def test_a_module_of_the_working_folder_is_found(way: str, tmp_path: Path) -> None:
    """Celery takes the working folder off its path again; the child, which starts later, has it all the same."""
    (tmp_path / "mine.py").write_text(TASKS.format("here"))
    assert known(WAYS[way], tmp_path) == ["here.double", PROBE]


@pytest.mark.parametrize("entry", ["lib", "./lib", ".", "", "lib.zip", "new\nline"])
def test_relative_entries_mean_what_they_meant(entry: str, tmp_path: Path) -> None:
    """Entries of the path are those of the worker's start, also relative ones, zip files and odd names."""
    folder = tmp_path / entry
    text = TASKS.format("there")
    if entry.endswith(".zip"):
        with zipfile.ZipFile(folder, "w") as file:
            file.writestr("mine.py", text)
    else:
        folder.mkdir(exist_ok=True)
        (folder / "mine.py").write_text(text)
    script = f"import os, sys; sys.path.insert(0, {entry!r})\nimport worker.import_path\nos.chdir('/')\n{ASK}"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout) == [PROBE, "there.double"]


def test_doctor_asks_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command finds is what a worker started in the same folder would: names, and what their actions need."""
    (tmp_path / "mine.py").write_text(TASKS.format("here"))
    (tmp_path / "worker.py").write_text("raise RuntimeError('not ours')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    found = functions_in_child(["mine"], LIMIT)
    assert list(found) == ["here.double", PROBE]
    assert set(found.values()) == {Needs()}


def shadow(folder: Path) -> None:
    """Put a file that fails beside the user's modules for each name of Python's own, and for some that we use."""
    for name in (*sys.stdlib_module_names, "msgspec", "structlog", "redis", "kombu"):
        if not name.startswith("_"):
            (folder / f"{name}.py").write_text(f"raise RuntimeError('the user has a {name}')\n")


def test_modules_with_names_of_pythons_hide_none_of_ours(tmp_path: Path) -> None:
    """Such files in the working folder keep neither the worker nor its process of functions from loading all they need."""
    shadow(tmp_path)
    (tmp_path / "mine.py").write_text(TASKS.format("here"))
    done = subprocess.run(
        (*WAYS["celery"][:1], "-A", "worker", "worker", "-Q", "attempts"),
        cwd=tmp_path,
        env=environment(RECONCILER_IMPORTS="mine", RECONCILER_REDIS_URL="redis://127.0.0.1:1"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = done.stdout + done.stderr
    assert "Redis at redis://127.0.0.1:1 cannot be reached" in said, said
    assert "the user has a" not in said


@pytest.mark.parametrize("variable", ["", "PYTHONPATH"])
def test_the_event_loop_is_pythons(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An async function runs beside a `queue.py`, also where its folder is in PYTHONPATH."""
    for name in ("queue", "selectors", "json", "logging"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the user has a {name}')\n")
    (tmp_path / "mine.py").write_text(TASKS.format("here").replace("def double", "async def double"))
    monkeypatch.syspath_prepend(tmp_path)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    with make_runner(["mine"], LIMIT) as runner:
        ended = runner.run(
            Call("here.double", inputs=b'{"x": 2}', env={}, context={}),
            stop=lambda: None, poll=1.0, timeout=60, grace=5, log=bytearray(),
        )  # fmt: skip
    assert ended == Returned(b'{"o0":4}'), ended


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def half(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(4)", "status 4"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        (f"{TASKS.format('a')}\n" * 2, ""),
        (
            f"{TASKS.format('a')}\n@env.task(name='double')\ndef other() -> None: ...\n".replace(
                "@env.task\n", "@env.task()\n"
            ),
            "two functions are named",
        ),
        ("import select\nselect.select([], [], [])", "was not ready"),
    ],
)
def test_a_broken_module_is_named(
    text: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a module does at its top level, the answer names it, the last line of the traceback and the remedy."""
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    if not told:
        assert "a.double" in functions_in_child(["broken"], LIMIT)
        return
    with pytest.raises(FunctionsNotLoaded, match="'broken'") as caught:
        functions_in_child(["broken"], timedelta(seconds=3) if "select" in text else LIMIT)
    assert told in str(caught.value)
