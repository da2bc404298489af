"""Asking a person: an action that waits for an answer, and keeps no worker busy meanwhile."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.api.errors import ActionTimedOut, InvalidArguments, SignalRefused
from reconciler.api.phase import ActionPhase
from reconciler.testing import Lab


def test_a_condition_waits_for_its_signal(lab: Lab) -> None:
    """It is paused until somebody answers; the answer is its result."""
    run = lab.client.condition("ship", "bool", prompt="Ship order 17?")
    lab.settle()
    assert run.phase is ActionPhase.PAUSED
    lab.client.signal(run.action, value=True, by="ada")
    lab.settle()
    assert run.result() is True


def test_an_answer_has_the_declared_type(lab: Lab) -> None:
    """Another type is refused at once, and the condition goes on waiting."""
    run = lab.client.condition("ship", "bool")
    lab.settle()
    with pytest.raises(InvalidArguments, match="bool"):
        lab.client.signal(run.action, "yes")
    assert run.phase is ActionPhase.PAUSED


def test_the_first_answer_stands(lab: Lab) -> None:
    """The same answer again is fine; another one is refused."""
    run = lab.client.condition("ship", "bool")
    lab.client.signal(run.action, value=True)
    lab.client.signal(run.action, value=True)
    with pytest.raises(SignalRefused):
        lab.client.signal(run.action, value=False)


def test_nobody_waits_for_ever(lab: Lab) -> None:
    """With a timeout it ends timed out, after exactly that time."""
    began = lab.clock()
    run = lab.client.condition("ship", "bool", timeout=timedelta(days=3))
    lab.settle()
    assert timedelta(milliseconds=lab.clock() - began) == timedelta(days=3)
    with pytest.raises(ActionTimedOut):
        run.result()


def test_somebody_can_be_told(tmp_path: Path) -> None:
    """A webhook gets the question with a token that answers it and nothing else; tokens are signed with your secret."""
    secret = tmp_path / "callbacks"
    secret.write_text("0123456789abcdef" * 4)
    secret.chmod(0o600)
    lab = Lab(callback_secret_file=str(secret))
    run = lab.client.condition("ship", "bool", webhook="https://hooks.example.org/ask")
    lab.step()
    assert [call.url for call in lab.webhooks.calls] == ["https://hooks.example.org/ask"]
    assert run.phase is ActionPhase.PAUSED
