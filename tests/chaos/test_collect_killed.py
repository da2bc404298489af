"""The collector is killed while it removes objects, and readers look on: no reference dangles, nothing is left over."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_tasks
from s3_stack import Spoilt, spoilt_stack

from reconciler.api.action import ActionId
from reconciler.api.errors import ActionNotFound, BlobNotFound
from reconciler.client import Client

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
ACTIONS = 60
KILLS = 4
SWEEP = """
from datetime import timedelta
from reconciler.settings import Settings
from reconciler.sweeps.collect import collect
from reconciler.client.connect import connect
settings = Settings.from_env(collect_objects=True, retention=timedelta(0), archive=timedelta(0))
store, blobs, _ = connect(settings)
print("begun", flush=True)
collect(store, settings, blobs)
"""


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    """The stack; its own collector waits for the retention of an hour."""
    with spoilt_stack(tmp_path_factory.mktemp("s3") / "data") as running:
        yield running


def test_killed_sweeps(spoilt: Spoilt, rng: random.Random, tmp_path: Path) -> None:
    """After sweeps killed half way one pass leaves neither record nor object; no reader saw a record without outputs."""
    questions = [f"{index}".ljust(s3_tasks.SIZE, "?") for index in range(ACTIONS)]
    runs = [s3_tasks.reply.delay(question, tally=str(tmp_path / "tally")) for question in questions]
    for run in runs:
        run.result(60)
    before = len(spoilt.objects())
    assert before >= 2 * ACTIONS
    reader = Reader(spoilt.client, [run.action for run in runs])
    reader.start()
    leaked = []
    for _ in range(KILLS):
        left = len(spoilt.objects())
        with sweeping(spoilt) as sweep:
            goal = left - rng.randint(1, before // (KILLS + 2))
            until(lambda: len(spoilt.objects()) <= goal or sweep.poll() is not None)  # noqa: B023  # called here only
            assert sweep.poll() is None, "it ended before it could be killed"
            sweep.send_signal(signal.SIGKILL)
            sweep.wait(10)
        leaked.append(len(spoilt.objects()) - 2 * alive(spoilt.client, reader.actions))
    with sweeping(spoilt) as sweep:
        assert sweep.wait(60) == 0
    reader.stop()
    print(
        f"{KILLS} sweeps killed with {leaked} objects of forgotten actions left: {len(spoilt.objects())} at the end; "
        f"{reader.read} reads, {reader.gone} found the action gone, {reader.dangling} a record without outputs"
    )
    assert max(leaked) > 0, "no sweep was killed between record and object: the test proved nothing"
    assert spoilt.objects() == {}
    assert alive(spoilt.client, reader.actions) == 0
    assert [spoilt.client.store.garbage(shard) for shard in range(spoilt.client.store.shards)] == [
        {}
    ] * spoilt.client.store.shards
    assert reader.read > 0
    assert reader.dangling == 0


class Reader(threading.Thread):
    """Reads results again and again, and tells a record that went meanwhile from one that lost its outputs."""

    def __init__(self, client: Client, actions: list[ActionId]) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._ends = threading.Event()
        self.actions = actions
        self.read = self.gone = self.dangling = 0

    def run(self) -> None:
        """Until stopped."""
        while not self._ends.is_set():
            for action in self.actions:
                self._look(action)

    def _look(self, action: ActionId) -> None:
        try:
            self._client.outputs(self._client.get(action))
        except ActionNotFound:
            self.gone += 1
        except BlobNotFound:
            # the record was read, then all of it went: only one that is still there would dangle
            self.dangling += self._client.store.get(action) is not None
        else:
            self.read += 1

    def stop(self) -> None:
        """End, and wait for it."""
        self._ends.set()
        self.join(30)


def sweeping(spoilt: Spoilt) -> subprocess.Popen[str]:
    """Return a process that runs one pass of the collector; it has begun when this returns."""
    env = {**spoilt.stack.env(), "RECONCILER_S3_ENDPOINT": spoilt.stack.servers.s3_endpoint}
    process = subprocess.Popen([sys.executable, "-c", SWEEP], env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def alive(client: Client, actions: list[ActionId]) -> int:
    """Count how many of these actions have a record."""
    return sum(record is not None for record in client.store.get_many(actions))


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 60 s"
