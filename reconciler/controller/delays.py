"""Rounds that failed without a decision: the record stays as it was and is due again after a growing delay (R4)."""

from __future__ import annotations

from collections import OrderedDict

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import Unavailable
from reconciler.controller.audit import Recorder, audit
from reconciler.stores.base import Write

_FIRST = 5
_LONGEST = 1_000_000
_REMEMBERED = 10_000


class Delays:
    """Counts failed rounds in a row, by action, as far as this process remembers them."""

    def __init__(self) -> None:
        self._failures: OrderedDict[ActionId, int] = OrderedDict()

    def forget(self, action: ActionId) -> None:
        """Note that a round of an action reached a decision."""
        if self._failures:
            self._failures.pop(action, None)

    def put_off(self, original: TaskAction, error: Exception, recorder: Recorder | None) -> Write:
        """Return the write that only changes when to look again.

        Args:
            original: the record as it was claimed.
            error: why nothing was decided; one that is no outage is told in an audit entry.
            recorder: where to.
        """
        failures = self._failures.get(original.id, 0) + 1
        self._failures[original.id] = failures
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)
        if not isinstance(error, Unavailable):
            text = f"{type(error).__name__}: {error}"
            audit(recorder, original.id, "RoundFailed", "Reconciling", text, original.now)
        delay = min(_FIRST * 2 ** min(failures - 1, 30), _LONGEST)
        return Write(action=original, original=original, due=original.now + delay)
