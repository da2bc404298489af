"""What a pool of threads refuses, because the host has no thread left, it does not do later either."""

from __future__ import annotations

import threading

import pytest

from worker.attempts.threads import Threads


def test_what_was_refused_is_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when another thread of the pool is free by then; that of the standard library does it."""
    pool, go_on, done = Threads(3), threading.Event(), list[str]()
    busy = pool.submit(go_on.wait)

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.submit(done.append, "refused")
    go_on.set()
    assert busy.result(60)
    pool.submit(done.append, "taken").result(60)
    pool.shutdown()  # all that it has noted is done
    assert done == ["taken"]


def test_an_error_is_raised_where_it_is_waited_for() -> None:
    """As by any pool."""
    with Threads(1) as pool, pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(60)
