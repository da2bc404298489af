"""What the tests of several workers share: folders with a release of a module, workers started there, calls of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli_support import Backend, eventually

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template

MODULE = "release"


class Release:
    """A folder with one release of the module, from which workers are started."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder = folder
        folder.mkdir()
        self.deploy(text)

    def deploy(self, text: str) -> None:
        """Put this text in place of what is there; nobody is told."""
        (self.folder / f"{MODULE}.py").write_text(text)
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)

    @contextmanager
    def worker(self, queues: str, name: str, slots: int = 1) -> Iterator[subprocess.Popen[bytes]]:
        """Provide a worker, as an operator starts it; it is ended afterwards."""
        celery = (str(Path(sys.executable).with_name("celery")), "-A", "worker", "worker", "-Q", queues)
        options = (
            "-P",
            "prefork",
            "-c",
            str(slots),
            "-n",
            f"{name}@here",
            "--without-gossip",
            "--without-mingle",
        )
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen((*celery, *options), cwd=self.folder, stdout=log, stderr=log)
            try:
                yield process
            finally:
                process.terminate()
                process.wait(60)


def submit(
    backend: Backend, run: str, function: str, interface: Interface | None = None, inputs: bytes = b'{"x":1}'
) -> str:
    """Return a call of a function of the release."""
    template = TaskTemplate(type="function", interface=interface, custom={"function": f"shop.{function}"})
    spec = ActionSpec(
        run_name=run, task_type="function", task_template=encode_template(template), inputs=inputs
    )
    backend.client.submit(spec)
    return run


def living(backend: Backend, count: int) -> None:
    """Wait until so many workers take attempts."""
    eventually(lambda: backend.store.find_function("attempts", "").workers == count, 90)


def shown(backend: Backend, run: str) -> str:
    """What `reconciler get` says, in one line."""
    return " ".join(backend.reconciler("get", run).output.split())


def all_ended(backend: Backend, runs: list[str], within: float) -> list[TaskAction]:
    """Return their records once all have ended."""
    eventually(lambda: all(backend.get(run).phase.is_terminal() for run in runs), within)
    return [backend.get(run) for run in runs]


def unspent(records: list[TaskAction]) -> None:
    """Check that all succeeded in their first attempt and launch, without a system failure."""
    assert {record.phase for record in records} == {ActionPhase.SUCCEEDED}
    spent = {(r.status.attempts, r.status.launches, r.status.total_system_failures) for r in records}
    assert spent == {(1, 0, 0)}
