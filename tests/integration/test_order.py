"""Whose call is next, on real workers: priority, turns, time, paused and moved queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_support import Backend, backend_on, eventually
from fleet_support import MODULE, Release

from reconciler.api.action import ActionSpec
from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface, TaskTemplate, encode_template
from reconciler.broker.messenger import CeleryMessenger
from reconciler.client import Client, Run
from reconciler.embedded.servers import EmbeddedServers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
TEXT = """
import threading
from reconciler import TaskEnvironment
env = TaskEnvironment("shop")
@env.task()
def note(name: str, seconds: float) -> str:
    with open("{file}", "a") as file:
        file.write(name + chr(10))
    threading.Event().wait(seconds)
    return name
"""
MANY, SECONDS, SOON = 200, 0.04, 40
"""So many calls wait, each so long; and so many of them may begin before one that is next has been decided and drawn."""


class Fleet:
    """A steps worker, an attempts worker of one slot for two queues, and one for a third."""

    def __init__(self, client: Client, file: Path) -> None:
        self.client = client
        self._file = file

    def begun(self) -> list[str]:
        """Return the calls that have begun, in their order."""
        return self._file.read_text().split() if self._file.exists() else []

    def call(self, name: str, seconds: float = 0, queue: str = "") -> ActionSpec:
        """Return a call that notes its name."""
        interface = Interface(inputs={"name": "str", "seconds": "float"}, outputs={"o0": "str"})
        custom: dict[str, Any] = {"function": "shop.note", "queue": queue}
        template = TaskTemplate(type="function", interface=interface, custom=custom)
        return ActionSpec(
            task_type="function",
            task_template=encode_template(template),
            inputs=msgspec.json.encode({"name": name, "seconds": seconds}),
        )

    def crowd(self, prefix: str, **options: Any) -> Run[list[Any]]:
        """Return many calls, of which the first have begun."""
        specs = [self.call(f"{prefix}{number}", SECONDS) for number in range(MANY)]
        run = self.client.submit_many(specs, **options)
        eventually(lambda: any(name.startswith(prefix) for name in self.begun()), 60)
        eventually(lambda: self.waiting("attempts") > MANY / 2, 20)
        return run

    def waiting(self, queue: str) -> int:
        """Count how much stands in its lines."""
        return self.client.store.launches_waiting().get(queue, 0)

    @contextmanager
    def paused(self, queue: str) -> Iterator[None]:
        """Provide a queue that is empty and paused, and goes on afterwards."""
        eventually(lambda: not self.waiting(queue), 60)
        self.client.pause_queue(queue)
        try:
            yield
        finally:
            self.client.resume_queue(queue)

    def passed(self, crowd: str, before: Sequence[str], name: str) -> int:
        """Count how many of a crowd began between a moment and one call."""
        seen = self.begun()
        return sum(other.startswith(crowd) for other in seen[len(before) : seen.index(name)])


def _served(backend: Backend, queue: str) -> bool:
    return backend.store.find_function(queue, "").workers == 1


@pytest.fixture(scope="module")
def fleet(servers: EmbeddedServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Workers as an operator starts them."""
    folder = tmp_path_factory.mktemp("order")
    file = folder / "begun"
    release = Release(folder / "release", TEXT.replace("{file}", str(file)))
    with pytest.MonkeyPatch.context() as patch, backend_on(servers, patch) as backend:
        patch.setenv("RECONCILER_IMPORTS", MODULE)
        patch.delenv("PYTHONPATH", raising=False)
        client = Client.from_settings()
        assert isinstance(client.messenger, CeleryMessenger)
        with (
            closing(client.messenger),
            release.worker("steps", "decider"),
            release.worker("attempts,other", "one"),
            release.worker("spare", "two"),
        ):
            for queue in ("attempts", "spare"):
                eventually(partial(_served, backend, queue), 90)
            yield Fleet(client, file)


@pytest.mark.rule("R81")
def test_the_highest_priority_is_next(fleet: Fleet) -> None:
    """With one slot and two hundred calls in line, one that comes later begins before the rest of them."""
    crowd = fleet.crowd("a")
    before = fleet.begun()
    late = fleet.client.submit(fleet.call("urgent"), priority=9)
    assert late.result(timeout=60) == "urgent"
    assert fleet.passed("a", before, "urgent") < SOON
    assert fleet.client.get(crowd.action).phase is not ActionPhase.SUCCEEDED
    assert len(crowd.result(timeout=120)) == MANY


@pytest.mark.rule("R81")
def test_keys_take_turns(fleet: Fleet) -> None:
    """Two hundred calls of one customer do not hold up another's one."""
    crowd = fleet.crowd("b", fair_key="large")
    before = fleet.begun()
    late = fleet.client.submit(fleet.call("small"), fair_key="small")
    assert late.result(timeout=60) == "small"
    assert fleet.passed("b", before, "small") < SOON
    crowd.abort()


@pytest.mark.rule("R78")
def test_what_waits_is_prioritized(fleet: Fleet) -> None:
    """A run at the end of the line passes those before it."""
    crowd = fleet.crowd("c", priority=6)
    last = fleet.client.submit(fleet.call("last"), priority=0)
    eventually(lambda: fleet.client.get(last.action).attempt.launch, 20)
    before = fleet.begun()
    assert last.prioritize(9) == 1
    assert last.result(timeout=60) == "last"
    assert fleet.passed("c", before, "last") < SOON
    crowd.abort()


@pytest.mark.rule("R83")
def test_a_countdown_is_on_time(fleet: Fleet) -> None:
    """Never early, and soon after."""
    run = fleet.client.submit(fleet.call("timed"), countdown=timedelta(seconds=2))
    assert run.result(timeout=60) == "timed"
    metadata = fleet.client.get(run.action).metadata
    ended = next(event.updated_time for event in run.events() if event.phase is ActionPhase.SUCCEEDED)
    assert metadata.not_before == metadata.creation_timestamp + 2000
    assert 0 <= ended - metadata.not_before < 10_000


@pytest.mark.rule("R85")
def test_a_paused_queue_starts_nothing(fleet: Fleet) -> None:
    """While its worker serves another one; resumed, it goes on at once."""
    with fleet.paused("attempts"):
        run = fleet.client.submit(fleet.call("paused"))
        eventually(lambda: fleet.waiting("attempts") == 1, 20)
        for number in range(5):
            other = fleet.client.submit(fleet.call(f"other{number}", queue="other"))
            assert other.result(timeout=60) == f"other{number}"
        assert run.phase is ActionPhase.QUEUED
        assert "paused" not in fleet.begun()
    assert run.result(timeout=60) == "paused"


@pytest.mark.rule("R85")
def test_what_is_moved_is_served_by_the_other_worker(fleet: Fleet) -> None:
    """Which alone consumes the other queue, while their own one gives nothing."""
    with fleet.paused("attempts"):
        run = fleet.client.submit_many([fleet.call(f"moved{number}") for number in range(5)])
        eventually(lambda: fleet.waiting("attempts") == 5, 20)
        assert fleet.client.move_queue("attempts", "spare") == 5
        assert len(run.result(timeout=60)) == 5
