"""A slot of a worker of one queue is kept for longer than a second, but not from another queue, nor when the worker ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import drawing_functions as drawn
import pytest
from cli_support import eventually

from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.testing.invariants import check_run

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
MANY = 600
"""Of 20 ms each: more than a slot is kept for."""
SOON = MANY // 2
"""Those of 6 s; a slot that is not given back runs those of 10."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One worker of attempts, with one process."""
    folder, here = tmp_path_factory.mktemp("staying"), Path(__file__).parent
    made = Stack(folder, imports=["drawing_functions"], attempts=1, attempts_concurrency=1, cwd=here)
    with made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.servers.env().items():
            patch.setenv(name, value)
        drawn.env.client = Client.from_settings(Settings.from_env(made.env()))
        yield made


@pytest.fixture
def naps(stack: Stack) -> Run[list[int]]:
    """A line that keeps its only slot for longer than a second."""
    del stack
    run = drawn.nap.map(range(MANY))
    eventually(lambda: ended(run) > 100)
    return run


def ended(run: Run[list[int]]) -> int:
    """Count those that have ended."""
    return client().counts(run.id).ended


def client() -> Client:
    """Return the client of the functions."""
    found = drawn.env.client
    assert isinstance(found, Client)
    return found


def test_a_worker_that_is_asked_to_end_does_so_soon(stack: Stack, naps: Run[list[int]]) -> None:
    """It gives its place back within a second, and what waits is for the next worker."""
    worker = stack.processes["attempts-1"]
    worker.terminate()
    assert worker.wait(30) == 0
    assert ended(naps) < SOON
    stack.start_workers()
    assert naps.result(timeout=60) == list(range(MANY))
    assert check_run(client(), naps.id) == {ActionPhase.SUCCEEDED: MANY + 1}


def test_the_ticket_of_another_queue_gets_its_turn(stack: Stack, naps: Run[list[int]]) -> None:
    """Also of a queue that the worker consumes only since the slot is kept."""
    app = build_app(Settings.from_env(stack.env()))
    assert app.control.add_consumer("aside", reply=True, timeout=20, limit=1)
    try:
        assert drawn.aside.delay(1).result(timeout=60) == 1
        assert ended(naps) < SOON
    finally:
        app.control.cancel_consumer("aside", reply=True, timeout=20, limit=1)
        app.close()
    assert naps.result(timeout=60) == list(range(MANY))
