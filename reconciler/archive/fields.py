"""Name the fields of a record in the archive: the schema of `docs/archive.md`, for people and other tools."""

from __future__ import annotations

from enum import Enum

from reconciler.api.phase import ActionPhase


class Form(Enum):
    """The way the bytes of a field are written as JSON."""

    JSON = "a document as it is"
    NUMBER = "a decimal number"
    TEXT = "a text"
    PHASE = "the number of a phase, written by name"
    FIRST = "the first of several numbers"


FIELDS: dict[str, tuple[str, Form]] = {
    "p": ("phase", Form.PHASE),
    "r": ("parent", Form.TEXT),
    "c": ("created_at", Form.NUMBER),
    "o": ("labelled_at", Form.NUMBER),
    "v": ("version", Form.NUMBER),
    "e": ("events", Form.FIRST),
    "pr": ("priority", Form.NUMBER),
    "fk": ("fair_key", Form.TEXT),
    "nb": ("not_before", Form.NUMBER),
    "xp": ("expires_at", Form.NUMBER),
    "h": ("shared", Form.TEXT),
    "s": ("spec", Form.JSON),
    "t": ("status", Form.JSON),
    "m": ("metadata", Form.JSON),
    "d": ("deletion", Form.JSON),
    "g": ("signal", Form.JSON),
    "by": ("submitted", Form.JSON),
    "pb": ("prioritized", Form.JSON),
    "pa": ("priorities", Form.JSON),
    "ln": ("lineage", Form.JSON),
    "tp": ("traceparent", Form.TEXT),
    "y": ("kind_of_action", Form.TEXT),
    "b": ("has_children", Form.NUMBER),
}
"""Field of `stores.records`: name in the archive, and form. What is not here belongs to live actions alone."""
LETTERS = {name: (letter, form) for letter, (name, form) in FIELDS.items()}
PHASES = {str(int(phase)): str(phase) for phase in ActionPhase}
NUMBERS = {name: number for number, name in PHASES.items()}
