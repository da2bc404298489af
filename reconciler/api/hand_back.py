"""A launch that a worker took and could not run."""

from __future__ import annotations

import msgspec


class HandBack(msgspec.Struct, frozen=True, kw_only=True):
    """A launch that a worker took and could not run: it is sent again, and no budget is spent.

    Attributes:
        why: what the worker lacks, for people.
        until: when it may be sent again (ms since the epoch).
        unfit: digest of the interface that its function has there, when the stored inputs do not fit that one.
    """

    why: str
    until: int = 0
    unfit: str = ""
