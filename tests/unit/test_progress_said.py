"""What a function says of its progress, as the record keeps it."""

from __future__ import annotations

import msgspec

from reconciler.api.attempt import Progress
from reconciler.children.requests import Say
from worker.attempts.progress import LARGEST, progress_of
from worker.attempts.secrets import AttemptSecrets

SECRETS = AttemptSecrets({"TOKEN": "hunter22", "PIN": "12345678"})


def kept(state: str, meta: bytes) -> Progress:
    """Write it and read it."""
    return msgspec.json.decode(progress_of(Say(state, meta), SECRETS), type=Progress)


def test_it_is_masked() -> None:
    """In its state and in what it says, also where a number is masked and no JSON is left."""
    assert kept("hunter22", b'{"done":3,"for":"hunter22!"}') == Progress("**", {"done": 3, "for": "**!"})
    assert kept("PROGRESS", b'{"pin":12345678}') == Progress("PROGRESS", '{"pin":**}')


def test_it_is_cut() -> None:
    """Of what is too large the beginning is kept, as a text."""
    told = kept("S" * 1000, b'"' + b"x" * 100_000 + b'"')
    assert len(told.state) == 100
    assert isinstance(told.meta, str)
    assert len(told.meta) == LARGEST + 1
