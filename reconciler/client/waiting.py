"""Wait for the end of an action, and turn that end into a result or an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import msgspec

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.bounds import check_timeout
from reconciler.api.errors import ActionAborted, ActionEnded, ActionFailed, ActionTimedOut
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import OutputRef
from reconciler.core.current import current_attempt
from reconciler.plugins.endless import refuse_endless
from reconciler.stores.base import Store
from reconciler.stores.ended import AnyEnd

LOOK_AGAIN = 5.0
"""How often a waiter looks although nothing woke it: notifications may be lost, seconds."""
LOOK_OFTEN = 0.25
"""The same where nobody tells of what is waited for, seconds."""
_TAKES_ALONG = {ActionPhase.ABORTED, ActionPhase.TIMED_OUT}
"""Ends by force: what is below is being stopped, and may run for some time yet."""


class Waiter:
    """Waits until something of a run is committed, or for the time limit."""

    def __init__(self, store: Store, run: RunId, timeout: float | None, *, end_of: str = "") -> None:
        """Wait in the `with` block.

        Args:
            store: where the run is.
            run: which run.
            timeout: seconds in all; None: without a limit.
            end_of: name of an action; given, only its end is a reason to look again.
        """
        self._event = threading.Event()
        left = check_timeout(timeout)
        self._until = None if left is None else time.monotonic() + left
        self._subscription = store.subscribe(run, self._event.set, end_of=end_of)

    def __enter__(self) -> Self:
        self._subscription.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._subscription.__exit__(None, None, None)

    def wait(self, *, often: bool = False) -> bool:
        """Wait, and tell whether to look again; `often` when no notification will come for what is waited for."""
        left = LOOK_OFTEN if often else LOOK_AGAIN
        if self._until is not None:
            left = min(left, self._until - time.monotonic())
        if left <= 0:
            return False
        self._event.wait(left)
        self._event.clear()
        return True


def refuse_own(store: Store, action: ActionId, timeout: float | None) -> None:
    """Refuse a wait without a limit, inside a task, for something that waits for that task.

    Raises:
        EndlessWait: names the circle.
    """
    attempt = current_attempt()
    if attempt is not None and timeout is None:
        refuse_endless(store, ActionId.parse(attempt.path), action)


def is_over(record: TaskAction) -> bool:
    """Tell whether an action has ended, and, unless it ended by itself, whether all its direct children have too."""
    if not record.phase.is_terminal():
        return False
    return record.phase not in _TAKES_ALONG or not record.children.open


def not_over(record: TaskAction, waited: float | None) -> str:
    """Make the error of a wait whose time is over."""
    if record.phase.is_terminal():
        below = f"{record.children.open} of its {record.children.total} children are still being stopped"
        return f"{record.id} is {record.phase}, and after {waited} s {below}: wait again"
    return f"{record.id} is {record.phase} after {waited} s; it goes on: wait again, or abort it"


def decode_outputs(data: bytes) -> Any:  # noqa: ANN401  # whatever the task returned
    """Decode the single output, or a dict of several; None when there is none."""
    values = msgspec.json.decode(data)
    if not values:
        return None
    return next(iter(values.values())) if len(values) == 1 else values


def document_of(record: AnyEnd, fetch: Callable[[OutputRef], bytes]) -> bytes:
    """Read the outputs document of a succeeded action: for a condition its signal; `{}` when it has none.

    Args:
        record: the action.
        fetch: reads a document that lies in S3 alone.
    """
    if record.signal is not None:
        return msgspec.json.encode({"o0": record.signal.value})
    ref = record.status.outputs
    if ref is None:
        return b"{}"
    return ref.inline if ref.inline is not None else fetch(ref)


def ended_error(record: AnyEnd) -> ActionEnded | None:
    """Make the error of an action that ended otherwise than by success; None when it succeeded.

    The stored error may be that of an earlier attempt, when the end itself gave none (R60): then it is not shown.
    """
    kinds = {ActionPhase.ABORTED: ActionAborted, ActionPhase.TIMED_OUT: ActionTimedOut}
    if record.phase.has_outputs():
        return None
    error = record.status.error_state
    message = next((c.message for c in record.status.conditions if c.type == "Failed"), "")
    kind = kinds.get(record.phase, ActionFailed)
    if error is None or kind is ActionAborted or error.message != message:
        return kind(record.id, message=message)
    return kind(record.id, error.code, error.message, error.kind)


def raise_unless_succeeded(record: TaskAction) -> None:
    """Raise the error of an action that ended otherwise than by success.

    Raises:
        ActionFailed, ActionAborted, ActionTimedOut: as it ended.
    """
    error = ended_error(record)
    if error is not None:
        raise error
