"""Rules of a line or two that no story of the engine goes through."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from kombu.exceptions import OperationalError
from structlog.testing import capture_logs

from reconciler.api.action import ActionSpec
from reconciler.api.errors import BrokerUnavailable, StoreUnavailable
from reconciler.broker.messages import RECONCILE, RUN_ATTEMPTS
from reconciler.broker.messenger import outage
from reconciler.controller.wakes import Wakes
from reconciler.core import published_types
from reconciler.core.declaration import source_version
from reconciler.core.derivation import is_whole
from reconciler.core.functions import registry
from reconciler.core.layout import steps_folder
from reconciler.testing import Lab
from reconciler.wiring import Engine
from worker.start_options import limit_problems
from worker.steps import run_collect, run_resync


def test_a_wake_that_cannot_be_sent_is_logged_and_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sweep sends again what is overdue."""
    lab = Lab()

    def away(*_: object) -> None:
        raise BrokerUnavailable("away")

    monkeypatch.setattr(lab.messenger, "wake", away)
    Wakes(lab.store, lab.messenger).wake(3)
    said = capsys.readouterr()
    assert "wake.not_sent" in said.out + said.err


@pytest.mark.parametrize("sweep", [run_resync, run_collect])
def test_a_sweep_that_redis_refuses_is_one_line_of_the_log(
    sweep: Callable[[Engine], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of ours, and the next one tries again."""
    lab = Lab()

    def refused(*_: object, **__: object) -> None:
        raise StoreUnavailable("a right was taken away")

    for verb in ("look", "collect"):
        monkeypatch.setattr(lab.store, verb, refused)
    with capture_logs() as logged:
        sweep(lab.engine)
    assert [(line["event"], line["error"]) for line in logged] == [
        (f"{sweep.__name__.removeprefix('run_')}.unavailable", "a right was taken away")
    ]


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("User default has no permissions to run the 'lpush' command", "give the user the rule"),
        ("NOREPLICAS Not enough good replicas to write.", "lower min-replicas-to-write"),
        ("You can't write against a read only replica.", "let RECONCILER_BROKER_URL name the primary"),
        (
            "Error 111 connecting to 127.0.0.1:1. Connection refused.",
            "Start the broker, or correct RECONCILER_BROKER_URL",
        ),
    ],
)
def test_a_broker_that_refuses_is_not_called_away(said: str, remedy: str) -> None:
    """To start one that runs would not help: the remedy is that of the refusal, as for the records."""
    told = outage(OperationalError(said), "redis://b:6379/0", "RECONCILER_BROKER_URL")
    assert remedy in told
    assert ("Start the broker" in told) == ("Connection refused" in told)
    assert "What was stored is safe" in told


def test_code_that_cannot_be_read_has_no_version() -> None:
    """A function of C has no source."""
    assert source_version(len) == ""


def test_a_run_without_the_parent_of_an_action_is_not_whole() -> None:
    """The others name it, and it is not there."""
    lab = Lab()
    run = lab.client.submit_many([ActionSpec(task_type="sleep", inputs=b"{}")])
    records = {record.id.action: record for record in lab.client.actions(run.id)}
    records[run.action.action] = lab.get(run.action)
    assert is_whole(records)
    del records[run.action.action]
    assert not is_whole(records)


def test_each_function_tells_what_its_actions_need() -> None:
    """By its name, for those who look whether there is a worker for it."""
    assert registry.needs().keys() == set(registry.names())


def test_values_of_steps_lie_beside_their_action() -> None:
    """In a folder of their own."""
    assert steps_folder("s3://b/runs/r", "a0") == "s3://b/runs/r/a0/steps"


class Odd(msgspec.Struct):
    """A record with a default that JSON cannot carry."""

    mark: Any = msgspec.field(default_factory=object)


def test_a_default_without_a_json_form_is_not_published() -> None:
    """Who submits by name has to give the value."""
    [field] = msgspec.inspect.type_info(Odd).fields
    assert bytes(published_types._default(field)) == b""


def test_a_rate_limit_of_celery_is_refused() -> None:
    """However it was set, it would hold up every action of the worker."""
    worker = SimpleNamespace(time_limit=None, soft_time_limit=None)
    limited = {RUN_ATTEMPTS: SimpleNamespace(rate_limit="1/h"), RECONCILE: SimpleNamespace(rate_limit=None)}
    [said] = limit_problems(worker, limited)
    assert f"rate_limit of the task {RUN_ATTEMPTS} is 1/h" in said
