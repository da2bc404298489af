"""Secrets: named by the task, found by its attempts, stored nowhere."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from reconciler import Secret, TaskEnvironment
from reconciler.api.errors import ActionFailed
from reconciler.api.phase import ActionPhase
from reconciler.cli.documents import waiting_reason
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


def test_a_missing_secret_is_waited_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never an empty value: the launch waits, at no cost, and says what is missing; once it is stored, the call runs."""
    monkeypatch.delenv("SECRET_DB_PASSWORD")
    run = connect.delay()
    lab.work(timedelta(minutes=9))
    record = lab.get(run.action)
    assert record.phase is ActionPhase.QUEUED
    assert 'no worker has the secret "db-password"' in waiting_reason(record)
    monkeypatch.setenv("SECRET_DB_PASSWORD", "stored later")
    lab.work()
    assert (run.result(), lab.get(run.action).status.attempts) == (len("stored later"), 1)


def test_a_secret_that_stays_missing_fails_the_action_and_names_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten minutes, as an error of the installation and not of the function."""
    monkeypatch.delenv("SECRET_DB_PASSWORD")
    run = connect.delay()
    began = lab.clock()
    lab.work()
    with pytest.raises(ActionFailed, match="db-password") as caught:
        run.result()
    assert (caught.value.code, caught.value.kind) == ("SecretUnavailable", "SYSTEM")
    assert lab.clock() - began >= 600_000
