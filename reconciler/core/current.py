"""Tell user code about the attempt it runs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime

import msgspec


class CurrentAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The attempt a function runs in.

    Attributes:
        project: of the action.
        domain: of the action.
        run: of the action.
        action: name of the action within its run.
        attempt: number of the attempt, from 1; grows with each retry after an error of the function.
        launch: `<attempt>` or `<attempt>-<relaunch>`: differs each time the function is started.
        started: when this launch began; aware, UTC.
        checkpoints: URI of the folder this launch may keep checkpoints in.
        previous_checkpoints: URI of the folder the attempt before kept its checkpoints in; empty in the first one.
            It may hold nothing, or what a killed process had half written: write a checkpoint as one object.
        carried: what an earlier attempt gave to the later ones when it asked for another one itself; empty otherwise.
    """

    project: str
    domain: str
    run: str
    action: str
    attempt: int
    launch: str
    started: datetime
    checkpoints: str = ""
    previous_checkpoints: str = ""
    carried: str = ""

    @property
    def path(self) -> str:
        """The identity of the action, `project/domain/run/action`."""
        return f"{self.project}/{self.domain}/{self.run}/{self.action}"

    def to_context(self) -> dict[str, str]:
        """Write the record as texts, to hand it to another process."""
        return {
            "action": self.path,
            "attempt": self.launch,
            "started": self.started.isoformat(),
            "checkpoints": self.checkpoints,
            "previous_checkpoints": self.previous_checkpoints,
            "carried": self.carried,
        }

    @classmethod
    def from_context(cls, context: Mapping[str, str]) -> CurrentAttempt:
        """Read the record from its texts: `action` (a path), `attempt` (a launch), `started` (ISO 8601), folders if any.

        Raises:
            KeyError: one of the three is missing.
            ValueError: one of them is not of its form.
        """
        project, domain, run, action = context["action"].split("/")
        launch = context["attempt"]
        return cls(
            project=project,
            domain=domain,
            run=run,
            action=action,
            attempt=int(launch.partition("-")[0]),
            launch=launch,
            started=datetime.fromisoformat(context["started"]),
            checkpoints=context.get("checkpoints", ""),
            previous_checkpoints=context.get("previous_checkpoints", ""),
            carried=context.get("carried", ""),
        )


_current: ContextVar[CurrentAttempt | None] = ContextVar("current_attempt", default=None)


def current_attempt() -> CurrentAttempt | None:
    """Return the attempt this code runs in; None outside of one.

    Coroutines and `asyncio.to_thread` see it. A `threading.Thread` of the function does not, as with every
    context variable: pass it on.
    """
    return _current.get()


@contextmanager
def attempt_context(attempt: CurrentAttempt | None) -> Iterator[None]:
    """Make `attempt` the current one inside the `with` block."""
    token = _current.set(attempt)
    try:
        yield
    finally:
        _current.reset(token)
