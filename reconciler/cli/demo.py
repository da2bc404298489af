"""`reconciler demo`: a real run on real servers, from nothing, in about half a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from reconciler import Client, Run
from reconciler.api.errors import ActionEnded, ReconcilerError
from reconciler.api.transition import CacheStatus
from reconciler.cli import demo_folder, survey
from reconciler.cli.commands import Command
from reconciler.cli.demo_screen import Screen
from reconciler.cli.exits import ExitCode
from reconciler.cli.format import one_line
from reconciler.cli.local import (
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
from reconciler.cli.supervisor import Supervisor
from reconciler.core.visible import visible
from reconciler.embedded.stack import Stack

_PATIENCE = 60.0
"""Seconds without any progress after which the demo gives up."""
_BETWEEN_LOOKS = 0.1
_TOP = 10
_SHOWN_FAILURES = 10


@click.command(cls=Command)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".reconciler/demo"),
    show_default=True,
    help="Folder for data and logs; what was found out is kept for the next demo.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Survey at most so many files.")
@click.option(
    "--crash", is_flag=True, help="Half way, kill -9 the worker that runs the functions; starts over."
)
@click.option("--fresh", is_flag=True, help="Start over, without the results of earlier demos.")
def demo(data: Path, limit: int | None, *, crash: bool, fresh: bool) -> int:
    """Survey the Python standard library: one durable action for each source file.

    Called again, it takes the results of files that did not change from the cache.

    Starts Valkey, an S3 server and Celery workers of its own, and ends them again. Nothing has to be set up,
    and no server of yours is touched.
    """
    require_servers()
    screen = Screen()
    try:
        with ended_by_signals():
            return _demo(screen, data, limit, crash=crash, fresh=fresh)
    except KeyboardInterrupt:
        screen.say("Interrupted. All servers and workers have ended.")
        return ExitCode.GIVEN_UP


def _demo(screen: Screen, data: Path, limit: int | None, *, crash: bool, fresh: bool) -> int:
    paths = survey.source_files(limit)
    if not paths:
        raise ReconcilerError(f"{survey.library()} holds no source files; run the demo with another Python.")
    screen.say(
        f"{own_version()} surveys the Python standard library: {len(paths)} files, one durable action each, "
        f"on servers and workers of its own ({versions()})."
    )
    began = time.monotonic()
    forget_other_servers(and_settings=True)
    refuse_foreign_modules([data])
    # With all results in the cache there would be no work to kill.
    if notice := demo_folder.prepare(data, fresh=fresh or crash):
        screen.say(notice)
    # The data folder is the workers' working folder, so that no module of the user's folder is in their way.
    with Stack(data, imports=[survey.__name__], cwd=data) as stack:
        screen.say(f"Ready after {time.monotonic() - began:.1f} s; data and logs are in {data}.")
        os.environ.update(stack.servers.env())
        try:
            code = _Survey(screen, stack, paths, crash=crash).run()
        except KeyboardInterrupt:
            screen.say("Stopping; Ctrl-C again ends at once.")
            raise
    demo_folder.finish(data)
    if code == ExitCode.SUCCEEDED:
        _say_what_next(screen)
    return code


class _Survey:
    """The run, from its submission to its report."""

    def __init__(self, screen: Screen, stack: Stack, paths: Sequence[Path], *, crash: bool) -> None:
        self._screen = screen
        self._stack = stack
        self._paths = paths
        self._crash = crash
        self._client = survey.env.client = Client.from_settings()
        self._supervisor = Supervisor(stack, screen.say)

    def run(self) -> int:
        """Submit, watch, join, report. Gives the exit status."""
        began = time.monotonic()
        run = survey.survey.map(map(survey.Source.of, self._paths), keep_failures=True)
        stored = time.monotonic()
        self._screen.say(f"Run {run.id}: stored {len(self._paths)} actions in {stored - began:.2f} s.")
        with self._screen.progress(len(self._paths)) as show:
            run.wait(progress=self._watch(run, show))
            self._supervisor.look()  # whom it killed may have died after the last look
            show(len(self._paths))
        ended = time.monotonic()
        outcomes = run.outcomes()
        packages = survey.rank(
            (path, found)
            for path, found in zip(self._paths, outcomes, strict=True)
            if not isinstance(found, ActionEnded)
        )
        joined = time.monotonic()
        self._screen.table(packages[:_TOP])
        failed = [found for found in outcomes if isinstance(found, ActionEnded)]
        self._screen.say(
            f"{len(outcomes) - len(failed)} of {len(outcomes)} actions succeeded: "
            f"stored in {stored - began:.2f} s, joined in {joined - ended:.2f} s, "
            f"run in {ended - stored:.1f} s ({len(outcomes) / (ended - stored):.0f} a second)."
        )
        self._say_cached(run)
        self._say_where_one_lies(run)
        self._say_failures(failed)
        return ExitCode.FAILED if failed else ExitCode.SUCCEEDED

    def _watch(self, run: Run[object], show: Callable[[int], None]) -> Callable[[], None]:
        """Show the run whenever something of it is committed, and every few seconds."""
        looked = moved = time.monotonic()
        done = 0

        def look() -> None:
            nonlocal looked, moved, done
            now = time.monotonic()
            if now - looked < _BETWEEN_LOOKS and not self._crash:  # a few files end between two looks
                return
            looked = now
            self._supervisor.look()
            ended = min(run.counts.ended, len(self._paths))
            if ended > done:
                done, moved = ended, now
                show(done)
            if self._crash and done >= len(self._paths) // 2:
                self._crash = False
                self._kill_a_worker()
            if now - moved > _PATIENCE:
                raise ReconcilerError(
                    f"{done} of {len(self._paths)} actions have ended, and none in the last {_PATIENCE:g} s; "
                    f"the logs of the workers say more: {self._stack.processes['steps-1'].log.parent}"
                )

        return look

    def _kill_a_worker(self) -> None:
        worker = self._stack.processes["attempts-1"]
        self._screen.say(f"kill -9 {worker.pid}: attempts-1, in the middle of its work.")
        worker.kill()

    def _say_cached(self, run: Run[object]) -> None:
        hits = sum(action.status.cache_status is CacheStatus.HIT for action in self._client.actions(run.id))
        if hits:
            self._screen.say(f"{hits} of {len(self._paths)} served from the cache: no function ran for them.")

    def _say_where_one_lies(self, run: Run[object]) -> None:
        """Show the output of the first action that has one."""
        for index, path in enumerate(self._paths):
            ref = self._client.get(run.id.action(f"m{index}")).status.outputs
            if ref is not None:
                content = self._client.blobs.get(ref.uri, sha256=ref.sha256).decode()
                self._screen.say(
                    f"The output of one of them, for {path}, is in S3:\n  {ref.uri}\n  {content}"
                )
                return

    def _say_failures(self, failed: Sequence[ActionEnded]) -> None:
        for error in failed[:_SHOWN_FAILURES]:
            self._screen.say(
                f"not succeeded: {error.action} [{error.code}] {one_line(visible(error.message))}"
            )
        if len(failed) > _SHOWN_FAILURES:
            self._screen.say(f"... and {len(failed) - _SHOWN_FAILURES} more")


def _say_what_next(screen: Screen) -> None:
    """Print commands that work as they stand."""
    clone = in_clone()
    again = "make demo" if clone else command("demo")
    steps = [
        (again, "the same again: results of files that did not change come from the cache"),
        (command("demo", "--crash"), "kill -9 a worker half way: every action succeeds all the same"),
        ("make dev" if clone else command("dev", "--app", "FILE.py"), "servers and workers until Ctrl-C"),
        (command("dev", "--flower"), "the same, with Flower; both show what to kill, and where Flower is"),
        (". .reconciler/dev/env", "then, in another terminal: where they are"),
    ]
    if clone:
        steps += [
            (python(Path("examples/01_first_action.py")), "run one action"),
            (python(Path("examples/05_timeouts_and_abort.py")), "abort one that is running"),
        ]
    else:
        steps.append((command("abort", "RUN", "--reason", "WHY"), "abort one that is running"))
    screen.say("\nWhat to try next:")
    screen.say(two_columns(steps))
