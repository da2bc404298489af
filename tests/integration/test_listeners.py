"""Celery's task events cost nothing while nobody listens, and are there as soon as somebody does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from rabbit import NO_RABBIT, Rabbit, installed

from reconciler.api.action import ActionId, ActionSpec, AttemptOutcome, TaskAction
from reconciler.api.attempt import AttemptRecord
from reconciler.broker.conf import build_app
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from worker.attempts import flower, listeners
from worker.attempts.flower import SUCCEEDED, Telling

pytestmark = pytest.mark.servers


@contextmanager
def broker_url(kind: str, folder: Path) -> Iterator[str]:
    """Run a broker of this kind."""
    if kind == "rabbitmq":
        with Rabbit(folder) as rabbit:
            yield rabbit.url
    else:
        with EmbeddedServers(folder) as servers:
            yield servers.env()["RECONCILER_REDIS_URL"]


class Sent:
    """Counts what goes to the broker."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        plain = flower._Line.flush

        def flush(line: Any) -> None:
            self.count += bool(line._dispatcher is not None and any(line._gathered()))
            plain(line)

        monkeypatch.setattr(flower._Line, "flush", flush)


def end(telling: Telling, number: int) -> None:
    """End one launch, in a report of its own."""
    action = ActionId("p", "d", f"r{number}", "a0")
    launched = TaskAction(action, ActionSpec(task_type="f"), attempt=AttemptRecord(launch="1"))
    telling.ended(launched, AttemptOutcome(ended="returned"))
    telling.flush()


def heard_by(app: Celery, speak: Any) -> list[dict[str, Any]]:
    """What somebody who listens hears while something is told."""
    heard: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        with receiver.consumer_context() as (listening, _channel, _consumers):
            if listening.transport.driver_type == "redis":
                with suppress(OSError):
                    listening.drain_events(timeout=0.2)  # the subscription goes out with the first read
            speak()
            listening.drain_events(timeout=5)
    return heard


@pytest.mark.parametrize(
    "kind",
    ["redis", pytest.param("rabbitmq", marks=pytest.mark.skipif(not installed(), reason=NO_RABBIT))],
)
def test_nobody_pays_for_events_that_nobody_hears(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message in two seconds looks whether somebody listens; whoever does hears the next launch that ends."""
    clock = [1000.0]
    monkeypatch.setattr(listeners, "monotonic", lambda: clock[0])
    monkeypatch.setattr(flower, "_line", flower._Line())
    sent = Sent(monkeypatch)
    with broker_url(kind, tmp_path) as url:
        app = build_app(
            Settings(
                broker_url=url, socket_timeout=timedelta(seconds=3), connect_timeout=timedelta(seconds=3)
            )
        )
        app.conf.worker_send_task_events = True
        telling = Telling(app, "w@h")
        for number in range(50):
            end(telling, number)
        assert sent.count == 1
        clock[0] += 2.1
        for number in range(50):
            end(telling, number)
        assert sent.count == 2
        clock[0] += 2.1

        def speak() -> None:
            end(telling, 100)
            end(telling, 101)

        events = heard_by(app, speak)
        assert events[0]["uuid"] == "p/d/r100/a0/1"
        assert [event["type"] for event in events][:3] == ["task-received", "task-started", SUCCEEDED]
        assert sent.count == 4
        flower._line._dispatcher.connection.release()
        app.close()
