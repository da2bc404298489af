"""Every error this project raises on purpose, on one tree.

    ReconcilerError
    ├── InvalidInput               the caller's data cannot be accepted; nothing was stored
    │   ├── InvalidName            a project, domain, run, action, queue or task name breaks the rule
    │   ├── InvalidSpec            a field of an action is missing, too long or contradictory
    │   │   └── RunSealed          the run has ended and goes to the archive: nothing can be added
    │   ├── SourceUnusable         a run cannot be made of this one as it is: it lives, or part of it is gone
    │   └── InvalidArguments       arguments do not fit a function's signature
    │       └── ValueNotKept       what a step returned cannot be kept: trying again would only call it again
    ├── InvalidSettings            one message that lists every wrong setting
    ├── QueueFull                  as much waits in a queue as may; nothing was stored, try again later
    ├── ActionNotFound             no such action is stored (unknown is never a phase)
    ├── ActionConflict             same identity, other spec
    ├── ActionEnded                the action ended otherwise than by success
    │   ├── ActionFailed
    │   ├── ActionAborted
    │   └── ActionTimedOut
    ├── NotACondition              a signal was sent to something that waits for none
    ├── SignalRefused              the condition has ended, or was signalled with another value
    ├── CallbackRefused            a callback token is wrong, expired, or meant for something else
    ├── ResultTimeout              the wait ended before the action did (the action goes on)
    ├── Superseded                 a newer owner holds the action: stop quietly
    ├── Unavailable                a server does not answer in time
    │   ├── StoreUnavailable       Redis / Valkey
    │   ├── BlobUnavailable        S3
    │   └── BrokerUnavailable      the message broker
    ├── BlobNotFound               no object at this reference
    ├── BlobCorrupt                an object's digest or size differs from its reference
    ├── BlobExists                 a create-once write lost against an earlier one
    ├── ArchiveUnreadable          an object of the archive cannot be used
    │   ├── ArchiveDamaged         it was changed or cut
    │   └── ArchiveTooNew          a newer release wrote it
    ├── NonRetryableError          raised by user code: trying again cannot help
    │   ├── EndlessWait            a function would wait for what waits for it
    │   └── HistoryTooLong         a pass has asked for more than its next one may repeat
    └── PluginError                raised by plugins; `code` decides whether a retry can help
        ├── CorruptedPluginState
        ├── BadTaskSpecification
        ├── ReadFailed             the inputs of an action cannot be read
        └── SecretUnavailable      a secret cannot be resolved
            └── SecretNotFound     there is none of this name

Each message is a sentence that names the remedy. The cause of a wrapped error is kept in `__cause__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from reconciler.api.not_found import not_found_text


class ReconcilerError(Exception):
    """Base of all errors of this project."""


class InvalidInput(ReconcilerError, ValueError):
    """The caller's data cannot be accepted. Nothing was stored."""


class InvalidName(InvalidInput):
    """A name breaks the rule of `reconciler.api.names`."""


class InvalidSpec(InvalidInput):
    """A field of an action is missing, too long or contradicts another (R10)."""


class RunSealed(InvalidSpec):
    """A run has ended and is being archived, so nothing can be added to it any more."""

    def __init__(self, run: object) -> None:
        self.run = run
        super().__init__(
            f"nothing can be added to the run {run}: all its actions ended longer than RECONCILER_RETENTION ago, and it is "
            "sealed for the archive. Submit under another run name."
        )


class SourceUnusable(InvalidInput):
    """No run can be made of this one: it has not ended, part of it is gone, or its task has changed."""


class NothingToRecover(SourceUnusable):
    """All of a run that a recover would run again succeeded, or was dealt with by a function that did."""


class InvalidArguments(InvalidInput, TypeError):
    """Arguments do not fit the signature of a function, or cannot be written as JSON."""


class ValueNotKept(InvalidArguments):
    """The value that a step has returned cannot be kept. Its function was called, so the action is not tried again."""

    retryable = False

    def __init__(self, step: str, why: str) -> None:
        super().__init__(f"the value of the step {step!r} cannot be kept: {why}")


class Outage(str):
    """A problem that may pass by itself: a server is away, and a later start may succeed."""

    __slots__ = ()


class InvalidSettings(ReconcilerError):
    """The settings cannot be used. `problems` lists every mistake found, not only the first."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("the settings cannot be used:\n" + "\n".join(f"  - {p}" for p in problems))


class FunctionsNotLoaded(InvalidSettings):
    """The modules that declare functions cannot be imported. `traceback` is the end of the first traceback."""

    def __init__(self, problems: list[str], traceback: str = "") -> None:
        self.traceback = traceback
        super().__init__(problems)

    def __str__(self) -> str:
        return f"{super().__str__()}\n{self.traceback}".rstrip()


class QueueFull(ReconcilerError):
    """A queue is full: its limit of waiting launches is reached. Nothing was stored; the same submission may be sent again.

    Attributes:
        queue: which queue.
        limit: how many launches may wait there.
        waiting: how many do, as the client last saw it, with what it has submitted since.
    """

    def __init__(self, queue: str, limit: int, waiting: int, more: int) -> None:
        self.queue = queue
        self.limit = limit
        self.waiting = waiting
        super().__init__(
            f"the queue {queue} is full: {waiting} launches wait there, at most {limit} may, and {more} more were "
            f"submitted; nothing was stored. Submit again later or less at once, start more workers of the queue, or "
            f"raise the limit with `reconciler queue limit {queue} MOST`."
        )


class ActionNotFound(ReconcilerError, LookupError):
    """No such action is stored: never accepted, deleted, or collected after its retention.

    Args:
        action: which one, or which run.
        used_again: whether a later run has the name.
        half_stored: what is missing of its run, whose submitter stopped half way.
        incarnation: of the run that is meant, where it is known.
        also: a sentence that follows, after a blank.
    """

    def __init__(
        self,
        action: object,
        *,
        used_again: bool = False,
        half_stored: str = "",
        incarnation: str = "",
        also: str = "",
    ) -> None:
        self.action = action
        super().__init__(not_found_text(str(action), used_again, half_stored, incarnation) + also)


class ActionConflict(ReconcilerError):
    """An action with this identity exists with another spec. `fields` names what differs."""

    def __init__(self, action: object, fields: tuple[str, ...], told: str = "") -> None:
        self.action = action
        self.fields = fields
        super().__init__(
            told
            or f"action {action} exists with another spec; these fields differ: {', '.join(fields)}. "
            "Submit under another run name, or with the spec that was first accepted."
        )


class ActionEnded(ReconcilerError):
    """The action ended otherwise than by success.

    Attributes:
        action: whose end it is.
        code: machine-readable cause, e.g. `MaxRetriesExceeded`.
        kind: `USER`, `SYSTEM` or empty (R14).
        message: what happened, for people.
    """

    def __init__(self, action: object, code: str = "", message: str = "", kind: str = "") -> None:
        self.action = action
        self.code = code
        self.kind = kind
        self.message = message
        # the message of one that failed by another begins with that other one, and says its code
        told = code and code != _BY_ANOTHER
        super().__init__(f"{action}: [{code}] {message}" if told else f"{action}: {message}")


_BY_ANOTHER = f"{__name__}.ActionFailed"
"""Code of an action whose function let the failure of another one pass."""


class ActionFailed(ActionEnded):
    """The action failed for good."""


class ActionAborted(ActionEnded):
    """The action was aborted."""


class ActionTimedOut(ActionEnded):
    """A limit of time ended the action (R34, R53)."""


class NotACondition(ReconcilerError):
    """A signal was sent to an action that is not a condition (R54)."""


class SignalRefused(ReconcilerError):
    """The condition has ended, or was signalled with another value before (R54)."""


class CallbackRefused(ReconcilerError):
    """A callback token is not ours, was changed, has expired, or is meant for something else (R53)."""


class ResultTimeout(ReconcilerError, TimeoutError):
    """The wait for a result ended first. The action goes on; wait again, or abort it."""


class Superseded(ReconcilerError):
    """A newer owner holds the action. Not a fault: the caller stops and writes nothing."""


class Unavailable(ReconcilerError, ConnectionError):
    """A server does not answer within its time limit."""


class StoreUnavailable(Unavailable):
    """Redis or Valkey does not answer, or refuses us."""


class BlobUnavailable(Unavailable):
    """S3 does not answer, or refuses us."""


class BrokerUnavailable(Unavailable):
    """The message broker does not answer. What was stored is safe: the resync sweep sends again."""


class EventRefused(ReconcilerError):
    """An event cannot be forwarded to the exchange, now or later. It stays in the results channel for its retention."""


class BlobNotFound(ReconcilerError, LookupError):
    """No object lies at this reference."""


class BlobCorrupt(ReconcilerError):
    """An object's digest or size differs from its reference (it was changed or cut after it was written)."""


class BlobExists(ReconcilerError):
    """A create-once write lost: an object lies there already."""


class ArchiveUnreadable(ReconcilerError):
    """An object of the archive cannot be used. `uri` says which; all others can be read."""

    def __init__(self, uri: str, message: str) -> None:
        self.uri = uri
        super().__init__(message)


class ArchiveDamaged(ArchiveUnreadable):
    """An object of the archive was changed or cut after it was written."""

    def __init__(self, uri: str, what: str) -> None:
        super().__init__(
            uri, f"{uri} is damaged: {what}. Restore it from a copy of the bucket, or go on without it."
        )


class ArchiveTooNew(ArchiveUnreadable):
    """A newer release wrote an object of the archive."""

    def __init__(self, uri: str, version: object, known: int) -> None:
        self.version = version
        super().__init__(
            uri,
            f"{uri} has version {version} of the archive's format, and this release reads up to {known}: it was written by "
            "a newer release. Install that one to read it, or to delete it.",
        )


class NonRetryableError(ReconcilerError):
    """User code raises it, or a subclass, when another attempt cannot help. The action fails at once.

    Any exception with an attribute `retryable = False` does the same.
    """

    retryable: ClassVar[bool] = False


class PluginError(ReconcilerError):
    """Raised by a plugin. `code` is looked up in the list of codes no retry can help (R28)."""

    code: ClassVar[str] = "PluginError"


class CorruptedPluginState(PluginError):
    """The stored state of a plugin cannot be decoded: deterministic, so never retried (R28)."""

    code = "CorruptedPluginState"


class BadTaskSpecification(PluginError):
    """The task template cannot be run as it stands: never retried (R28)."""

    code = "BadTaskSpecification"


class ReadFailed(PluginError):
    """The inputs of an action cannot be read (R64); `__cause__` says whether waiting can help."""

    code = "READ_FAILED"


class SecretUnavailable(PluginError):
    """A secret cannot be resolved. The message names the key, never a value.

    Attributes:
        retryable: whether asking again may help; False for a secret that is missing or unusable.
    """

    code = "SecretUnavailable"

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        self.retryable = retryable
        super().__init__(message)


class SecretNotFound(SecretUnavailable):
    """A provider holds no secret of this name: the next one is asked (R71)."""


class EndlessWait(NonRetryableError):
    """A function would wait for itself; `way` names who waits for whom, from the function back to it."""

    def __init__(self, way: Sequence[object]) -> None:
        self.way = tuple(way)
        super().__init__(
            f"this wait can never end: {way[0]} would wait for {', which waits for '.join(map(str, way[1:]))}. Give what is "
            "needed as an argument, or have one of them end without waiting for the other"
        )


class HistoryTooLong(NonRetryableError):
    """A function has asked for more than one pass may ask for: each pass would repeat all of it."""

    def __init__(self, most: int) -> None:
        super().__init__(
            f"the function has started or kept {most} things, and each pass after a wait repeats all of them: go on from "
            "here with continue_as_new(…), start many of one kind with map, or hand parts of the work to tasks of their own"
        )


class ChildError(ReconcilerError):
    """Carries what the function of a failed child raised, as text: the cause of the error its parent sees."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0]) if self.args else ""


class OutsideOfTask(ReconcilerError):
    """A function of this package was called where no task runs."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} works inside a task alone: call it in a function with @env.task that was submitted, as with delay()"
        )
