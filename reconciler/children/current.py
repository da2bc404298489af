"""The call that runs in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.children.parent import Parent

_current: Parent | None = None


def current_parent() -> Parent | None:
    """Return the call that runs in this process, when it may start tasks; None outside of one."""
    return _current


@contextmanager
def parent_context(parent: Parent | None) -> Iterator[None]:
    """Make `parent` the running call inside the `with` block."""
    global _current  # noqa: PLW0603  # one call at a time, seen by all its threads
    before, _current = _current, parent
    try:
        yield
    finally:
        _current = before
