"""Servers, workers, beat and Flower on this machine, for as long as this process lives."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Self

from reconciler.api.errors import ReconcilerError, StoreUnavailable
from reconciler.embedded import commands
from reconciler.embedded.asking import ask
from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready, kill_all, stop_all
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings

START_TIMEOUT = 60.0
"""Seconds a Celery process may take until it works; many of them on few cores start slowly."""
STOP_TIMEOUT = 10.0
"""Seconds the Celery processes may take, together, to finish what they do; then they are killed."""
BEAT = "beat"
FLOWER = "flower"


class Stack:
    """Context manager: a complete backend, each part a process of its own.

    Processes are named `steps-1`, `steps-2`, …, `attempts-1`, …, `beat` and `flower`. All end with this
    process, also when it is killed with SIGKILL. One that dies stays dead until `start_workers` or `restart`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        imports: Sequence[str] = (),
        steps: int = 1,
        attempts: int = 1,
        attempts_concurrency: int = 2,
        steps_concurrency: int = 8,
        beat: bool = True,
        beat_apart: bool = True,
        flower: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        servers: EmbeddedServers | None = None,
        app: str = commands.APP,
    ) -> None:
        """Describe the stack; `start` runs it.

        Args:
            data_dir: folder for the servers' data, beat's schedule and all logs.
            imports: modules with the functions attempts may run.
            steps: number of worker processes that reconcile.
            attempts: number of worker processes that run user code.
            attempts_concurrency: user functions at once in each of them.
            steps_concurrency: threads in each worker that reconciles.
            beat: whether to run the clock of the sweeps.
            beat_apart: whether beat is a process of its own; else it is a thread of `steps-1`.
            flower: whether to run Flower.
            env: more variables for the Celery processes; they win over all others.
            cwd: working folder of the Celery processes; modules in it can be imported.
            servers: running servers to be used; they are left running. Not given: the stack runs its own.
            app: module of the workers' Celery application, for tests that wrap the one of the product.
        """
        self._data_dir = Path(data_dir).resolve()
        self._imports = tuple(imports)
        self._counts = {"steps": steps, "attempts": attempts}
        self._concurrency = {"steps": steps_concurrency, "attempts": attempts_concurrency}
        self._wanted = [name for name, wanted in ((BEAT, beat and beat_apart), (FLOWER, flower)) if wanted]
        self._beat_inside = "" if beat_apart or not beat else "steps-1"
        self._extra_env = dict(env or {})
        self._cwd = cwd
        self._app = app
        self._owns_servers = servers is None
        self.servers = servers or EmbeddedServers(self._data_dir)
        self.processes: dict[str, ManagedProcess] = {}
        """The Celery processes by name; empty before `start`."""
        self._nodes: dict[str, str] = {}
        self._flower_port = 0
        self._settings = Settings()

    def start(self) -> None:
        """Start everything; returns when each worker consumes and Flower answers.

        Raises:
            ReconcilerError: it runs already, or a part does not start (with the end of its log).
            InvalidSettings: the variables contradict each other.
        """
        if self.processes:
            raise ReconcilerError("this embedded stack runs already; stop it first.")
        try:
            if self._owns_servers:
                self.servers.start()
            env = self.env()
            self._settings = Settings.from_env(env)
            self.processes = self._describe(env)
            self._start(self.processes)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the Celery processes (SIGTERM, later SIGKILL), then the servers if they are the stack's own."""
        stop_all(self.processes.values(), STOP_TIMEOUT)
        self.processes = {}
        if self._owns_servers:
            self.servers.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def env(self) -> dict[str, str]:
        """Return all variables the Celery processes get."""
        env = {**os.environ, **self.servers.env()}
        if self._imports:
            env["RECONCILER_IMPORTS"] = ",".join(self._imports)
        return env | self._extra_env

    @property
    def flower_url(self) -> str:
        """Address of the Flower page.

        Raises:
            ReconcilerError: Flower is not part of the running stack.
        """
        if FLOWER not in self.processes:
            raise ReconcilerError("Flower does not run; make the stack with flower=True and start it.")
        return f"http://{LOOPBACK}:{self._flower_port}"

    def kill_workers(self) -> None:
        """Send SIGKILL to all worker processes with their children at once; returns when none is left."""
        kill_all(self.processes[name] for name in self._nodes)

    def start_workers(self) -> None:
        """Start the workers that do not run; returns when each consumes.

        Raises:
            ReconcilerError: one does not start (with the end of its log).
        """
        self._start(name for name in self._nodes if not self.processes[name].alive)

    def restart(self, name: str) -> None:
        """Stop one Celery process, bounded as `stop`, and start it again; returns when it works.

        Raises:
            ReconcilerError: there is no such process, or it does not start (with the end of its log).
        """
        self._named(name).stop(STOP_TIMEOUT)
        self._start([name])

    def rss(self, name: str) -> int:
        """Measure the resident memory of a process with its children (without its guardian), in bytes.

        Args:
            name: a Celery process, or `valkey` or `s3`.

        Raises:
            ReconcilerError: there is no such process, it has ended, or `psutil` is not installed.
        """
        try:
            import psutil  # noqa: PLC0415  # part of an extra
        except ImportError as error:
            raise ReconcilerError(
                "psutil is not installed; run pip install 'celery-reconciler[embedded]'."
            ) from error
        try:
            program = psutil.Process(self._named(name).pid)
            return sum(process.memory_info().rss for process in (program, *program.children(recursive=True)))
        except psutil.NoSuchProcess as error:
            raise ReconcilerError(f"process {name} has ended; start it again first.") from error

    def _named(self, name: str) -> ManagedProcess:
        known = {**self.servers.processes, **self.processes}
        if name not in known:
            raise ReconcilerError(
                f"no process {name} runs in this stack; there are: {', '.join(known) or 'none'}."
            )
        return known[name]

    def _describe(self, env: Mapping[str, str]) -> dict[str, ManagedProcess]:
        host = f"embedded-{secrets.token_hex(4)}"
        lines: dict[str, Sequence[str]] = {}
        schedule = self._data_dir / "beat-schedule"
        self._nodes = {}
        for kind, queue, pool in (
            ("steps", self._settings.steps_queue, "threads"),
            ("attempts", self._settings.attempts_queue, "prefork"),
        ):
            for name in (f"{kind}-{number}" for number in range(1, self._counts[kind] + 1)):
                self._nodes[name] = f"{name}@{host}"
                lines[name] = commands.worker(
                    queue,
                    pool,
                    self._concurrency[kind],
                    self._nodes[name],
                    self._app,
                    schedule if name == self._beat_inside else None,
                )
        if BEAT in self._wanted:
            lines[BEAT] = commands.beat(schedule)
        if FLOWER in self._wanted:
            self._flower_port = pick_ports(1)[0]
            lines[FLOWER] = commands.flower(self._flower_port)
        logs = self._data_dir / "logs"
        return {
            name: ManagedProcess(name, line, log=logs / f"{name}.log", env=env, cwd=self._cwd)
            for name, line in lines.items()
        }

    def _start(self, names: Iterable[str]) -> None:
        starting = list(names)
        try:
            for name in starting:
                if name in self._nodes:
                    self._ask("DEL", name)  # of an earlier life: it outlasts a killed worker
                self.processes[name].start()
            for name in starting:
                await_ready(self.processes[name], partial(self._works, name), START_TIMEOUT)
        except OSError as error:
            raise StoreUnavailable(
                f"the record server does not answer, so workers cannot be awaited: {error}. Start it first."
            ) from error

    def _works(self, name: str) -> bool:
        if name == FLOWER:
            return listens(self._flower_port)
        if name == BEAT:
            return self.processes[name].alive
        return self._ask("EXISTS", name) == b"1"

    def _ask(self, command: str, name: str) -> bytes:
        timeout = self._settings.socket_timeout.total_seconds()
        return ask(self._settings.redis_url, command, self._liveness_key(name), timeout=timeout)

    def _liveness_key(self, name: str) -> str:
        """Set by the worker, with a TTL of some seconds, while it consumes."""
        return f"{self._settings.key_prefix}:worker:{self._nodes[name]}"
