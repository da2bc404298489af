"""Prepare the progress a function reports for the record: masked, and not too large."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.api.attempt import Progress
from reconciler.children.requests import Say
from worker.attempts.secrets import AttemptSecrets

LARGEST = 4_096
"""Largest document of a progress, bytes; of a larger one the beginning is kept, as a text."""


def progress_of(said: Say, secrets: AttemptSecrets) -> bytes:
    """Write the progress; whatever it holds, the heartbeat is still sent."""
    state, meta = secrets.mask_text(said.state)[:100], secrets.mask(said.meta)
    return msgspec.json.encode(Progress(state, _read(meta)))


def _read(meta: bytes) -> Any:  # noqa: ANN401  # any JSON
    text = meta[:LARGEST].decode(errors="replace")
    try:
        return msgspec.json.decode(meta) if len(meta) <= LARGEST else f"{text}…"
    except msgspec.DecodeError:  # a number was masked
        return text
