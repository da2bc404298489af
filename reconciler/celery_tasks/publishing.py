"""Records the retry that a task would publish, and refuses what needs Celery's canvas. Nothing is sent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

from celery import Signature, Task
from celery.exceptions import Ignore
from celery.signals import before_task_publish

from reconciler.api.asked import AskedRetry
from reconciler.api.bounds import LONGEST
from reconciler.api.errors import NonRetryableError
from reconciler.celery_tasks.carrying import dumped, to_json
from reconciler.celery_tasks.recording import Recorder
from reconciler.celery_tasks.request import Carried

_task_log = logging.getLogger("celery.task")
"""Goes to the log of the attempt, like all that the task says."""
_OF_A_RETRY = frozenset({"countdown", "eta", "retries"})
"""Options of a message that a retry may change."""
_LONGEST = 16


class CeleryUnsupported(NonRetryableError):
    """A durable task used a feature of Celery that actions do not have; the message says what to do instead."""


class _Refused(Ignore):  # type: ignore[misc]  # Celery has no types
    """Ends the task without a retry of its own: `autoretry_for` does not catch it."""


class Outbox:
    """Takes the place of the broker for one call.

    Attributes:
        asked: the retry the task has asked for.
        refused: why the task cannot be run this way; empty: it can.
    """

    def __init__(self, task: Task, recorder: Recorder, carried: Carried) -> None:
        self._task = task
        self._recorder = recorder
        recorder.refuse = self._refuse
        self._carried = carried
        self.asked: AskedRetry | None = None
        self.refused = ""
        self._sent: set[object] = set()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Make the task talk to this box and the recorder inside the block."""
        own = vars(self._task)
        before = dict(own)
        before_task_publish.connect(self._say_sent, weak=False)
        retry, sign = self._task.retry, self._task.signature_from_request
        own.update(
            _backend=self._recorder,
            retry=self._watched(retry),
            signature_from_request=self._recorded(sign),
            replace=self._refusing("self.replace()"),
            on_replace=self._refusing("self.replace()"),
            add_to_chord=self._refusing("self.add_to_chord()"),
        )
        try:
            yield
        finally:
            before_task_publish.disconnect(self._say_sent)
            own.clear()  # also what `retry` has set on it
            own.update(before)

    def _say_sent(self, sender: object = None, **_: Any) -> None:
        """Log, once for each other task, that it goes to the broker: the author may have meant a child."""
        if sender not in self._sent:
            self._sent.add(sender)
            _task_log.info(
                "%s is sent to the broker of its application, and is no child of this action: durable(…).delay() makes one",
                sender,
            )

    def _watched(self, retry: Callable[..., Any]) -> Callable[..., Any]:
        def watched(
            args: Any = None, kwargs: Any = None, exc: Any = None, throw: bool = True, **options: Any
        ) -> Any:  # as Celery
            if not throw:
                self._refuse(
                    "retry(throw=False): raise what retry() raises; an attempt ends where the next one is asked for"
                )
            return retry(args, kwargs, exc, throw, **options)

        return watched

    def _recorded(self, sign: Callable[..., Signature]) -> Callable[..., Signature]:
        def signed(
            request: Any = None, args: Any = None, kwargs: Any = None, queue: Any = None, **extra: Any
        ) -> Signature:  # as Celery
            message = sign(request, args, kwargs, queue=queue, **extra)
            plain = sign(request, args, kwargs)
            message.apply_async = lambda *_, **__: self._take(message, plain)
            return message

        return signed

    def _take(self, message: Signature, plain: Signature) -> None:
        """Keep what Celery would send as the next attempt.

        Raises:
            TypeError, ValueError: the arguments do not fit the task, or JSON cannot carry them.
        """
        changed = {
            k for k, v in message.options.items() if k not in _OF_A_RETRY and plain.options.get(k) != v
        }
        if changed:
            self._refuse(
                f"retry({', '.join(sorted(changed))}=…): a retry can change countdown, eta, max_retries, args and kwargs; "
                "set the others where the task is declared or made durable"
            )
        args, kwargs = dumped(self._task, message.args, message.kwargs)
        if self._task.typing and hasattr(self._task, "__header__"):
            self._task.__header__(*args, **kwargs)
        first, body = self._task.request, to_json([list(args), dict(kwargs)])
        if not self._carried.body and body == to_json([list(first.args or ()), dict(first.kwargs or {})]):
            body = ""
        state = Carried(retries=message.options["retries"], body=body).written()
        delay = _delay(message.options)
        if not delay <= LONGEST.total_seconds() * 1000:  # not a number, too
            self._refuse(f"retry({delay / 1000:.3g} s later): a retry waits for at most {LONGEST.days} days")
        self.asked = AskedRetry(int(delay), state)

    def _refusing(self, what: str) -> Callable[..., NoReturn]:
        def refusing(*_: Any, **__: Any) -> NoReturn:  # whatever Celery takes
            self._refuse(
                f"{what}: an action has no canvas; start the other task yourself, and wait for it where you compose"
            )

        return refusing

    def _refuse(self, text: str) -> NoReturn:
        self.refused = self.refused or f"{self._task.name} cannot do this as a durable task: {text}"
        raise _Refused(self.refused)


def _delay(options: dict[str, Any]) -> float:
    """Return the time to wait before the next attempt, ms."""
    eta = options.get("eta")
    if not eta:
        return max(0.0, float(options.get("countdown") or 0) * 1000)
    if isinstance(eta, str):
        eta = datetime.fromisoformat(eta)
    if eta.tzinfo is None:
        eta = eta.replace(tzinfo=UTC)
    return max(0.0, (eta - datetime.now(UTC)).total_seconds() * 1000)
