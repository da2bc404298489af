"""`reconciler dev`: servers and workers on this machine, in the foreground, for your own tasks."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import click

from reconciler.api.errors import ReconcilerError
from reconciler.cli import dev_app
from reconciler.cli.commands import Command
from reconciler.cli.exits import ExitCode
from reconciler.cli.local import (
    OF_OTHER_SERVERS,
    command,
    ended_by_signals,
    forget_other_servers,
    in_clone,
    own_version,
    python,
    refuse_foreign_modules,
    require_servers,
    two_columns,
    versions,
)
from reconciler.cli.pid_files import PidFiles
from reconciler.cli.supervisor import Supervisor
from reconciler.cli.tail import LogTail
from reconciler.cli.terminal import write
from reconciler.core.visible import visible
from reconciler.embedded.stack import Stack
from reconciler.settings import PREFIX

_LOOK_EVERY = 0.25
_ROLES = {
    "steps-1": "decides what happens next; its beat tells the sweeps when",
    "attempts-1": "runs the functions",
}


@click.command(cls=Command)
@click.option(
    "--app",
    "apps",
    multiple=True,
    metavar="MODULE|FILE",
    help="Module or file with tasks; may be repeated. In a clone of the project: the examples, by default.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".reconciler/dev"),
    show_default=True,
    help="Folder for data and logs; what is there stays.",
)
@click.option("--flower", is_flag=True, help="Run the Flower page, too.")
def dev(apps: Sequence[str], data: Path, *, flower: bool) -> int:
    """Run servers and workers on this machine until Ctrl-C.

    Prints what another terminal needs to reach them, and writes it to DATA/env, process ids to DATA/NAME.pid.
    A process that dies is started again. Changed code is loaded by the next start.
    """
    require_servers()
    if flower and find_spec("flower") is None:
        raise ReconcilerError("Flower is not installed; run pip install 'celery-reconciler[flower]'.")
    applications = [dev_app.find(app) for app in apps or (["examples"] if in_clone() else [])]
    refuse_foreign_modules([Path.cwd(), *(application.folder for application in applications)])
    forget_other_servers()
    path = dev_app.path_variable(applications)
    try:
        with ended_by_signals():
            tasks = dev_app.task_names(applications, {**os.environ, **path})
            write(f"{own_version()}: {versions()}. Starting ...")
            modules = [application.module for application in applications]
            with Stack(data, imports=modules, beat_apart=False, flower=flower, env=path) as stack:
                _serve(stack, data, tasks, apps)
    except KeyboardInterrupt:  # before everything ran, or for the second time
        pass
    write("All servers and workers have ended.")
    return ExitCode.SUCCEEDED


def _serve(stack: Stack, data: Path, tasks: Sequence[str], apps: Sequence[str]) -> None:
    """Serve until interrupted."""
    # A setting given to us, as RECONCILER_KEY_PREFIX, has to be the same for whoever talks to these workers.
    settings = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    exports = _exports({**settings, **stack.servers.env()})
    _write_private(data / "env", exports)
    pids = PidFiles(data, {**stack.servers.processes, **stack.processes})
    pids.refresh()
    _say_what_runs(stack, data, tasks)
    _say_how_to_use(stack, data, exports, apps)
    logs = {name: process.log for name, process in stack.processes.items()}
    tail = LogTail(logs, lambda name, line: write(f"{name} | {visible(line)}"))

    def say(line: str) -> None:
        tail.show_new()  # the last words of what has died
        write(line)

    supervisor = Supervisor(stack, say, tail.skip)
    try:
        while True:
            tail.show_new()
            supervisor.look()
            pids.refresh()
            time.sleep(_LOOK_EVERY)
    except KeyboardInterrupt:
        write("\nStopping; Ctrl-C again ends at once.")
    finally:
        pids.remove()


def _exports(env: Mapping[str, str]) -> str:
    """Write lines for a shell: they unset variables that point elsewhere, and set ours."""
    lines = [f"unset {' '.join(name for name in OF_OTHER_SERVERS if name not in env)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in env.items()]
    return "\n".join(lines) + "\n"


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _say_what_runs(stack: Stack, data: Path, tasks: Sequence[str]) -> None:
    servers, processes = stack.servers.processes, stack.processes
    roles = {
        "valkey": f"{stack.servers.redis_url} (records and messages)",
        "s3": f"{stack.servers.s3_endpoint} (inputs, outputs, logs)",
        **_ROLES,
        "flower": stack.flower_url + _without_login() if "flower" in processes else "",
    }
    write(f"Running; data and logs stay in {data}.\n")
    for name, process in {**servers, **processes}.items():
        write(f"  {name:<11} pid {process.pid:<7} {roles[name]}")
    if "flower" not in processes:
        write("  flower      does not run; start with --flower to see runs, timelines and logs in a browser")
    write(f"\nTasks: {', '.join(tasks) or 'none; name a module or file that declares some with --app'}")


def _without_login() -> str:
    """Say what Flower lacks without a login; empty when somebody has decided on that."""
    if any(os.environ.get(f"FLOWER_{name}") for name in ("BASIC_AUTH", "AUTH", "READ_ONLY")):
        return ""
    return " (read-only; with FLOWER_BASIC_AUTH=user:password it has buttons)"


def _say_how_to_use(stack: Stack, data: Path, exports: str, apps: Sequence[str]) -> None:
    examples = Path("examples/01_first_action.py")
    scripts = [Path(app) for app in apps if app.endswith(".py")] or ([examples] if in_clone() else [])
    write("\nIn another terminal, first:\n")
    write("".join(f"  {line}\n" for line in exports.splitlines()), nl=False)
    write(f"\nor, which is the same:  . {shlex.quote(str(data / 'env'))}\n\nThen, for example:\n")
    worker = stack.processes["attempts-1"]
    steps = [
        *((python(script), "run it") for script in scripts),
        (command("list"), "all runs"),
        (command("abort", "RUN", "--reason", "WHY"), "stop one of them"),
        (f"kill -9 {worker.pid}", "attempts-1: what it is doing is done again, nothing is lost"),
    ]
    write(two_columns(steps))
    write("\nCtrl-C ends all. Warnings and errors of the workers follow here.")
