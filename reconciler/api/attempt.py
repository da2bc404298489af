"""Define the record of one launch: who runs it, and how it ended (R74)."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.api.asked import AskedRetry
from reconciler.api.hand_back import HandBack
from reconciler.api.start_over import StartOver
from reconciler.api.transition import OutputRef

SUSPENDED = "suspended"  # how a launch ends that has nothing to do but wait: another one goes on later


class AttemptOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of an attempt, as its worker reported it; accepted only with the launch's fencing token (R74).

    `ended` is one of returned, raised, died, stopped, suspended, unknown. A suspended one waits for `waits_for` actions of
    its run, the first of them in `waits` (a path: of another run), or until `until` (ms since the epoch; 0 = no time).
    """

    ended: str
    code: str = ""
    message: str = ""
    traceback: str = ""
    retryable: bool = True
    outputs: OutputRef | None = None
    log_uri: str = ""
    log_sha256: str = ""
    at: int = 0
    began: int = 0
    """When its call began, by the store's clock as far as the worker knows it, ms since the epoch; 0 = nobody knows."""
    asked: AskedRetry | None = None
    """The next attempt, when the function itself asked for one."""
    waits: tuple[str, ...] = ()
    waits_for: int = 0
    until: int = 0
    start_over: StartOver | None = None
    """Arguments with which the function of a suspended attempt starts over."""
    unasked: tuple[str, ...] = ()
    """Children an earlier pass has started and this one, the last, never asked for."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The last progress a running function has reported.

    Attributes:
        state: a word of its own, as PROGRESS.
        meta: what it said with it, as JSON has it; a text where that was no JSON.
        at: when a heartbeat brought it, ms since the epoch.
    """

    state: str
    meta: Any = None
    at: int = 0


def read_progress(field: bytes, launch: bytes) -> Progress | None:
    """Read the stored progress of a launch: its name, a time, a document; None when it belongs to another launch."""
    name, _, rest = field.partition(b" ")
    at, _, document = rest.partition(b" ")
    if not document or name != launch:
        return None
    return msgspec.structs.replace(_progress.decode(document), at=int(at))


_progress = msgspec.json.Decoder(Progress)


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The store's knowledge of the launch a plugin waits for.

    Attributes:
        launch: which launch may report, `<attempt>` or `<attempt>-<relaunch>`; empty = none.
        owner: the worker that runs it; empty = not started.
        lease_until: until when it counts as alive (ms since the epoch).
        started_at: when the worker took it.
        stop: why it is asked to stop; empty = it is not.
        sent_at: when the launch was put into the line of its queue.
        hand_backs: how often workers handed this launch back.
        handed_back: by a worker that cannot run it, since it was last sent.
        in_line: whether it stands in the line of its queue and waits for a worker; only known of a claimed action.
        drawn_with: how many launches its worker drew together, this one among them; 0 = it drew this one alone.
        progress: how far its function says it is; None = it says nothing.
    """

    launch: str = ""
    sent_at: int = 0
    owner: str = ""
    lease_until: int = 0
    started_at: int = 0
    outcome: AttemptOutcome | None = None
    stop: str = ""
    hand_backs: int = 0
    handed_back: HandBack | None = None
    in_line: bool = False
    drawn_with: int = 0
    progress: Progress | None = None

    @property
    def suspended(self) -> bool:
        """Tell whether the last launch is suspended: it waits without a worker."""
        return self.outcome is not None and self.outcome.ended == SUSPENDED
