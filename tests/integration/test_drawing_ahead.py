"""What a process draws while the last calls of a batch run: the next calls begin at once, and make way as all others do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from cli_support import Backend, backend_on, eventually

from reconciler.api.action import TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.embedded.servers import EmbeddedServers
from reconciler.stores.lines import Draw
from reconciler.wiring import Engine
from worker.attempts import drawing
from worker.attempts.batch import Batch
from worker.attempts.drawing import Drawing
from worker.attempts.fitness import CannotRun, check_fit
from worker.attempts.flower import Telling
from worker.attempts.heartbeat import Heartbeat
from worker.attempts.pace import Pace
from worker.attempts.runners import close_runner, runner_of
from worker.runner.runner import Runner

pytestmark = pytest.mark.servers
NAMES = [f"r{number}" for number in range(12)]
TOGETHER = 3


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation whose runs lie in one shard, and a process that draws three launches at a time."""
    monkeypatch.setattr(drawing, "_processes", {})
    monkeypatch.setattr(Pace, "of", lambda *_, **__: TOGETHER)
    monkeypatch.setattr(Pace, "least", lambda *_: TOGETHER)
    with backend_on(servers, monkeypatch, RECONCILER_SHARDS="1") as made:
        yield made


class Worker:
    """The work on one ticket, in a thread.

    Attributes:
        drawn: the runs of each draw.
        ahead: those drawn while others ran.
    """

    def __init__(
        self,
        backend: Backend,
        monkeypatch: pytest.MonkeyPatch,
        slow: str,
        until: Path,
        names: Sequence[str] = NAMES,
    ) -> None:
        for name in names:
            backend.call(name, "rest", seconds=0, **({"until": str(until)} if name == slow else {}))
            backend.engine.stepper.step(0)
        self.drawn: list[list[str]] = []
        self.ahead: list[list[str]] = []
        draw: Callable[..., Draw] = backend.engine.store.draw

        def noted(*given: Any, **named: Any) -> Draw:
            found = draw(*given, **named)
            self.drawn.append([record.id.run for record in found.actions])
            if threading.current_thread() is not self.thread:
                self.ahead.append(self.drawn[-1])
            return found

        monkeypatch.setattr(backend.engine.store, "draw", noted)
        self._engine = backend.engine
        telling = Telling(build_app(backend.settings), "here")
        self._work = Drawing(backend.engine, "attempts", "", telling, owner="w")
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        """Work in a thread that goes: its process of functions goes with it."""
        try:
            runner_of(self._engine).functions()  # the start of its process is no long call
            self._work.run()
        finally:
            close_runner()


def through(worker: Worker) -> bool:
    """Tell whether all is done that its threads were given."""
    try:
        drawing._process().reports.submit(lambda: None).result(60)
    except RuntimeError:  # the only one is busy
        return False
    return worker.thread.is_alive()


def test_the_next_launches_are_drawn_while_the_last_ones_run(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second of three runs until the next three are drawn: a process that draws only between two batches never is."""
    gate = tmp_path / "go on"
    worker = Worker(backend, monkeypatch, "r1", gate)
    eventually(lambda: NAMES[TOGETHER : 2 * TOGETHER] in worker.drawn)
    gate.touch()
    worker.thread.join(60)
    assert not worker.thread.is_alive()
    for name in NAMES:
        backend.end(name)
        record = backend.get(name)
        assert (record.phase, record.status.attempts, record.status.launches) == (ActionPhase.SUCCEEDED, 1, 0)


def test_what_was_drawn_ahead_goes_back_when_a_call_takes_long(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has no owner and has spent nothing, while the call before it still runs, and others may draw it."""
    gate = tmp_path / "go on"
    worker = Worker(backend, monkeypatch, "r2", gate)
    ahead = NAMES[TOGETHER : 2 * TOGETHER]
    eventually(lambda: ahead in worker.drawn)
    eventually(lambda: not any(backend.get(name).attempt.owner for name in ahead), 30)
    assert backend.get("r2").attempt.owner == "w"
    [head] = backend.store.look(0).lines
    again = backend.store.draw(
        0, head.line, owner="other", limit=TOGETHER, lease=6_000, least=TOGETHER
    ).actions
    assert [record.id.run for record in again] == ahead
    assert {(record.status.launches, record.attempt.hand_backs) for record in again} == {(0, 0)}
    gate.touch()
    worker.thread.join(60)
    assert not worker.thread.is_alive()
    for name in set(NAMES) - set(ahead):
        backend.end(name)
        assert backend.get(name).phase is ActionPhase.SUCCEEDED


def test_the_leases_of_what_was_drawn_ahead_are_renewed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before its turn, too: its owner lives, so nobody takes it for lost."""
    monkeypatch.setattr("worker.attempts.batch._TURN", 60.0)  # nothing is given back by itself
    monkeypatch.setattr("worker.attempts.heartbeat._FIRST_BEAT", 0.05)
    gate = tmp_path / "go on"
    worker = Worker(backend, monkeypatch, "r1", gate)
    name = NAMES[TOGETHER]
    eventually(lambda: backend.get(name).attempt.owner == "w")
    drawn = backend.get(name).attempt.lease_until
    eventually(lambda: backend.get(name).attempt.lease_until > drawn)
    gate.touch()
    worker.thread.join(60)
    for each in NAMES:
        backend.end(each)
        assert backend.get(each).status.attempts == 1


@pytest.mark.parametrize("slow", ["r1", "r2"])
def test_what_was_drawn_ahead_makes_way_for_others(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slow: str
) -> None:
    """Another line has a launch by now, so what was drawn for this one alone goes back before any of it begins."""
    monkeypatch.setattr("worker.attempts.batch._TURN", 60.0)
    monkeypatch.setattr("worker.attempts.batch._MOMENT", 0.0)
    monkeypatch.setattr("worker.attempts.batch._LONGER", 0)  # or the last one would have begun already
    gate = tmp_path / "go on"
    worker = Worker(backend, monkeypatch, slow, gate)
    ahead = NAMES[TOGETHER : 2 * TOGETHER]
    eventually(lambda: ahead in worker.drawn)
    backend.call("other", "greet", name="Ann")
    backend.engine.stepper.step(0)
    gate.touch()
    worker.thread.join(60)
    assert not worker.thread.is_alive()
    assert sum(ahead[0] in draw for draw in worker.drawn) > 1  # it was drawn anew
    for name in ("other", *NAMES):
        backend.end(name)
        assert backend.get(name).status.attempts == 1


def test_where_no_thread_is_left_the_next_launches_are_drawn_as_ever(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What could not be begun beside is not done later, by the one thread there is: whom would belong what it draws?"""
    monkeypatch.setattr("worker.attempts.batch._TURN", 60.0)
    refused, reported, begin = threading.Event(), threading.Event(), threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("reconciler-report") and thread.name[-1] != "0":
            refused.set()
            raise RuntimeError("can't start new thread")
        begin(thread)

    report = Batch.report

    def late(batch: Batch) -> None:
        if threading.current_thread().name.startswith("reconciler-report"):
            assert reported.wait(60)
        report(batch)

    monkeypatch.setattr(threading.Thread, "start", start)
    monkeypatch.setattr(Batch, "report", late)
    gate = tmp_path / "go on"
    worker = Worker(backend, monkeypatch, "r5", gate)
    assert refused.wait(60)  # the first report keeps the only thread
    reported.set()
    eventually(lambda: through(worker))
    gate.touch()
    worker.thread.join(60)
    for name in NAMES:
        backend.end(name)
        assert backend.get(name).status.attempts == 1


@pytest.mark.parametrize("which", ["beside", "report"])
def test_what_was_drawn_ahead_waits_for_nothing_but_the_calls_before_it(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, which: str
) -> None:
    """What runs beside, or a report, may take minutes: others may draw it meanwhile."""
    monkeypatch.setattr("worker.attempts.batch._TURN", 60.0)
    ends: Future[None] = Future()
    report, gate = Batch.report, tmp_path / "go on"
    owned: list[list[str]] = []

    def late(batch: Batch) -> None:
        if threading.current_thread().name.startswith("reconciler-report"):
            ends.result(60)
        else:  # in place, because the one before is not reported
            owned.append([name for name in NAMES[2 * TOGETHER :] if backend.get(name).attempt.owner])
        report(batch)

    if which == "beside":
        drawing._process().beside.last = ends
    else:
        monkeypatch.setattr(Batch, "report", late)
    worker = Worker(backend, monkeypatch, "r1", gate)
    ahead = NAMES[TOGETHER : 2 * TOGETHER]
    eventually(lambda: ahead in worker.drawn)
    gate.touch()
    if which == "beside":
        eventually(lambda: not any(backend.get(name).attempt.owner for name in ahead), 30)
    else:
        eventually(lambda: owned)
        assert owned[0] == []
    ends.set_result(None)
    worker.thread.join(60)
    for name in NAMES:
        backend.end(name)
        assert backend.get(name).status.attempts == 1


@pytest.mark.parametrize("how", ["no thread", "none has ended"])
def test_what_was_drawn_ahead_goes_back_however_odd_the_batch(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """Where no thread can be started to make way, and behind a long call when those before it were handed back."""
    refuse = set(NAMES[:2])
    begin, check = threading.Thread.start, check_fit

    def start(thread: threading.Thread) -> None:
        if thread.name == "reconciler-batch":
            raise RuntimeError("can't start new thread")
        begin(thread)

    def unfit(engine: Engine, runner: Runner, record: TaskAction, beat: Heartbeat) -> None:
        if record.id.run in refuse:
            raise CannotRun("another release")
        check(engine, runner, record, beat)

    if how == "no thread":
        monkeypatch.setattr(threading.Thread, "start", start)
    else:
        monkeypatch.setattr("worker.attempts.attempt.check_fit", unfit)
    gate, ahead = tmp_path / "go on", NAMES[TOGETHER : 2 * TOGETHER]
    worker = Worker(backend, monkeypatch, "r2", gate)
    eventually(lambda: ahead in worker.drawn)
    eventually(lambda: not any(backend.get(name).attempt.owner for name in ahead), 30)
    assert backend.get("r2").attempt.owner == "w"
    gate.touch()
    worker.thread.join(60)
    refuse.clear()
    for name in NAMES:
        backend.end(name)
        assert backend.get(name).status.attempts == 1


def test_none_is_drawn_ahead_alone(backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who dies is charged with the death if it was drawn alone, and this one has not begun."""
    monkeypatch.setattr("worker.attempts.batch._TURN", 60.0)
    gate, drawn = tmp_path / "go on", list[int]()

    def alone_later(*_: object, **__: object) -> int:
        drawn.append(1)
        return TOGETHER if len(drawn) == 1 else 1

    monkeypatch.setattr(Pace, "of", alone_later)
    monkeypatch.setattr(Pace, "least", lambda _, __, limit: limit)
    worker = Worker(backend, monkeypatch, "r1", gate)
    eventually(lambda: worker.ahead == [["r3"]])
    eventually(lambda: not backend.get("r3").attempt.owner, 30)
    gate.touch()
    worker.thread.join(60)
    for name in NAMES:
        backend.end(name)
        assert backend.get(name).status.attempts == 1


def test_the_end_of_a_line_is_left_to_others(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing of it is drawn before its turn: who is free draws it."""
    gate = tmp_path / "go on"
    gate.touch()
    names = NAMES[: 2 * TOGETHER]
    worker = Worker(backend, monkeypatch, "r1", gate, names)
    worker.thread.join(60)
    assert worker.drawn[0] == names[:TOGETHER]
    assert worker.ahead == []
    for name in names:
        backend.end(name)
