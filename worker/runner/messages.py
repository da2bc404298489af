"""Define what a runner and its child say to each other, and how a call can end."""

from __future__ import annotations

import msgspec

from reconciler.api.asked import AskedRetry
from reconciler.api.template import SecretRef
from reconciler.children.requests import Answer, Request
from reconciler.core.functions import Needs


class Call(msgspec.Struct, frozen=True, tag=True):
    """One call of a user's function.

    Attributes:
        function: its registered name.
        inputs: its arguments, as its signature writes them.
        env: environment variables for this call alone.
        context: `CurrentAttempt.to_context()`, or empty: `current_attempt()` is None then.
        patience: how long it may wait in place for what it has started, seconds.
        suspends: whether it may be suspended.
    """

    function: str
    inputs: bytes
    env: dict[str, str]
    context: dict[str, str]
    patience: float = 0.0
    suspends: bool = True


class Returned(msgspec.Struct, frozen=True, tag=True):
    """The function returned. `outputs` is its result, as its signature writes it."""

    outputs: bytes


class Raised(msgspec.Struct, frozen=True, tag=True):
    """The function raised, or its result does not fit its signature: a user error.

    Attributes:
        code: name of the exception's class, with its module unless built in; `InvalidResult`.
        message: `str` of the exception, at most 8 KiB.
        traceback: for people, from the user's first frame on, at most 32 KiB.
        retryable: False when the exception says that another attempt cannot help.
        asked: the next attempt, when the function asks for one itself.
    """

    code: str
    message: str
    traceback: str
    retryable: bool
    asked: AskedRetry | None = None


class Suspended(msgspec.Struct, frozen=True, tag=True):
    """The function has nothing to do but wait, and was therefore ended. It is called again.

    Attributes:
        waits: numbers of the requests that started what it waits for.
        until: a time it waits for, ms since the epoch; 0 = none.
        again: arguments with which it starts over, instead of waiting.
        names: the actions those requests have started; known to the runner.
    """

    waits: list[int]
    until: int = 0
    again: bytes | None = None
    names: tuple[str, ...] = ()


class Died(msgspec.Struct, frozen=True):
    """The process of the function died during the call, or could not be started: there is no result.

    Attributes:
        signal: number of the signal that killed it; None when no signal did.
        status: its exit status; None when a signal killed it or it never came up.
        oom: the kernel killed it for want of memory.
        message: a sentence for people.
    """

    signal: int | None
    status: int | None
    oom: bool
    message: str


class Stopped(msgspec.Struct, frozen=True):
    """The call was ended from outside. A result the function may have returned meanwhile is thrown away.

    Attributes:
        reason: `timed out`, or what was asked for (`aborted`, `superseded`, …).
        killed: the function did not end within its grace, and its process was killed.
    """

    reason: str
    killed: bool


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """The stored inputs do not fit the function as this child has it: it was not called. `message` says why."""

    message: str


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """No module the child imported declares this function. `known` are the names that exist."""

    function: str
    known: tuple[str, ...]


class NotStarted(msgspec.Struct, frozen=True):
    """The process of the function could not be started, or not made ready: the call was not tried.

    Attributes:
        message: why, and what to do, in sentences.
        traceback: of the module that cannot be imported, for people; empty where there is none.
    """

    message: str
    traceback: str = ""


Ended = Returned | Raised | Suspended | Died | Stopped | Unfit | Unknown | NotStarted
"""How a call can end."""


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The first message to the child.

    Attributes:
        imports: modules to import.
        result_limit: the largest result it may send, in bytes.
        memory_limit: memory in KiB above which it serves no further call; 0: as much as there is.
    """

    imports: tuple[str, ...]
    result_limit: int
    memory_limit: int = 0


class Importing(msgspec.Struct, frozen=True, tag=True):
    """The child is about to import this module."""

    module: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The child has imported everything and takes calls.

    Attributes:
        functions: those it can run: name → digest of the interface.
        secrets: what they declare to need, by name.
        needs: what their actions need, by name.
        published: what others may know of them, by name (`reconciler.core.published`).
    """

    functions: dict[str, str]
    secrets: dict[str, tuple[SecretRef, ...]] = {}
    needs: dict[str, Needs] = {}
    published: dict[str, bytes] = {}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The child cannot take calls. `message` says why, and what to do; `traceback` is that of the first module."""

    message: str
    traceback: str = ""


class Interrupted(msgspec.Struct, frozen=True, tag=True):
    """The function ended because the child was told to stop."""


class Last(msgspec.Struct, frozen=True, tag=True):
    """The end of a call that has left something in the child which cannot be put back: `why` the child serves no other."""

    reply: Returned | Raised | Suspended | Unfit
    why: str


class Wrote(msgspec.Struct, frozen=True, tag=True):
    """The end of a call that has written what nobody has read yet: the child takes no further call until it is `Read`."""

    reply: Returned | Raised | Suspended | Unfit


class Read(msgspec.Struct, frozen=True, tag=True):
    """All that a call had written is read: what comes now belongs to the next one."""


ToChild = Hello | Call | Answer | Read
Reply = Importing | Ready | Failed | Interrupted | Returned | Raised | Suspended | Unfit | Unknown | Last
FromChild = Reply | Request | Wrote
