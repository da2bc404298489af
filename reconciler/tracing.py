"""Define spans, and pass them to an exporter (R93). Off until one is installed; until then it costs one check.

Nothing here knows OpenTelemetry: `reconciler/otel` does. A forked process starts without: threads and connections of its
parent are not its own.
"""

from __future__ import annotations

import os
from typing import Protocol

import msgspec

Value = str | int | bool


class Link(msgspec.Struct, frozen=True, gc=False):
    """The name of a related span in any trace."""

    trace_id: str
    span_id: str


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span of a trace: a part of the work, and how long it took.

    Attributes:
        name: of the kind of work, and of the task: words, never values of users.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent: the span it belongs to; empty: none.
        start, end: ms since the epoch.
        attributes: names and numbers; no input, output, message or secret.
        links: other spans.
        error: code of the error it ended with; empty: none.
    """

    name: str
    trace_id: str
    span_id: str
    parent: str = ""
    start: int
    end: int
    attributes: dict[str, Value] = {}
    links: tuple[Link, ...] = ()
    error: str = ""


class Sink(Protocol):
    """Takes spans. No verb may wait or raise."""

    def is_sampled(self, trace_id: str, asked: bool | None) -> bool:  # noqa: FBT001  # of a protocol
        """Tell whether a trace is recorded; `asked`: the flag of whoever began it, None = none."""

    def emit(self, span: Span) -> None:
        """Take a span of a trace that is recorded."""

    def close(self) -> None:
        """Export what is left, for a short time."""


class _Process:
    sink: Sink | None = None


def install(sink: Sink) -> None:
    """Pass spans of this process to a sink from now on."""
    _Process.sink = sink


def sink() -> Sink | None:
    """Return the sink; None: nobody takes spans, so none have to be made."""
    return _Process.sink


def close() -> None:
    """Close the sink."""
    found, _Process.sink = _Process.sink, None
    if found is not None:
        found.close()


def _forked() -> None:
    _Process.sink = None


os.register_at_fork(after_in_child=_forked)
