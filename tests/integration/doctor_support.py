"""A whole installation on real servers, for the tests of `reconciler doctor`: both kinds of workers, and beat."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from broker_servers import until
from click.testing import CliRunner

from reconciler.cli import main
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import PREFIX, Settings
from reconciler.stores.redis.store import RedisStore

ROOT = Path(__file__).parents[2]
ROLES = {
    "steps": ("worker", "-Q", "steps", "-P", "threads", "-c", "4"),
    "attempts": ("worker", "-Q", "attempts,gpu", "-P", "prefork", "-c", "1"),
    "beat": ("beat",),
}
QUIET = ("--without-gossip", "--without-mingle")


class Report:
    """What `doctor --json` has said.

    Attributes:
        code: the exit code.
        problems: what is wrong, by check.
        text: all of the output.
    """

    def __init__(self, code: int, output: str) -> None:
        self.code, self.text = code, output
        document: dict[str, Any] = json.loads(output.splitlines()[-1])
        self.checks: list[dict[str, Any]] = document["checks"]
        self.problems = {check["name"]: check["problems"] for check in self.checks if check["problems"]}


def report(*options: str) -> Report:
    """Run `doctor` in this process."""
    result = CliRunner().invoke(main, ["doctor", "--json", *options])
    return Report(result.exit_code, result.stdout)


class Installation:
    """Context manager: servers, workers and beat; `environment` is that of all of them.

    Args:
        folder: for data and logs.
        rule: rights of the user on Redis as which all come; may do everything when not given.
    """

    def __init__(self, folder: Path, rule: Sequence[str] = ()) -> None:
        self.folder = folder
        self._rule = rule
        self.servers = EmbeddedServers(folder / "servers")
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.servers.start()
        self.environment = {
            **self.servers.env(),
            "RECONCILER_IMPORTS": "cli_functions",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'integration'}",
        }
        if self._rule:
            self.environment["RECONCILER_REDIS_URL"] = self.as_user(*self._rule)
        self.store = RedisStore(Settings(redis_url=self.servers.redis_url))
        for role in ROLES:
            self.start(role, role)
        until(lambda: len(self.store.workers()) == 2 and self.store.swept_ago("resync") is not None, 60)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.end(name)
        self.store.close()
        self.servers.stop()

    def start(self, name: str, role: str, **environment: str) -> None:
        """Start a process; a worker is named after its role, whatever `name` we know it by."""
        kind, *options = ROLES[role]
        more = (
            ["-n", f"{role}@%h", *QUIET]
            if kind == "worker"
            else ["-s", str(self.folder / f"{name}.schedule")]
        )
        clean = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker", kind, *options, *more],
                env={
                    **clean,
                    **self.environment,
                    "RECONCILER_IMPORTS": "cli_functions,locked_functions",
                    **environment,
                },
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def end(self, name: str) -> None:
        """Kill a process and its children."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Provide a process that lives and does nothing."""
        process = self.processes[name]
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    @contextmanager
    def config(self, **wanted: str) -> Iterator[None]:
        """Provide the record server with other settings for a while."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            names = {name.replace("_", "-"): value for name, value in wanted.items()}
            before: dict[str, str] = {name: client.config_get(name)[name] for name in names}  # type: ignore[index]  # redis-py says it may be awaited
            for name, value in names.items():
                client.config_set(name, value)
            try:
                yield
            finally:
                for name, value in before.items():
                    client.config_set(name, value)

    def as_user(self, *rules: str) -> str:
        """Return the URL of the records for a user with these rights."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            client.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">t0p-s3cret", *rules)  # type: ignore[no-untyped-call]  # redis-py has no types here
        return self.servers.redis_url.replace("redis://", "redis://ann:t0p-s3cret@")

    def facts(self, role: str) -> dict[str, Any]:
        """What the worker of this role says of itself."""
        found: dict[str, Any] = json.loads(self.store.workers()[f"{role}@{socket.gethostname()}"])
        return found

    def environ(self, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
        """Give this process the environment of the installation, with some variables set otherwise."""
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            monkeypatch.delenv(name)
        for name, value in {**self.environment, **more}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.syspath_prepend(str(ROOT / "tests" / "integration"))
