"""Starts processes of a stack again when they have died."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.stack import Stack

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
_HEALTHY = 60.0
"""Seconds a process has to live for its next death to count as the first."""


@dataclass
class _Life:
    """The starts and ends of one process.

    Attributes:
        deaths: since it was last healthy.
        due: when it is started again (monotonic); None while it lives.
        began: when it was last started (monotonic).
    """

    deaths: int = 0
    due: float | None = None
    began: float = 0.0


class Supervisor:
    """Restarts servers and Celery processes of one stack, when it is asked to look.

    The first death is answered at once, further ones with a growing pause, so that a process that cannot live
    does not eat the machine.
    """

    def __init__(
        self, stack: Stack, say: Callable[[str], None], restarted: Callable[[str], None] | None = None
    ) -> None:
        """Look after a running stack.

        Args:
            stack: whose processes.
            say: gets a line for each death and each restart.
            restarted: called with the name of a process that works again, before that is said.
        """
        self._stack = stack
        self._say = say
        self._restarted = restarted
        self._lives: dict[str, _Life] = {}

    def look(self) -> None:
        """Start again what has died and is due. Returns when it works, which takes some seconds."""
        now = time.monotonic()
        processes = {
            **self._stack.servers.processes,
            **self._stack.processes,
        }  # servers first: workers need them
        for name, process in processes.items():
            life = self._lives.setdefault(name, _Life(began=now))
            if process.alive:
                continue
            if life.due is None:
                self._note_death(name, life, process)
            if life.due is not None and time.monotonic() >= life.due:
                self._start(name, life)

    def _note_death(self, name: str, life: _Life, process: ManagedProcess) -> None:
        now = time.monotonic()
        life.deaths = 1 if now - life.began >= _HEALTHY else life.deaths + 1
        pause = 0.0 if life.deaths == 1 else min(_FIRST_PAUSE * 2 ** (life.deaths - 2), _LONGEST_PAUSE)
        life.due = now + pause
        when = f"in {pause:g} s" if pause else "now"
        self._say(f"{name} {_ending(process.returncode)}; it is started again {when}. Its log: {process.log}")

    def _start(self, name: str, life: _Life) -> None:
        life.due, life.began = None, time.monotonic()
        try:
            if name in self._stack.processes:
                self._stack.restart(name)
            else:
                self._stack.servers.processes[name].start()
        except ReconcilerError as error:
            self._say(str(error))
            return  # it is dead: the next look notes that, and waits longer
        if self._restarted is not None:
            self._restarted(name)
        self._say(f"{name} runs again.")


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with status {code}"
    names = {int(known): known.name for known in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"
