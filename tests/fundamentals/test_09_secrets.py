"""Secrets: named by the task, found by its attempts, stored nowhere."""

from __future__ import annotations

import os

import pytest

from reconciler import Secret, TaskEnvironment
from reconciler.api.errors import ActionFailed
from reconciler.testing import Lab

env = TaskEnvironment("manual9")


@env.task(secrets=[Secret("db-password", env="DB_PASSWORD")])
def connect() -> int:
    """Use a password; tell only how long it is."""
    return len(os.environ["DB_PASSWORD"])


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """An installation whose secrets come from its workers' environment."""
    monkeypatch.setenv("SECRET_DB_PASSWORD", "correct horse")
    lab = Lab(secrets=("env",))
    env.client = lab.client
    return lab


def test_an_attempt_finds_its_secret_in_the_environment(lab: Lab) -> None:
    """The value is there for this call, under the variable the task names, and gone after it."""
    run = connect.delay()
    lab.work()
    assert run.result() == len("correct horse")
    assert "DB_PASSWORD" not in os.environ


def test_a_record_holds_the_name_and_never_the_value(lab: Lab) -> None:
    """What is stored refers to the secret."""
    run = connect.delay()
    lab.work()
    record = lab.get(run.action)
    assert b"db-password" in record.spec.task_template
    assert b"correct horse" not in record.spec.task_template
    assert "correct horse" not in repr(run.events())


def test_a_missing_secret_fails_the_action_and_names_it(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never an empty value: the error says which secret is missing, and where it was looked for."""
    monkeypatch.delenv("SECRET_DB_PASSWORD")
    run = connect.delay()
    lab.work()
    with pytest.raises(ActionFailed, match="db-password"):
        run.result()
