"""Define the events of an action: one for each published change (R56).

Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.api.action import ActionId
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus, LogLink

OUTPUTS_FILE = "outputs.pb"
REPORT_FILE = "report.html"


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Error of an event: `kind` is KIND_USER, KIND_SYSTEM or KIND_UNSPECIFIED; `code` fixes R56."""

    message: str
    kind: str = "KIND_UNSPECIFIED"
    code: str = ""


class ClusterEvent(msgspec.Struct, frozen=True, gc=False):
    """A reason with its time (R57)."""

    message: str
    occurred_at: int


class OutputReferences(msgspec.Struct, frozen=True, gc=False):
    """The places of outputs and report of an attempt."""

    output_uri: str
    report_uri: str


class ActionEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One published change.

    Attributes:
        id: whose event it is.
        sequence: 1, 2, 3 … per action, without gaps; (id, sequence) is the dedupe key (R60).
        attempt: number of the attempt, from 1.
        phase: the phase entered. FAILED with `final` false ends an attempt, not the action (R32).
        version: version inside the phase.
        final: whether this is the one terminal event of the action.
        updated_time: when the change happened.
        reported_time: when the event was built.
        began: when its function began to run, if no earlier event of the attempt says so; 0 = one does, or it did not run.
        output_prefix: folder of the attempt's objects in S3; `outputs` is derived from it.
        output_part: where its outputs lie in a pack; empty: in an object of their own in that folder.
        actor: who asked, for aborts and signals.
        parent: name of the parent action; None for a root (first event only).
    """

    id: ActionId
    sequence: int = 0
    attempt: int = 1
    phase: ActionPhase
    version: int = 0
    final: bool = False
    updated_time: int = 0
    reported_time: int = 0
    began: int = 0
    error_info: ErrorInfo | None = None
    cluster: str = ""
    output_prefix: str = ""
    output_part: str = ""
    cluster_events: tuple[ClusterEvent, ...] = ()
    log_info: tuple[LogLink, ...] = ()
    log_context: dict[str, str] | None = None
    cache_status: CacheStatus = CacheStatus.DISABLED
    cache_metadata: dict[str, Any] | None = None
    actor: str = ""
    parent: str | None = None

    @property
    def outputs(self) -> OutputReferences | None:
        """Output and report URI of the attempt; None when they cannot be computed (R56)."""
        if not self.output_prefix:
            return OutputReferences(self.output_part, "") if self.output_part else None
        own = f"{self.output_prefix}/{OUTPUTS_FILE}"
        return OutputReferences(self.output_part or own, f"{self.output_prefix}/{REPORT_FILE}")


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A warning attached to a record for operators (the `Recorder` of spec methods)."""

    id: ActionId
    reason: str
    action: str
    message: str
    type: str = "Warning"
    at: int = 0
