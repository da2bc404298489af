"""What is counted of failures, of suspended functions, and of the archive."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from reconciler import TaskEnvironment, metrics, sleep
from reconciler.api.errors import BlobUnavailable
from reconciler.plugins.function import UNKNOWN_FUNCTION
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab

pytestmark = pytest.mark.rule("R61")
ROOT = Path(__file__).parents[2]
env = TaskEnvironment("ends")


class OwnMistake(Exception):
    """A class whose name is a user's."""


@env.task(retries=1)
def divides() -> float:
    """Fail by what Python raises."""
    return 1 / 0


@env.task()
def raises_own() -> None:
    """Fail by what a user has named."""
    raise OwnMistake


@env.task()
def sleeps() -> str:
    """Wait without a worker."""
    sleep(timedelta(hours=1))
    return "awake"


def value(numbers: CollectorRegistry, name: str, **labels: str) -> float:
    """Return one sample; 0 when there is none."""
    return numbers.get_sample_value(name, labels) or 0


def test_failures_are_counted_by_code(numbers: CollectorRegistry) -> None:
    """Each failed attempt and action counts under its code; a class of a user is `other`, and makes no label."""
    lab = Lab()
    for task in (divides, raises_own):
        lab.client.submit(task.spec((), {}))
    lab.work()
    failed = "reconciler_failures_total"
    assert value(numbers, failed, code="ZeroDivisionError", kind="user") == 2
    assert value(numbers, failed, code="other", kind="user") == 1
    seen = {s.labels["code"] for family in numbers.collect() for s in family.samples if "code" in s.labels}
    assert seen == {"ZeroDivisionError", "other"}


def test_codes_of_ours_are_labels() -> None:
    """Each code this program gives to a failure by a constant or as it raises is a label of its own."""
    given = {UNKNOWN_FUNCTION}
    for path in [*(ROOT / "reconciler").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]:
        text = path.read_text()
        given |= set(re.findall(r'(?:\bcode=|ExecutionError\(|\bcode(?:: ClassVar\[str\])? = )"(\w+)"', text))
    assert len(given) > 15
    assert given - metrics.CODES == set()


def test_what_is_suspended_is_counted_until_it_goes_on(numbers: CollectorRegistry) -> None:
    """A function that waits counts once when it is launched again, and once when its action is aborted meanwhile."""
    lab = Lab()
    runs = [lab.client.submit(sleeps.spec((), {})) for _ in range(2)]
    lab.work(timedelta(minutes=5))
    resumed = "reconciler_resumptions_total"
    assert value(numbers, resumed, how="launched") == 0
    runs[0].abort()
    lab.work()
    assert runs[1].result() == "awake"
    assert {how: value(numbers, resumed, how=how) for how in ("launched", "ended")} == {
        "launched": 1,
        "ended": 1,
    }


class Away(MemoryBlobs):
    """An S3 that does not answer."""

    def put(self, uri: str, data: bytes, *, overwrite: bool = True) -> str:
        """Refuse.

        Raises:
            BlobUnavailable: always.
        """
        raise BlobUnavailable(f"{uri} is away: {len(data)} {overwrite}")


def test_the_archive_is_counted(numbers: CollectorRegistry) -> None:
    """A pass without S3 is told apart from one that came through, and the lag is the time after the retention."""
    lab = Lab()
    lab.submit("echo")
    lab.settle()
    lab.clock.advance(timedelta(hours=3))
    passes = "reconciler_archive_passes_total"
    collect(lab.store, lab.settings, Away())
    assert value(numbers, passes, outcome="unavailable") == 1
    assert value(numbers, passes, outcome="done") == 0
    collect(lab.store, lab.settings, lab.blobs)
    assert value(numbers, passes, outcome="done") == 1
    assert value(numbers, "reconciler_archived_runs_total", outcome="archived") == 1
    assert 7000 < value(numbers, "reconciler_archive_lag_seconds_sum") <= 7200
