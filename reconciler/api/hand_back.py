"""A launch that a worker took and could not run."""

from __future__ import annotations

from typing import Final

import msgspec

LACKS: Final = "no worker has the secret "
"""How the sentence about a missing secret begins."""


class HandBack(msgspec.Struct, frozen=True, kw_only=True):
    """A launch that a worker took and could not run: it is sent again, and no budget is spent.

    Attributes:
        why: what the worker lacks, for people.
        until: when it may be sent again (ms since the epoch).
        unfit: digest of the interface that its function has there, when the stored inputs do not fit that one.
        lacks: the name of a secret the worker does not have; empty when it is something else.
    """

    why: str
    until: int = 0
    unfit: str = ""
    lacks: str = ""

    @property
    def told(self) -> str:
        """The reason, as a sentence."""
        if self.lacks:
            return f'{LACKS}"{self.lacks}" it needs ({self.why})'
        return f"was handed back by a worker that could not run it: {self.why}"
