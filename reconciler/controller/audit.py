"""Warnings about records, for operators."""

from __future__ import annotations

from typing import Protocol

import structlog

from reconciler import metrics
from reconciler.api.action import ActionId
from reconciler.api.event import AuditEntry
from reconciler.api.status_conditions import cut

log = structlog.get_logger(__name__)


class Recorder(Protocol):
    """Receives warnings about records, for operators. Never affects a result."""

    def event(self, entry: AuditEntry) -> None:
        """Keep one entry."""


def audit(recorder: Recorder | None, action: ActionId, reason: str, doing: str, text: str, at: int) -> None:
    """Attach a warning to a record. A missing or failing recorder never affects the round."""
    metrics.audited(reason)
    log.warning("audit", action=str(action), reason=reason, doing=doing, message=text)
    if recorder is None:
        return
    try:
        recorder.event(AuditEntry(id=action, reason=reason, action=doing, message=cut(text), at=at))
    except Exception as error:  # noqa: BLE001  # a recorder may raise anything
        log.warning("audit.failed", action=str(action), error=str(error))
