"""The count of what the kernel has killed for want of memory."""

from __future__ import annotations

import os
from pathlib import Path

from worker.runner.kernel import OomCounter


def test_a_count_is_read_again_when_it_is_too_old(tmp_path: Path) -> None:
    """Short calls follow upon each other, and reading takes a tenth of such a call; who looks after a death reads anew."""
    events = tmp_path / "memory.events"
    events.write_bytes(b"low 0\noom 1\noom_kill 1\n")
    counter = OomCounter(os.getpid())
    counter.close()
    counter._descriptor = os.open(events, os.O_RDONLY)
    assert counter.read() == 1
    events.write_bytes(b"low 0\noom 2\noom_kill 2\n")
    assert counter.read(3600) == 1
    assert counter.read() == 2
    counter.close()
    assert counter.read() == 2
