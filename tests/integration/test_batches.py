"""Launches drawn together, in this process: what comes between them reaches each by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cli_support import Backend, backend_on, eventually

from reconciler.api.errors import StoreUnavailable
from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.embedded.servers import EmbeddedServers
from reconciler.stores.concluding import ConcludeReport, Ending
from worker.attempts import batch
from worker.attempts.batch import Batch
from worker.attempts.flower import Telling
from worker.attempts.heartbeat import keeper
from worker.attempts.runners import close_runner, runner_of

pytestmark = pytest.mark.servers
NAMES = [f"r{number}" for number in range(12)]


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own, whose runs lie in one shard, and so in one line."""
    monkeypatch.setattr(batch, "_TURN", 60.0)  # nothing is given back by itself
    with backend_on(servers, monkeypatch, RECONCILER_SHARDS="1") as made:
        yield made


def drawn(
    backend: Backend,
    slow: str = "r0",
    threads: ThreadPoolExecutor | None = None,
    *,
    seconds: float = 0,
    until: Path | None = None,
    others: Callable[[], bool] | None = None,
) -> Batch:
    """Three launches drawn together, of which the first, or another one, takes so long, or until there is a file."""
    for name in NAMES:
        given = {"seconds": seconds, "until": str(until or "")} if name == slow else {"seconds": 0}
        backend.call(name, "rest", **given)
        backend.engine.stepper.step(0)
    [head] = backend.store.look(0).lines
    found = backend.store.draw(0, head.line, owner="w", limit=3, lease=6_000).actions
    assert [record.id.run for record in found] == NAMES[:3]
    telling = Telling(build_app(backend.settings), "here")
    return Batch(backend.engine, 0, head.line, "w", found, telling, threads=threads, others=others)


def alone(together: Batch) -> None:
    """Run it in a thread that goes: its process of functions goes with it."""
    together.run()
    close_runner()


def test_an_abort_reaches_one_that_has_not_begun(backend: Backend, tmp_path: Path) -> None:
    """Its function is never called; those before and behind it run, and nobody is stopped with it."""
    together = drawn(backend, until=tmp_path / "go on")
    beats = {attempt.record.id.run: attempt.beat for attempt in together._waiting}
    running = threading.Thread(target=alone, args=(together,))
    running.start()
    assert backend.reconciler("abort", "r1", "--reason", "no need", "--yes").exit_code == 0
    backend.engine.stepper.step(0)
    eventually(beats["r1"].reason)
    (tmp_path / "go on").touch()
    running.join(60)
    ended = {attempt.record.id.run: attempt for attempt in together._ended}
    assert ended["r1"].beat.reason() == "no need"
    together.report()
    backend.end("r1")
    assert ended["r1"].outcome is not None
    assert ended["r1"].outcome.ended == "stopped"
    assert ended["r1"].seconds < ended["r0"].seconds
    assert backend.get("r1").phase is ActionPhase.ABORTED
    for name in ("r0", "r2"):
        backend.end(name)
        assert backend.get(name).phase is ActionPhase.SUCCEEDED


def test_what_is_given_back_is_as_if_nobody_had_drawn_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It stands in its old place, has no owner and has spent nothing, while the one before it still runs."""
    together = drawn(backend, until=tmp_path / "go on")
    monkeypatch.setattr(batch, "_TURN", 0.1)
    running = threading.Thread(target=alone, args=(together,))
    running.start()
    eventually(lambda: not backend.get("r1").attempt.owner and not backend.get("r2").attempt.owner)
    assert backend.get("r0").attempt.owner == "w"
    assert running.is_alive()
    [head] = backend.store.look(0).lines
    again = backend.store.draw(0, head.line, owner="other", limit=2, lease=6_000).actions
    assert [record.id.run for record in again] == NAMES[1:3]
    assert {(r.status.attempts, r.status.launches, r.attempt.hand_backs) for r in again} <= {
        (0, 0, 0),
        (1, 0, 0),
    }
    (tmp_path / "go on").touch()
    running.join(60)
    together.report()
    backend.engine.stepper.step(0)
    assert backend.get("r0").phase is ActionPhase.SUCCEEDED


def test_those_before_a_long_one_are_reported_although_nothing_waits_behind_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is the last one of its batch, and nobody waits for its end but itself."""
    together = drawn(backend, "r2", until=tmp_path / "go on")
    running = threading.Thread(target=alone, args=(together,))
    running.start()
    eventually(lambda: len(together.seconds) == 2 and not together._waiting)
    monkeypatch.setattr(
        batch, "_TURN", 0.0
    )  # not before, or the start of the process would be what takes long
    assert together._look() is None
    eventually(lambda: {backend.get(name).phase for name in NAMES[:2]} == {ActionPhase.SUCCEEDED})
    assert running.is_alive()
    assert backend.get("r2").attempt.owner == "w"
    (tmp_path / "go on").touch()
    running.join(60)
    together.report()
    assert (len(together.seconds), together.given_back) == (3, 0)
    backend.engine.stepper.step(0)
    assert backend.get("r2").phase is ActionPhase.SUCCEEDED


@pytest.mark.parametrize(
    ("moment", "answers", "ran"), [(0, [False, True], 2), (0, [False] * 2, 3), (60, [], 3)]
)
def test_others_that_wait_get_the_slot_of_a_large_batch(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, moment: float, answers: list[bool], ran: int
) -> None:
    """Asked after each call, as far as a moment has passed and something is left to be given back."""
    monkeypatch.setattr(batch, "_MOMENT", moment)
    monkeypatch.setattr(batch, "_LONGER", 0)  # or the next one may have begun already
    left = list(answers)
    together = drawn(backend, others=lambda: left.pop(0))
    alone(together)
    assert (len(together.seconds), together.given_back, left) == (ran, 3 - ran, [])
    owners = [backend.get(name).attempt.owner for name in NAMES[:3]]
    assert owners == ["w"] * ran + [""] * (3 - ran)
    together.report()
    for name in NAMES[:3]:
        backend.end(name)
        assert backend.get(name).phase is ActionPhase.SUCCEEDED


def test_a_batch_that_breaks_off_leaves_no_call_in_the_child(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What has ended is reported; what the child was given ends with it, and its lease is not renewed any more."""
    monkeypatch.setattr(batch, "_SHORT", 1)
    monkeypatch.setattr(batch, "_MOMENT", 0)
    runner = runner_of(backend.engine)
    runner.functions()
    asked = iter([False])
    together = drawn(backend, "r2", until=tmp_path / "never", others=lambda: next(asked))
    beats = [attempt.beat for attempt in together._waiting]
    before = runner.children
    with pytest.raises(StopIteration):
        together.run()
    assert runner.children == before + 1
    assert not keeper()._beats.keys() & {*beats}
    for name in NAMES[:2]:
        backend.end(name)
        assert backend.get(name).phase is ActionPhase.SUCCEEDED


def test_the_call_in_hand_of_a_batch_that_breaks_off_is_not_held(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ends like those of the calls behind it, or nobody else would ever get it."""
    together = drawn(backend, "none")
    beats = [attempt.beat for attempt in together._waiting]
    monkeypatch.setattr(together, "_give_ahead", lambda _: next(iter(())))
    with pytest.raises(StopIteration):
        together.run()
    assert not keeper()._beats.keys() & {*beats}


def test_outputs_are_written_while_the_next_call_runs(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of the first two lie in S3 before the third has ended, and are what is reported then."""
    monkeypatch.setattr(batch, "_SOME", 2)
    with ThreadPoolExecutor(2) as threads:
        together = drawn(backend, "r2", threads, until=tmp_path / "go on")
        running = threading.Thread(target=alone, args=(together,))
        running.start()
        eventually(lambda: len(together._writing) == 1, 60)
        together._writing[0].result(60)
        assert running.is_alive()
        assert len(together._written) == 2
        for one in together._ended:
            found = one.object()
            assert found is not None
            assert backend.engine.blobs.get(found[0]) == found[1]
        assert backend.get("r0").attempt.owner == "w"  # nothing is reported yet
        (tmp_path / "go on").touch()
        running.join(60)
        together.report()
    for name in NAMES[:3]:
        backend.end(name)
        assert backend.get(name).phase is ActionPhase.SUCCEEDED


def test_each_of_a_batch_tells_when_its_own_call_began(backend: Backend) -> None:
    """Not when all of them were drawn: what it waited behind the others is no time it ran."""
    together = drawn(backend, seconds=0.3)
    alone(together)
    together.report()
    found = [backend.get(name) for name in NAMES[:3]]
    began = [record.status.phase_history[-1].began for record in found]
    assert [record.phase for record in found] == [ActionPhase.SUCCEEDED] * 3
    assert began[0] + 299 <= began[1] <= began[2] <= found[2].status.phase_history[-1].occurred_at
    assert [attempt.began for attempt in backend.client.attempts(found[1].id)] == [began[1]]


@pytest.mark.rule("R74")
def test_a_report_whose_answer_got_lost_is_taken(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told again, it is told that its outcomes were taken: nobody logs that they were refused, and outputs stay."""
    together, store, answers = drawn(backend), backend.engine.store, list[ConcludeReport]()
    tell = store.conclude

    def lost(*given: Any) -> ConcludeReport:
        answers.append(tell(*given))
        if len(answers) == 1:
            raise StoreUnavailable("the answer got lost")
        return answers[-1]

    monkeypatch.setattr(store, "conclude", lost)
    running = threading.Thread(target=alone, args=(together,))
    running.start()
    running.join(60)
    ended = list(together._ended)
    together.report()
    assert [answer.endings for answer in answers] == [(Ending.WRITTEN,) * 3] * 2
    assert all(attempt.taken and attempt.stepped for attempt in ended)
    for name in NAMES[:3]:
        record = backend.get(name)
        assert record.phase is ActionPhase.SUCCEEDED
        assert record.status.outputs is not None
        assert backend.engine.blobs.stat(record.status.outputs.uri) is not None
    assert store.garbage(0) == {}


@pytest.mark.rule("R74")
def test_a_beat_after_the_report_takes_no_end_back(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hears that the launch is over, which is its own doing: nobody is told that its work was superseded."""
    together, store, told = drawn(backend), backend.engine.store, list[object]()
    tell = store.conclude

    def beaten(*given: Any) -> ConcludeReport:
        report = tell(*given)
        for attempt in ended:
            attempt.beat.beat()
        return report

    running = threading.Thread(target=alone, args=(together,))
    running.start()
    running.join(60)
    ended = list(together._ended)
    monkeypatch.setattr(store, "conclude", beaten)
    monkeypatch.setattr(
        together._telling, "ended", lambda _, outcome, *__: told.append(outcome and outcome.ended)
    )
    together.report()
    assert all(attempt.beat.superseded for attempt in ended)
    assert told == ["returned"] * 3
