"""Events as JSON for programs: names instead of numbers, ISO 8601 instead of milliseconds."""

from __future__ import annotations

from typing import Any

from reconciler.api.event import ActionEvent
from reconciler.core.times import iso

Document = dict[str, Any]


def event_document(event: ActionEvent) -> Document:
    """Write one event as a document. `final` marks the one that ends the action; `failed` without it ends an attempt."""
    error, outputs = event.error_info, event.outputs
    return {
        "action": str(event.id),
        "sequence": event.sequence,
        "attempt": event.attempt,
        "phase": str(event.phase),
        "final": event.final,
        "at": iso(event.updated_time),
        "reported_at": iso(event.reported_time),
        "reasons": [{"message": r.message, "at": iso(r.occurred_at)} for r in event.cluster_events],
        "error": {"code": error.code, "kind": _kind(error.kind), "message": error.message} if error else None,
        "outputs_uri": outputs.output_uri if outputs and event.phase.has_outputs() else None,
        "logs": [{"name": link.name, "uri": link.uri, "sha256": link.sha256} for link in event.log_info],
        "context": event.log_context or {},
        "cache": event.cache_status.name.lower(),
        "cached_from": event.cache_metadata,
        "actor": event.actor or None,
        "cluster": event.cluster or None,
    }


def _kind(kind: str) -> str:
    """Turn `KIND_USER` into `USER`, as records have it."""
    return "" if kind == "KIND_UNSPECIFIED" else kind.removeprefix("KIND_")
