"""Renews the lease of an attempt from a thread, and learns by the same call that the attempt shall stop.

User code runs in another process, so nothing it does can starve this thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import Unavailable
from reconciler.wiring import Engine
from worker.runner.runner import Runner

log = structlog.get_logger(__name__)

_FIRST_BEAT = 0.7
"""Seconds until an attempt is shown as running; most are over before, and cost no step for it."""
SUPERSEDED = "superseded"


class Heartbeat:
    """Beats at a quarter of the lease, while in its context.

    Attributes:
        superseded: whether a newer launch has taken over; nothing may be reported then.
    """

    def __init__(self, engine: Engine, record: TaskAction, launch: str, owner: str, lease: int) -> None:
        self._engine = engine
        self._action = record.id
        self._incarnation = record.metadata.incarnation
        self._launch = launch
        self._owner = owner
        self._lease = lease
        self._stop = ""
        self._each: Callable[[], None] | None = None
        self._runner: Runner | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="reconciler-heartbeat", daemon=True)
        self.superseded = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.set()
        self._thread.join(self._engine.settings.socket_timeout.total_seconds() + 1)

    def watch(self, runner: Runner | None) -> None:
        """Stop this runner's call as soon as a beat says so."""
        self._runner = runner

    def each(self, call: Callable[[], None]) -> None:
        """Call this after each beat that finds the attempt alive; it must return at once."""
        self._each = call

    def reason(self) -> str | None:
        """Why the attempt shall stop; None when it shall not."""
        return self._stop or None

    def _beat(self) -> None:
        period = self._lease / 4000
        wait, first = min(_FIRST_BEAT, period), True
        while not self._ends.wait(wait):
            wait = period
            try:
                beat = self._engine.store.heartbeat(
                    self._action,
                    self._launch,
                    owner=self._owner,
                    lease=self._lease,
                    incarnation=self._incarnation,
                )
            except Unavailable as error:
                # whoever is right about the lease decides when the store is back; until then the work goes on
                log.warning("heartbeat.unavailable", action=str(self._action), error=str(error))
                continue
            except Exception:
                log.exception("heartbeat.failed", action=str(self._action))  # silence would end the lease
                continue
            if not beat.alive:
                self.superseded = True
                self._ask(SUPERSEDED)
                return
            if beat.stop:
                self._ask(beat.stop)
            elif first:
                self._show_running()
            first = False
            if self._each is not None:
                self._each()

    def _ask(self, reason: str) -> None:
        self._stop = reason
        runner = self._runner  # another thread takes it away when the call has ended
        if runner is not None:
            runner.request_stop(reason)

    def _show_running(self) -> None:
        try:
            shard = self._engine.store.shard_of(self._action.run_id)
            self._engine.stepper.step(shard, [self._action], drain=False)
        except Exception as error:  # noqa: BLE001  # whatever it is, the lease must be renewed
            log.warning("heartbeat.step_failed", action=str(self._action), error=str(error) or repr(error))
