"""What a worker is follows from the queues it consumes, and stays so while it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cli_processes import environment, started
from cli_support import Backend, backend_on, eventually

from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.broker.messages import RUN_ATTEMPTS
from reconciler.embedded.servers import EmbeddedServers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]
CELERY = (sys.executable, "-m", "celery", "-A", "worker", "worker")
QUIET = ("--without-gossip", "--without-mingle", "-l", "WARNING")
HERE = Path(__file__).parent
PLUGIN = """
import os
from reconciler.plugins.registry import PluginEntry
from reconciler.plugins.sleep import ENTRY as SLEEP

{top}

def load():
    {body}
    return SLEEP.load()

ENTRY = PluginEntry(id="spark", task_types=("spark",), load=load)
"""


@pytest.fixture(autouse=True)
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own."""
    with backend_on(servers, monkeypatch) as made:
        yield made


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts workers; they end with the test."""
    with ExitStack() as running:

        def begin(name: str, *options: str, **env: str) -> Any:
            given = environment(**env)
            given["PYTHONPATH"] += f"{os.pathsep}{HERE}{os.pathsep}{tmp_path}"
            command = (*CELERY, *options, "-n", f"{name}@here", *QUIET)
            return running.enter_context(started(command, tmp_path, given))

        yield begin


def alive(backend: Backend, name: str) -> Callable[[], bool]:
    """Whether a worker says that it consumes."""
    return lambda: f"{name}@here" in backend.store.workers()


def asked(backend: Backend, name: str) -> Any:
    """Celery's remote control, as Flower uses it, for one worker."""
    return build_app(backend.settings).control.inspect([f"{name}@here"], timeout=20, limit=1)


def added(backend: Backend, name: str, queue: str) -> str:
    """What a worker answers when it is told to consume a queue."""
    control = build_app(backend.settings).control
    [answer] = control.add_consumer(queue, destination=[f"{name}@here"], reply=True, timeout=20, limit=1)
    return str(answer)


@pytest.mark.parametrize(
    ("options", "takes_steps"),
    [(("-Q", "gpu"), ""), (("-Q", "steps,gpu"), "steps"), (("-X", "steps"), ""), ((), "steps")],
)
def test_every_worker_of_another_queue_has_the_settings_of_attempts(
    backend: Backend, run: Callable[..., Any], options: tuple[str, ...], takes_steps: str
) -> None:
    """Prefetching off, events on, no book-keeping of tickets on the server; the task of attempts is known."""
    run("one", *options, "-P", "prefork", "-c", "1")
    eventually(alive(backend, "one"), 60)
    conf = asked(backend, "one").conf()["one@here"]
    assert conf["worker_disable_prefetch"] is True
    assert conf["worker_send_task_events"] is True
    assert conf["broker_transport_options"]["ack_emulation"] is False
    assert RUN_ATTEMPTS in asked(backend, "one").registered()["one@here"]
    refused = "does not take the queue" in added(backend, "one", "steps")
    assert refused is not bool(takes_steps)
    assert "does not take" not in added(backend, "one", "tpu")
    assert "nothing is ever sent" in added(backend, "one", "cr:tpu")
    control = build_app(backend.settings).control
    [limited] = control.time_limit(RUN_ATTEMPTS, hard=5, destination=["one@here"], reply=True, timeout=20)
    assert "`timeout=` of its task" in str(limited)
    [slowed] = control.rate_limit(RUN_ATTEMPTS, "1/h", destination=["one@here"], reply=True, timeout=20)
    assert "with a quota" in str(slowed)


def test_a_worker_of_steps_alone_never_runs_user_code(backend: Backend, run: Callable[..., Any]) -> None:
    """It does not know the task, takes no other queue, drops a ticket that lies in its queue, and goes on."""
    worker = run("one", "-Q", "steps", "-P", "threads", "-c", "2")
    eventually(alive(backend, "one"), 60)
    assert RUN_ATTEMPTS not in asked(backend, "one").registered()["one@here"]
    assert "does not take the queue 'attempts'" in added(backend, "one", "attempts")
    assert [queue["name"] for queue in asked(backend, "one").active_queues()["one@here"]] == ["steps"]
    backend.call("r", "greet", name="x")
    eventually(lambda: backend.get("r").attempt.launch)
    app = build_app(backend.settings)
    app.send_task(RUN_ATTEMPTS, args=["attempts"], queue="steps")
    backend.sleep("s")
    eventually(lambda: backend.get("s").phase is ActionPhase.SUCCEEDED, 30)
    assert not backend.get("r").attempt.owner
    assert worker.poll() is None


def test_a_solo_worker_may_run_a_function_for_long(backend: Backend, run: Callable[..., Any]) -> None:
    """It takes no message meanwhile, which is no reason to end it; the next function runs in it, too."""
    run("steps", "-Q", "steps", "-P", "threads", "-c", "2")
    solo = run("solo", "-Q", "attempts", "-P", "solo", RECONCILER_CONSUMER_PATIENCE="2s")
    eventually(alive(backend, "solo"), 60)
    for name in ("long", "next"):
        backend.call(name, "rest", seconds=6)
    for name in ("long", "next"):
        eventually(lambda name=name: backend.get(name).phase.is_terminal(), 60)
        record = backend.get(name)
        assert (record.phase, record.status.total_system_failures) == (ActionPhase.SUCCEEDED, 0)
    assert solo.poll() is None


def test_an_autoscaled_worker_takes_work(backend: Backend, run: Callable[..., Any]) -> None:
    """Also one that begins with no process at all."""
    run("steps", "-Q", "steps", "-P", "threads", "-c", "2")
    run("many", "-Q", "attempts", "-P", "prefork", "--autoscale=2,0")
    eventually(alive(backend, "many"), 60)
    backend.call("r", "greet", name="x")
    eventually(lambda: backend.get("r").phase is ActionPhase.SUCCEEDED, 60)


def ends(worker: Any) -> tuple[int, str]:
    """Return the status and the words of a worker that is to end by itself."""
    said, _ = worker.communicate(timeout=90)
    return worker.returncode, said


def test_a_pool_whose_processes_cannot_begin_ends_its_worker(run: Callable[..., Any], tmp_path: Path) -> None:
    """What fails only after the fork is told with its reason, and is not tried again for ever."""
    body = "main = os.environ.setdefault('MAIN', str(os.getpid())); assert main == str(os.getpid()), 'forked'"
    (tmp_path / "spark.py").write_text(PLUGIN.format(top="", body=body))
    status, said = ends(run("one", "-Q", "attempts", "-P", "prefork", "-c", "2", RECONCILER_PLUGINS="spark"))
    assert status == 78, said
    assert "plugin spark cannot be loaded, its loader raised AssertionError: forked" in said


@pytest.mark.parametrize(
    ("place", "error", "expected"),
    [
        ("worker.manager.WorkerManager.register", "KeyError('a bug of ours')", 78),
        ("worker.manager.Guardian.start", 'RuntimeError("can\'t start new thread")', 75),
        ("worker.measuring.Measuring.serve", "OSError(24, 'Too many open files')", 75),
        ("worker.measuring.Measuring.prepare", "ValueError('a bug of ours')", 78),
        ("worker.logs.configure", "ValueError('a bug of ours')", 78),
        ("worker.role.role_of", "ValueError('a bug of ours')", 78),
    ],
)
def test_whatever_a_start_raises_ends_it(
    run: Callable[..., Any], tmp_path: Path, place: str, error: str, expected: int
) -> None:
    """At each moment of the start, with the text of the error; no worker is left that only looks alive."""
    module, _, name = place.rpartition(".")
    owner = module if module.count(".") == 1 else module.rpartition(".")[0]
    (tmp_path / "sitecustomize.py").write_text(
        f"import importlib.abc, sys\n"
        f"class Breaks(importlib.abc.MetaPathFinder):\n"
        f"    def find_spec(self, name, path, target=None):\n"
        f"        if name != 'worker.app': return None\n"
        f"        sys.meta_path.remove(self)\n"
        f"        import {owner}\n"
        f"        def broken(*_, **__): raise {error}\n"
        f"        setattr({module}, {name!r}, broken)\n"
        f"sys.meta_path.insert(0, Breaks())\n"
    )
    status, said = ends(run("one", "-Q", "steps", "-P", "threads"))
    assert status == expected, said
    assert error.partition("'")[2].rstrip("')\"")[:10] in said
