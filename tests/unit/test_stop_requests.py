"""Requests to stop a call, carried by a pipe into the wait for its end."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from worker.runner.stop import StopRequests


@pytest.fixture
def requests() -> Iterator[StopRequests]:
    """Of a call that runs."""
    made = StopRequests()
    made.begin()
    yield made
    made.close()


def readable(requests: StopRequests) -> bool:
    """Tell whether the wait would end."""
    return bool(select.select([requests.wake], [], [], 0)[0])


def test_a_request_ends_the_wait_until_it_is_taken(requests: StopRequests) -> None:
    """Taken, it wakes nobody again, and is still known."""
    assert requests.request("aborted")
    assert readable(requests)
    assert requests.drain() == "aborted"
    assert not readable(requests)
    assert requests.drain() == "aborted"


def test_a_nudge_ends_the_wait_without_a_reason(requests: StopRequests) -> None:
    """There are news for the call."""
    requests.nudge()
    assert readable(requests)
    assert requests.drain() is None
    assert not readable(requests)


def test_what_came_too_late_wakes_no_later_call(requests: StopRequests) -> None:
    """A call that has ended takes its requests along."""
    requests.request("aborted")
    requests.finish()
    assert not readable(requests)
    requests.begin()
    assert requests.drain() is None


def test_a_full_pipe_is_emptied(requests: StopRequests) -> None:
    """Also when more was written than it holds."""
    for _ in range(100_000):
        requests.nudge()
    requests.drain()
    assert not readable(requests)


def test_no_byte_stays_whoever_writes_meanwhile(requests: StopRequests) -> None:
    """Else the wait would turn in circles until the end of the call."""
    ends = threading.Event()

    def write() -> None:
        while not ends.is_set():
            requests.nudge()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(5000):
        requests.drain()
    ends.set()
    for writer in writers:
        writer.join()
    requests.drain()
    assert not readable(requests)
