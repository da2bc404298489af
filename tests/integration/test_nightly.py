"""A run name used again, on real servers with real workers: each run is its own, and what is late is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import nightly_functions
import pytest
from cli_support import eventually

from reconciler.api.action import ActionSpec
from reconciler.broker.conf import build_app
from reconciler.broker.messenger import CeleryMessenger
from reconciler.client import Client
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.sweeps.collect import collect

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]
DAYS = 10


class Nights:
    """An installation, and a collector for which every action is old.

    Attributes:
        book: where functions note that they ran.
    """

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.settings = msgspec.structs.replace(Settings.from_env(stack.env()), inline_limit=1)
        self.client = Client.from_settings(self.settings)
        self.book = folder / "book"

    def collect(self, *, objects: bool = False) -> None:
        """Let the retention pass: forget all that has ended."""
        now = msgspec.structs.replace(
            self.settings, retention=timedelta(0), archive=timedelta(0), collect_objects=objects
        )
        eventually(lambda: collect(self.client.store, now, self.client.blobs))

    def spec(self, function: str, **arguments: object) -> ActionSpec:
        """Return a call of a function, with inputs that are too large for the record."""
        nightly_functions.env.client = self.client
        spec: ActionSpec = getattr(nightly_functions, function).spec((), arguments, run="nightly")
        return spec


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """One backend, without the clock of the sweeps: the tests collect."""
    folder = tmp_path_factory.mktemp("nights")
    env = {"RECONCILER_INLINE_LIMIT": "1"}
    stack = Stack(
        folder / "stack",
        imports=["nightly_functions"],
        attempts_concurrency=1,
        beat=False,
        env=env,
        cwd=Path(__file__).parent,
    )
    with stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.env().items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        yield Nights(stack, folder)


def test_a_daily_run_of_one_name(nights: Nights) -> None:
    """Each of ten days' functions runs once, with its own result; those of the days before can still be read."""
    results, book = dict[str, str](), nights.book.with_name("daily")
    for day in range(DAYS):
        run = nights.client.submit(nights.spec("report", book=str(book), day=day))
        assert run.result(timeout=60) == f"{day}:" + "x" * 10_000
        record = nights.client.get(run.action)
        assert (record.status.attempts, record.status.total_system_failures) == (1, 0)
        assert record.status.outputs is not None
        results[record.status.outputs.uri] = f"{day}:"
        nights.collect()
    assert book.read_text().splitlines() == [str(day) for day in range(DAYS)]
    assert len(results) == DAYS
    for uri, said in results.items():
        assert said.encode() in nights.client.blobs.get(uri)


def test_collecting_removes_the_objects_of_its_own_run(nights: Nights) -> None:
    """With objects collected, those of one day go, and those of the day before that was kept stay."""
    kept = nights.client.submit(nights.spec("report", book=str(nights.book), day=1))
    kept.result(timeout=60)
    place = nights.client.get(kept.action).status.outputs
    nights.collect()
    gone = nights.client.submit(nights.spec("report", book=str(nights.book), day=2))
    gone.result(timeout=60)
    record = nights.client.get(gone.action)
    nights.collect(objects=True)
    assert place is not None
    assert record.status.outputs is not None
    assert nights.client.blobs.stat(place.uri) is not None
    assert nights.client.blobs.stat(record.status.outputs.uri) is None
    assert nights.client.blobs.stat(f"{record.spec.input_uri}/inputs.pb") is None


def test_late_and_repeated_tickets_start_nothing(nights: Nights) -> None:
    """Messages of a run that is forgotten meet the run that has its name now: its function runs once."""
    app = build_app(nights.settings)
    messenger = CeleryMessenger(app, nights.settings)
    book = nights.book.with_name("late")
    for day in (1, 2):
        for _ in range(5):
            messenger.ticket(nights.settings.attempts_queue)
        run = nights.client.submit(nights.spec("report", book=str(book), day=day))
        for _ in range(5):
            messenger.ticket(nights.settings.attempts_queue)
        run.result(timeout=60)
        nights.collect()
    eventually(lambda: not messenger.waiting(nights.settings.attempts_queue))
    assert book.read_text().splitlines() == ["1", "2"]
    messenger.close()
    app.close()
