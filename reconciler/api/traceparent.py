"""Trace contexts of the W3C (`traceparent`): the trace in which something was submitted. They are not trusted (R93)."""

from __future__ import annotations

import re

import msgspec

from reconciler.api.errors import InvalidSpec

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_LONGEST = 512
_NO_TRACE, _NO_SPAN, _NO_VERSION = "0" * 32, "0" * 16, "ff"


class TraceParent(msgspec.Struct, frozen=True, gc=False):
    """The name of a span, and whether its trace is recorded.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        sampled: whether who began the trace records it.
    """

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


def read_traceparent(text: object) -> TraceParent | None:
    """Read a trace context; None when it is not one. Of a later version of the standard, the known parts are read."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == _NO_VERSION or trace == _NO_TRACE or span == _NO_SPAN or (version == "00" and more):
        return None
    return TraceParent(trace, span, bool(int(flags, 16) & 1))


def check_traceparent(text: object) -> str:
    """Return a trace context in the form that is stored; empty for an empty one.

    Raises:
        InvalidSpec: it is none.
    """
    if text == "":
        return ""
    found = read_traceparent(text)
    if found is None:
        raise InvalidSpec(
            f"traceparent {text!a:.100} cannot be read: it is written 00-<32 hexadecimal digits>-<16>-<2>, in small letters "
            "and not all zeros (W3C Trace Context). Leave it out to begin a trace"
        )
    return str(found)
