"""A worker starts where it can keep its promises, or ends: 78 when somebody has to change something, 75 in an outage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_processes import environment
from cli_support import Backend, backend_on

from reconciler.embedded.ports import pick_ports
from reconciler.embedded.servers import EmbeddedServers

pytestmark = pytest.mark.servers
CELERY = str(Path(sys.executable).with_name("celery"))
QUIET = ("--without-gossip", "--without-mingle", "-l", "WARNING", "-n", "start@here")
STEPS = ("-Q", "steps", "-P", "threads")
ATTEMPTS = ("-Q", "attempts", "-P", "prefork", "-c", "1")
PLUGIN = """
from reconciler.plugins.registry import PluginEntry

def load():
    {body}

ENTRY = PluginEntry(id="{id}", task_types=("{id}-type",), load=load)
"""


@pytest.fixture(autouse=True)
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own, with no functions."""
    with backend_on(servers, monkeypatch) as made:
        monkeypatch.delenv("RECONCILER_IMPORTS")
        yield made


def start(
    folder: Path,
    *options: str,
    command: str = "worker",
    patience: float = 90,
    app: str = "worker",
    **env: str,
) -> tuple[int, str]:
    """Return the status and the words of a Celery process that is to end by itself, started in a folder."""
    quiet = QUIET if command == "worker" else ()
    done = subprocess.run(
        [CELERY, "-A", app, command, *quiet, *options],
        cwd=folder,
        env={**environment(), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=patience,
        check=False,
    )
    return done.returncode, done.stdout


def write_plugins(folder: Path, bodies: Mapping[str, str]) -> dict[str, str]:
    """Return modules with a plugin each; the variables that name them."""
    for name, body in bodies.items():
        (folder / f"plugin_{name}.py").write_text(PLUGIN.format(id=name, body=body))
    return {"RECONCILER_PLUGINS": ",".join(f"plugin_{name}" for name in bodies)}


@pytest.mark.parametrize("role", [STEPS, ATTEMPTS], ids=["steps", "attempts"])
def test_plugins_that_cannot_be_loaded_are_all_told(tmp_path: Path, role: tuple[str, ...]) -> None:
    """Each loader that raises is named by its plugin's id, with what it raised; the worker ends with 78."""
    env = write_plugins(tmp_path, {"spark": "raise KeyError('no such key')", "ray": "return 7"})
    (tmp_path / "plugin_gone.py").write_text("import no_such_module\n")
    env["RECONCILER_PLUGINS"] += ",plugin_gone"
    status, said = start(tmp_path, *role, **env)
    assert status == 78, said
    assert "plugin spark cannot be loaded, its loader raised KeyError: 'no such key'" in said
    assert "plugin_spark.py:5" in said
    assert "the loader of plugin ray must return a Plugin, got int" in said
    assert "no_such_module" in said


@pytest.mark.parametrize("role", [STEPS, ATTEMPTS], ids=["steps", "attempts"])
@pytest.mark.parametrize(
    "raised", ["KeyboardInterrupt", "SystemExit(0)", "type('Odd', (BaseException,), {})('odd')"]
)
def test_whatever_a_plugin_raises_ends_the_start(tmp_path: Path, role: tuple[str, ...], raised: str) -> None:
    """Also what no `except Exception` catches, in the loader or at the top of its module: 78, and which plugin it was."""
    env = write_plugins(tmp_path, {"spark": f"raise {raised}"})
    (tmp_path / "plugin_early.py").write_text(f"raise {raised}\n")
    env["RECONCILER_PLUGINS"] += ",plugin_early"
    status, said = start(tmp_path, *role, **env)
    assert status == 78, said
    assert "plugin spark cannot be loaded, its loader raised" in said
    assert "no plugin can be taken from 'plugin_early'" in said


def test_a_plugin_whose_service_is_away_is_an_outage(tmp_path: Path) -> None:
    """The loader's server did not answer: 75, with the plugin's id."""
    env = write_plugins(tmp_path, {"ray": "raise ConnectionRefusedError('ray head')"})
    status, said = start(tmp_path, *STEPS, **env)
    assert status == 75, said
    assert "plugin ray cannot be loaded" in said


def test_a_wrong_setting_ends_every_command(tmp_path: Path) -> None:
    """Worker and beat list all mistakes and end with 78."""
    for command in ("worker", "beat"):
        status, said = start(tmp_path, command=command, RECONCILER_SHARDS="0", RECONCILER_NO_SUCH="1")
        assert status == 78, said
        assert "RECONCILER_SHARDS" in said
        assert "RECONCILER_NO_SUCH" in said


@pytest.mark.parametrize("role", [STEPS, ATTEMPTS], ids=["steps", "attempts"])
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_ends_the_start(tmp_path: Path, role: tuple[str, ...], scheme: str) -> None:
    """A worker that only waits for it looks alive and takes nothing: 75 in time, to be started again."""
    [port] = pick_ports(1)
    status, said = start(tmp_path, *role, RECONCILER_BROKER_URL=f"{scheme}://127.0.0.1:{port}", patience=25)
    assert status == 75, said
    assert f"127.0.0.1:{port}" in said
    assert "status 75" in said


def test_a_module_of_a_user_has_no_power_over_the_terminal(tmp_path: Path) -> None:
    """What its import raises, and its traceback, are shown with their control characters written out."""
    (tmp_path / "evil.py").write_text("raise RuntimeError('\x1b]0;mine\x07\x1b[2J\u202e')\n")
    status, said = start(tmp_path, *ATTEMPTS, RECONCILER_IMPORTS="evil")
    assert status == 78, said
    assert "evil" in said
    assert not set(said) & set("\x1b\x07\u202e"), repr(said)
    assert r"\x1b[2J" in said


@pytest.mark.parametrize("variable", ["RECONCILER_REDIS_URL", "RECONCILER_S3_ENDPOINT"])
def test_a_start_in_an_outage_can_be_repeated(tmp_path: Path, variable: str) -> None:
    """A server that is away ends the start with 75; together with a mistake it is told too, and the status is 78."""
    [port] = pick_ports(1)
    away = {variable: f"{'redis' if 'REDIS' in variable else 'http'}://127.0.0.1:{port}"}
    status, said = start(tmp_path, *STEPS, **away)
    assert status == 75, said
    assert f"127.0.0.1:{port}" in said
    assert "status 75" in said
    status, said = start(tmp_path, *STEPS, **away, RECONCILER_CALLBACK_SECRET_FILE="/nowhere")
    assert status == 78, said
    assert f"127.0.0.1:{port}" in said
    assert "there is no file /nowhere" in said


def test_what_a_person_must_mend_is_no_outage(tmp_path: Path) -> None:
    """Servers that answer and refuse end the start with 78."""
    wrong = {"RECONCILER_S3_BUCKET": "no-such-bucket"}
    status, said = start(tmp_path, *STEPS, **wrong)
    assert (status, "no-such-bucket" in said) == (78, True), said
    status, said = start(tmp_path, *STEPS, AWS_SECRET_ACCESS_KEY="wrong")
    assert (status, "AWS_SECRET_ACCESS_KEY" in said) == (78, True), said


GREEN = {"gevent": "celery.concurrency.gevent:TaskPool", "eventlet": "celery.concurrency.eventlet:TaskPool"}


@pytest.mark.parametrize(
    ("options", "env", "remedy"),
    [
        (("-Q", "attempts", "-P", "threads"), {}, "use -P prefork or -P solo"),
        (("-Q", "gpu", "-P", "threads"), {}, "use -P prefork or -P solo"),
        (("-Q", "gpu"), {"CELERY_WORKER_POOL": "threads"}, "use -P prefork or -P solo"),
        (("-Q", "gpu", "-P", "custom"), {"CELERY_CUSTOM_WORKER_POOL": "pool_of_mine:Pool"}, "pool_of_mine:Pool"),
        (("-Q", "steps", "-P", "solo"), {}, "use -P threads or -P prefork"),
        (("-Q", "steps,gpu", "-P", "threads"), {}, "two workers"),
        (("-Q", "steps,gpu", "-P", "solo"), {}, "use -P prefork"),
        (("-P", "threads"), {}, "two workers"),
        (("-X", "steps", "-P", "threads"), {}, "use -P prefork or -P solo"),
        (("-X", "attempts", "-P", "solo"), {}, "use -P threads or -P prefork"),
        (("-X", "steps,attempts", "-P", "threads"), {}, "consume no queue"),
        *(((*queue, "-P", name), {}, "use -P") for name in GREEN for queue in (("-Q", "gpu"), ("-Q", "steps"))),
    ],
)  # fmt: skip
def test_a_pool_that_keeps_no_promise_is_refused(
    tmp_path: Path, options: tuple[str, ...], env: dict[str, str], remedy: str
) -> None:
    """Before it takes a message, with 78 and the pools it may have."""
    green = [name for name in GREEN if name in options]
    if green:
        pytest.importorskip(green[0])
    (tmp_path / "pool_of_mine.py").write_text(
        "from celery.concurrency.thread import TaskPool\nclass Pool(TaskPool):\n    pass\n"
    )
    path = f"{environment()['PYTHONPATH']}{os.pathsep}{tmp_path}"
    status, said = start(tmp_path, *options, PYTHONPATH=path, **env)
    assert status == 78, said
    assert remedy in said


LIMITS = {
    "time": (("--time-limit", "5"), "--time-limit (or task_time_limit) is 5 s"),
    "soft": (("--soft-time-limit", "2.5"), "--soft-time-limit (or task_soft_time_limit) is 2.5 s"),
}


@pytest.mark.parametrize("pool", ["custom", "eventlet"])
def test_a_pool_that_cannot_be_imported_is_refused(tmp_path: Path, pool: str) -> None:
    """Its package is not installed: 78, and which pools there are, no traceback."""
    if pool == "eventlet" and find_spec("greenlet"):
        pytest.skip("it is installed")
    status, said = start(tmp_path, "-Q", "attempts", CELERY_WORKER_POOL=pool)
    assert status == 78, said
    assert f"the pool {pool} cannot be imported" in said
    assert "use -P prefork" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("role", [STEPS, ATTEMPTS], ids=["steps", "attempts"])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_time_limit_of_celery_is_refused(tmp_path: Path, role: tuple[str, ...], limit: str) -> None:
    """It would kill a batch and end its actions as lost workers: 78, and what to use instead."""
    options, said_of = LIMITS[limit]
    status, said = start(tmp_path, *role, *options)
    assert status == 78, said
    assert said_of in said
    assert "`timeout=` of its task" in said


@pytest.mark.parametrize(
    ("queue", "hint"),
    [
        ("cr:attempts", "as `-Q attempts`"), ("attempts,mine:gpu", "'mine:gpu'"), ("x.pidbox", "x.pidbox"),
        ("unacked", "unacked"),
    ],
)  # fmt: skip
def test_a_queue_nothing_is_sent_to_is_refused(tmp_path: Path, queue: str, hint: str) -> None:
    """No task may name such a queue, so the worker would live and never do anything."""
    status, said = start(tmp_path, "-Q", queue, "-P", "prefork", RECONCILER_KEY_PREFIX="cr")
    assert status == 78, said
    assert "nothing is ever sent to the queue" in said
    assert hint in said


@pytest.mark.parametrize("command", ["worker", "beat"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("beat_schedule.py", "BEAT_SCHEDULE = {}\n"),
        ("beat_schedule.py", "raise RuntimeError('not to be run')\n"),
        ("reconciler.py", "print('mine')\n"),
        ("reconciler/__init__.py", ""),
    ],
)
def test_a_module_of_somebody_else_is_named(tmp_path: Path, command: str, name: str, text: str) -> None:
    """A file of the user with the name of one of ours ends the start, with its path and what to rename."""
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    env = {"PYTHONPATH": str(tmp_path) + os.pathsep + environment()["PYTHONPATH"]}
    for more in ({}, env):  # found by the folder Celery adds, or by the path
        status, said = start(tmp_path, command=command, **more)
        assert status == 78, said
        assert f"{file} has the name of a module of celery-reconciler" in said
        assert "rename it" in said
        assert "Traceback" not in said


def test_a_schedule_without_our_sweeps_is_refused(tmp_path: Path) -> None:
    """A module that was loaded by other means, or a schedule that was emptied, is told too."""
    program = (
        "import sys, types\n"
        "sys.modules['beat_schedule'] = types.ModuleType('beat_schedule')\n"
        "from worker import app\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert "'beat_schedule'" in done.stderr


def test_the_package_gives_the_application(tmp_path: Path) -> None:
    """`from worker import app` is the Celery application, before and after its module was imported."""
    program = (
        "from worker import app\n"
        "from worker.app import app as same\n"
        "import worker.app\n"
        "from worker import app as again\n"
        "from celery import Celery\n"
        "print(isinstance(app, Celery), app is same is again is worker.app, app.main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True", "reconciler"]


@pytest.mark.parametrize("name", ["worker.py", "worker/__init__.py", "reconciler.py", "beat_schedule.py"])
def test_doctor_tells_what_would_run_in_place_of_ours(tmp_path: Path, name: str) -> None:
    """Where `celery -A worker` would start a module of the user's, nothing of ours runs that could say so; doctor does."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise RuntimeError('not to be run')\n")
    command = [str(Path(CELERY).with_name("reconciler")), "doctor"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True, timeout=90, check=False
    )
    assert done.returncode == 9
    said = " ".join(done.stdout.split())
    assert f"{tmp_path / name} has the name of a module of celery-reconciler" in said, done.stdout


SHORT = """
import errno, os
from {module} import {name} as part
from worker.app import app

def short(*_, **__):
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

part.{method} = short
"""


EVENT_LOOP = ("celery.worker.consumer.consumer", "Evloop", "start")
POOL = ("celery.worker.components", "Pool", "start")


@pytest.mark.parametrize(
    ("role", "part"),
    [(STEPS, EVENT_LOOP), (ATTEMPTS, EVENT_LOOP), (ATTEMPTS, POOL)],
    ids=["steps", "attempts", "pool"],
)
def test_a_worker_that_is_short_of_files_is_to_be_started_again(
    tmp_path: Path, role: tuple[str, ...], part: tuple[str, str, str]
) -> None:
    """Celery ends itself then, with 0 as if somebody had asked for it, or with 1 in its own start: it is 75."""
    module, name, method = part
    (tmp_path / "short.py").write_text(SHORT.format(module=module, name=name, method=method))
    status, said = start(tmp_path, *role, app="short", RECONCILER_IMPORTS="")
    assert "Too many open files" in said
    assert status == 75, said
