"""Renew the leases of a process's launches from one thread, and learn from the answers which must stop.

User code runs in another process, so nothing it does can starve this thread.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable

import structlog

from reconciler.api.action import TaskAction
from reconciler.api.errors import Unavailable
from reconciler.wiring import Engine
from worker.runner.runner import Runner

log = structlog.get_logger(__name__)

_FIRST_BEAT = 0.7
"""Seconds until an attempt is shown as running; most are over before, and cost no step for it."""
_GLANCE = 0.05
"""Seconds until a batch is looked at for the first time, at the latest."""
SUPERSEDED = "superseded"


class Heartbeat:
    """The lease of one launch, renewed at a quarter of its length.

    Attributes:
        superseded: whether a newer launch has taken over; nothing may be reported then.
        next: when to beat, by the monotonic clock, seconds.
        begun: whether its function is being called.
        progress: gives what the function says of its progress, a `Progress` as JSON; empty when it says nothing.
    """

    def __init__(self, engine: Engine, record: TaskAction, owner: str, lease: int) -> None:
        self._engine = engine
        self._action = record.id
        self._incarnation = record.metadata.incarnation
        self._launch = record.attempt.launch
        self._owner = owner
        self._lease = lease
        self._stop = ""
        self._each: list[Callable[[], None]] = []
        self._runner: Runner | None = None
        self._shown = False
        self._told = b""
        self.progress: Callable[[], bytes] = bytes
        self.begun = False
        self.superseded = False
        self.next = time.monotonic() + min(_FIRST_BEAT, lease / 4000)

    def watch(self, runner: Runner | None) -> None:
        """Stop this runner's call as soon as a heartbeat says so."""
        self._runner = runner

    def each(self, call: Callable[[], None]) -> None:
        """Call this, too, after each heartbeat that finds the attempt alive while it runs; it must return at once."""
        self._each.append(call)

    def reason(self) -> str | None:
        """Return why the attempt must stop; None when it need not."""
        return self._stop or None

    def beat(self) -> None:
        """Renew the lease, and ask the function to stop if it must."""
        self.next = time.monotonic() + self._lease / 4000
        try:
            said = self.progress() if self.begun else b""
            beat = self._engine.store.heartbeat(
                self._action,
                self._launch,
                owner=self._owner,
                lease=self._lease,
                incarnation=self._incarnation,
                progress=said if said != self._told else b"",
            )
            self._told = said
        except Unavailable as error:
            # whoever is right about the lease decides when the store is back; until then the work goes on
            log.warning("heartbeat.unavailable", action=str(self._action), error=str(error))
            return
        except Exception:
            log.exception("heartbeat.failed", action=str(self._action))  # silence would end the lease
            return
        if not beat.alive:
            self.superseded = True
            self._ask(SUPERSEDED)
            return
        if beat.stop:
            self._ask(beat.stop)
        elif self.begun and not self._shown:
            self._shown = True
            self._show_running()
        if self.begun:
            for call in self._each:
                call()

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


class Keeper:
    """The thread of this process that renews leases, and looks after a batch whose call takes long."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        # in the order in which they began, so that equal stories are told alike
        self._beats: dict[Heartbeat, None] = {}
        self._look: Callable[[], float | None] | None = None
        self._changed = threading.Condition()
        self._sleeps_until = 0.0
        self._thread: threading.Thread | None = None

    def keep(self, beats: Iterable[Heartbeat], look: Callable[[], float | None] | None = None) -> None:
        """Renew these leases until they are released.

        Args:
            beats: whose.
            look: called in this thread, 50 ms from now at the latest; gives after how many seconds again, None for never.

        Raises:
            RuntimeError: no thread is left on this host; nothing is kept.
        """
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="reconciler-heartbeat", daemon=True)
                thread.start()
                self._thread = thread
            self._beats.update(dict.fromkeys(beats))
            if look is not None:  # else that of another batch may be at work
                self._look = look
            due = min((beat.next for beat in self._beats), default=0.0)
            if look is not None:
                due = min(due, time.monotonic() + _GLANCE)
            if due < self._sleeps_until:
                self._changed.notify()

    def let_go(self, beats: Iterable[Heartbeat]) -> None:
        """Stop renewing these leases."""
        with self._changed:
            for beat in beats:
                self._beats.pop(beat, None)

    def _run(self) -> None:
        while True:
            with self._changed:
                due = [beat for beat in self._beats if beat.next <= time.monotonic()]
                look = self._look
            for beat in due:
                if not beat.superseded:
                    _beaten(beat)
                else:
                    self.let_go([beat])
            again = _looked(look)
            with self._changed:
                if self._look is not look:
                    continue  # another batch has begun meanwhile
                if again is None:
                    self._look = None
                now = time.monotonic()
                times = [beat.next for beat in self._beats]
                if look is not None:
                    # when batch follows upon batch, the next one is looked at without waking this thread for it
                    times.append(now + (_GLANCE if again is None else again))
                self._sleeps_until = min(times, default=now + 3600)
                self._changed.wait(max(0.0, self._sleeps_until - now))
                self._sleeps_until = 0.0


def _beaten(beat: Heartbeat) -> None:
    try:
        beat.beat()
    except Exception:
        log.exception("heartbeat.failed")  # its thread's end would be that of all leases


def _looked(look: Callable[[], float | None] | None) -> float | None:
    try:
        return look() if look is not None else None
    except Exception:
        log.exception("heartbeat.look_failed")  # as above
        return None


class _Process:
    keeper: Keeper | None = None
    pid: int = 0


def keeper() -> Keeper:
    """Return the keeper of this process; a forked child makes its own."""
    if _Process.keeper is None or _Process.pid != os.getpid():
        _Process.keeper, _Process.pid = Keeper(), os.getpid()
    return _Process.keeper
