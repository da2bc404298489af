"""A program in the background that never outlives the process that started it, nor leaves children behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from reconciler.api.errors import ReconcilerError
from reconciler.embedded import guardian

KILL_PATIENCE = 10.0
"""Seconds a guardian may take to end a family; longer: one of them cannot die, and we wait no more."""
TAIL_BYTES = 8192
_RUN = "import sys; sys.path.append(sys.argv.pop(1)); import guardian; sys.exit(guardian.main(sys.argv[1:]))"
"""As a module, not as a file: that would be compiled in each of them, which is a tenth of its memory."""


class ManagedProcess:
    """One program, run by a guardian process that ends it and all its descendants (`guardian.py`).

    They end with the process that started them, also when that is killed with SIGKILL. The program has a
    session of its own, so Ctrl-C in a terminal does not reach it. Its standard output and error are appended
    to `log`. Not to be shared by threads, except for `alive` and `pid`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        hold: Sequence[int] = (),
    ) -> None:
        """Describe the program; `start` runs it.

        Args:
            name: what error messages call it.
            command: the program and its arguments.
            log: file its output is appended to.
            env: its whole environment; this process's own when not given.
            cwd: its working folder; this process's own when not given.
            hold: descriptors that stay open until the last descendant has ended (for locks).
        """
        self.name = name
        self.command = tuple(command)
        self.log = log
        self._env = env
        self._cwd = cwd
        self._hold = tuple(hold)
        self._guardian: subprocess.Popen[bytes] | None = None
        self._report: BinaryIO | None = None
        self._pid: int | None = None
        self._returncode: int | None = None
        self._log_start = 0

    def start(self) -> None:
        """Start the program; it may still be about to fail when this returns (`await_ready`).

        Raises:
            ReconcilerError: it runs already, or cannot be started.
        """
        if self.alive:
            raise ReconcilerError(f"{self.name} runs already as process {self.pid}; stop it first.")
        self.wait(0)  # closes the report of an earlier life
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._returncode = None
        read, write = os.pipe()
        self._report = os.fdopen(read, "rb")
        try:
            self._guardian = self._start_guardian(write)
        except OSError as error:
            self._report.close()
            raise ReconcilerError(
                f"{self.name} cannot be started: {error}. Check the folder {self._cwd}."
            ) from error
        finally:
            os.close(write)
        line = self._report.readline()
        if not line:
            self._guardian.wait()
            self._report.close()
            raise self.failure("could not be started")
        self._pid = int(line)

    @property
    def pid(self) -> int:
        """Process id of the program (not of its guardian), also after it has ended.

        Raises:
            ReconcilerError: it was never started.
        """
        if self._pid is None:
            raise ReconcilerError(f"{self.name} was not started; call start() first.")
        return self._pid

    @property
    def alive(self) -> bool:
        """Tell whether the program, or any descendant of it, still runs."""
        return self._guardian is not None and self._guardian.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code; negative: the signal that ended the program; None: it runs, or was never started."""
        if self._guardian is None or self.alive:
            return None
        if self._report is not None and not self._report.closed:
            line = self._report.readline()
            self._report.close()
            if not line:  # somebody killed the guardian; the program died with it, its group may not have
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
            self._returncode = int(line or -signal.SIGKILL)
        return self._returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait at most `timeout` seconds for the end; return the return code, or None when it still runs."""
        if self._guardian is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.wait(timeout)
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM to the program alone, and return at once."""
        self._signal(signal.SIGTERM)

    def request_kill(self) -> None:
        """Ask for SIGKILL to the program and all its descendants, and return at once."""
        self._signal(guardian.KILL_FAMILY)
        self._signal(signal.SIGCONT)  # should somebody have stopped the guardian

    def kill(self) -> None:
        """Send SIGKILL to the program and all its descendants at once; returns when none is left."""
        kill_all([self])

    def stop(self, timeout: float = 10.0) -> int | None:
        """End the program: SIGTERM, and SIGKILL for what is left of it and its descendants after `timeout` seconds.

        Returns:
            The return code; None when it was never started.
        """
        stop_all([self], timeout)
        return self.returncode

    def restart(self, timeout: float = 10.0) -> None:
        """Stop (as `stop`) and start again with the same command.

        Raises:
            ReconcilerError: it cannot be started.
        """
        self.stop(timeout)
        self.start()

    def log_tail(self, lines: int = 20) -> str:
        """Read the last lines written since the latest start; empty when there are none."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self._log_start, self.log.stat().st_size - TAIL_BYTES))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def failure(self, what: str) -> ReconcilerError:
        """Make an error that says `what` happened to the program, and shows the end of its log."""
        code = self.returncode
        ended = "" if code is None else f" (return code {code})"
        tail = self.log_tail() or "(it wrote nothing)"
        return ReconcilerError(f"{self.name} {what}{ended}. Its log is {self.log}; the end of it:\n{tail}")

    def _start_guardian(self, report: int) -> subprocess.Popen[bytes]:
        descriptors = (report, *self._hold)
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            return subprocess.Popen(  # noqa: S603  # the command is ours or our caller's, and no shell reads it
                [
                    *(sys.executable, "-I", "-S", "-c", _RUN, str(Path(guardian.__file__).parent)),
                    *(str(os.getpid()), ",".join(map(str, descriptors))),
                    *self.command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=self._cwd,
                pass_fds=descriptors,
                start_new_session=True,
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._guardian is not None:
            self._guardian.send_signal(number)

    def _kill_guardian(self) -> None:
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait()


def kill_all(processes: Iterable[ManagedProcess]) -> None:
    """Send SIGKILL to all these programs with their descendants at once; returns when none is left."""
    victims = list(processes)
    for process in victims:
        process.request_kill()
    for process in victims:
        if process.wait(KILL_PATIENCE) is None:
            process._kill_guardian()  # noqa: SLF001  # same module
            process.wait(0)


def stop_all(processes: Iterable[ManagedProcess], timeout: float) -> None:
    """Send SIGTERM to all these programs at once; after `timeout` seconds SIGKILL to those left, with their descendants."""
    leaving = list(processes)
    for process in leaving:
        process.terminate()
    deadline = time.monotonic() + timeout
    kill_all([p for p in leaving if p.wait(max(0.0, deadline - time.monotonic())) is None])


def await_ready(process: ManagedProcess, ready: Callable[[], bool], timeout: float) -> None:
    """Wait until `ready` returns true.

    Args:
        process: the program that is waited for.
        ready: asked again and again; must return quickly.
        timeout: seconds to wait at most.

    Raises:
        ReconcilerError: the program ended, or was not ready in time; with the end of its log.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if not process.alive:
            raise process.failure("ended before it was ready")
        if time.monotonic() > deadline:
            raise process.failure(f"was not ready within {timeout:g} seconds")
        time.sleep(0.01)
