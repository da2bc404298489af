"""Remember redacted outputs of children that were given to a function, which may write them into its log."""

from __future__ import annotations

from reconciler.api.action import TaskAction
from reconciler.core.redaction import redaction_of, texts_of

_MOST = 2000
"""Texts that are remembered: each costs a search of the log."""


class Hidden:
    """The texts of redacted outputs that a function was given in one pass. Threads may add at the same time.

    Attributes:
        texts: them, in the order they came.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, record: TaskAction, document: bytes) -> None:
        """Remember an output that a function is about to be given."""
        redaction = redaction_of(record)
        if redaction.outputs:
            self.texts += texts_of(redaction, document, outputs=True)[: max(_MOST - len(self.texts), 0)]
