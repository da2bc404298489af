"""What a call changes around itself is put back, although only what may have been changed is looked at."""

from __future__ import annotations

import copy
import decimal
import faulthandler
import logging
import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.runner.bodies import Bodies
from worker.runner.chance import Chance
from worker.runner.environment import Environment, _variables
from worker.runner.loggers import Loggers
from worker.runner.python import Modules
from worker.runner.signals import Dumps, Signals
from worker.runner.threads import Threads

_NAMES = ("PUT_BACK_A", "PUT_BACK_B", "PUT_BACK_C", "PUT_BACK_D")


@pytest.fixture
def _one_variable() -> Iterator[None]:
    """One variable of the four is there before, and C knows no others than Python: `readline` may have set some."""
    for name in _variables().keys() - os.environb.keys():
        os.unsetenv(name)
    os.environ["PUT_BACK_A"] = "kept"
    yield
    for name in _NAMES:
        os.environ.pop(name, None)


@pytest.mark.usefixtures("_one_variable")
def test_variables_of_a_call_end_with_it_whatever_it_did_to_them() -> None:
    """After each of many calls the variables are those there were before, for Python and for programs it starts."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    environment = Environment()
    before, seen = dict(os.environ), _variables()
    ways: tuple[Callable[[str], object], ...] = (
        lambda name: os.environ.__setitem__(name, str(draw.random())),
        lambda name: os.environ.__setitem__(name, "kept"),
        lambda name: os.environ.pop(name, None),
        lambda name: os.putenv(name, "past Python"),
        os.unsetenv,
    )
    for number in range(500):
        given = {name: f"given {number}" for name in _NAMES if draw.random() < 0.5}
        environment.enter(given)
        assert {name: os.environ.get(name) for name in given} == given
        for _ in range(draw.choice((0, 0, 1, 2, 3))):
            draw.choice(ways)(draw.choice(_NAMES))
        environment.restore()
        assert dict(os.environ) == before
        assert _variables() == seen


@pytest.mark.usefixtures("_one_variable")
def test_a_call_that_is_given_nothing_keeps_nothing_an_earlier_one_was_given() -> None:
    """A call without variables that sets just what the one before it was given leaves nothing of it behind."""
    environment = Environment()
    for _ in range(50):
        environment.enter({"PUT_BACK_B": "the same text at what may be the same address"})
        environment.restore()
        environment.enter({})
        os.environ["PUT_BACK_B"] = "the same text at what may be the same address"
        environment.restore()
        assert "PUT_BACK_B" not in os.environ
        assert b"PUT_BACK_B" not in _variables()


def _level(logger: logging.Logger) -> None:
    logger.setLevel(logging.DEBUG)


def _handler(logger: logging.Logger) -> None:
    logger.addHandler(logging.StreamHandler())


def _replaced_handlers(logger: logging.Logger) -> None:
    logger.handlers = [logging.StreamHandler()]


def _filter(logger: logging.Logger) -> None:
    logger.addFilter(lambda _: False)


def _deaf(logger: logging.Logger) -> None:
    logger.propagate = False


def _disabled(logger: logging.Logger) -> None:
    logger.disabled = True


@pytest.mark.parametrize("set_up", [_level, _handler, _replaced_handlers, _filter, _deaf, _disabled])
@pytest.mark.parametrize("name", ["put_back.known", "put_back.new"])
def test_a_logger_is_as_it_was(name: str, set_up: Callable[[logging.Logger], None]) -> None:
    """What a call sets on a logger is gone after it, and after the next call that sets it again."""
    logging.Logger.manager.loggerDict.pop("put_back.new", None)
    logging.getLogger("put_back.known")
    loggers = Loggers()
    for _ in range(2):
        logger = logging.getLogger(name)
        set_up(logger)
        loggers.restore()
        found = (logger.level, logger.handlers, logger.filters, logger.propagate, logger.disabled)
        assert found == (logging.NOTSET, [], [], True, False)
        loggers.restore()


def test_modules_are_those_there_were() -> None:
    """A module made by hand goes, one that was taken out comes back, in each call anew; also in another table of modules."""
    modules, json, table = Modules(), sys.modules["json"], sys.modules
    for number in range(3):
        sys.modules[f"put_back_{number}"] = None  # type: ignore[assignment]  # as `import` takes for missing
        del sys.modules["json"]
        assert not modules.restore()
        assert sys.modules["json"] is json
        assert f"put_back_{number}" not in sys.modules
        assert not modules.restore()
    sys.modules = dict(table)
    modules.restore()
    assert sys.modules is table


def test_memory_tells_what_waits_in_a_stream_and_what_was_set() -> None:
    """A stream, a context of decimals and a generator of random numbers count as changed as soon as they are."""
    with tempfile.TemporaryFile("w", encoding="utf-8") as stream:
        numbers, context = random.Random(1), decimal.Context()
        watched: tuple[tuple[tuple[object, ...], Callable[[], object]], ...] = (
            ((stream, stream.buffer), lambda: stream.write("no line yet")),
            ((stream, stream.buffer), lambda: stream.buffer.write(b"past the text")),
            ((stream, stream.buffer), lambda: stream.reconfigure(errors="replace")),
            ((numbers,), numbers.random),
            ((context,), lambda: context.traps.__setitem__(decimal.Inexact, True)),
        )
        for objects, change in watched:
            stream.flush()
            bodies = Bodies(*objects)
            assert not bodies.changed()
            change()
            assert bodies.changed()
            bodies.settle()
            assert not bodies.changed()


def _draw() -> None:
    random.random()


def _isolate() -> None:
    state = random.getstate()
    random.random()
    random.setstate(state)


def _seed() -> None:
    random.seed(7)


@pytest.mark.parametrize("use", [_draw, _isolate, _seed, random.getstate, lambda: copy.copy(random._inst)])
def test_no_call_can_know_the_random_numbers_of_the_next(use: Callable[[], object]) -> None:
    """Whatever a call did with the generator that all share, the next one begins elsewhere; copies are ordinary ones."""
    kind = type(random._inst)
    try:
        chance = Chance()
        chance.restore()
        for _ in range(2):
            state = random.getstate()
            random._inst.noticed = False  # that was not the call
            use()
            chance.restore()
            known = random.Random()
            known.setstate(state)
            assert random.random() != known.random()
            assert type(copy.copy(random._inst)) is random.Random
    finally:
        random._inst.__class__ = kind


def test_a_thread_is_seen_whatever_a_call_did_to_the_look_at_threads() -> None:
    """The descriptor by which threads are counted can be closed, and its number be that of another file."""
    threads, end = Threads(), threading.Event()
    thread = threading.Thread(target=end.wait, daemon=True)
    thread.start()
    try:
        seen = Path("/proc/self/task").stat().st_nlink
        for spoil in (int, os.close, lambda number: os.dup2(1, number), int):
            spoil(threads._tasks[0])
            assert threads._thread_count() == seen
    finally:
        end.set()


def test_what_is_written_in_python_always_counts_as_changed() -> None:
    """The memory of such an object says nothing about it."""
    bodies = Bodies(sys.__stdout__, type("Tee", (), {})())
    bodies.settle()
    assert bodies.changed()


def test_what_c_leaves_between_the_fields_of_a_signal_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that changes nothing has no signal set again behind it."""
    monkeypatch.setattr(faulthandler, "register", faulthandler.register)  # put back after the test
    signals = Signals(Dumps())
    signals.restore()
    before = signals._read_actions()
    for number in (signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.getsignal(number))
        os.listdir("/")  # noqa: PTH208  # only for what it leaves in the memory of C
        assert signals._read_actions() == before
