"""One call leaves nothing to the next, whatever it leaves behind."""

from __future__ import annotations

import os
import random
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from leaving_functions import KINDS
from runner_support import LOG_LIMIT, caller, child_of, value

from worker.runner.runner import Died, Ended, Raised, Returned, Runner

FUNCTIONS = "leaving_functions"
CALLS = 200
STAYS = {"thread", "late_thread", "raw_thread", "pool", "many_open", "rights_given_up"}
"""Kinds that cost the child."""


@pytest.fixture
def runner() -> Iterator[Runner]:
    """A runner of the functions in leaving_functions.py, closed afterwards."""
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT) as made:
        yield made


def leave(run: Callable[..., Ended], kind: str, number: int, secret: str) -> Ended:
    """Have a function leave something behind."""
    how = "leave_in_loop" if kind.startswith("loop_") else "leave"
    return run(how, what=kind, number=number, secret=secret)


@pytest.mark.timeout(400)
def test_no_call_sees_what_another_left(runner: Runner, run: Callable[..., Ended], log: Path) -> None:
    """200 calls in random order, each leaving something else: none sees another's, and no log has a line of another call."""
    seed = int(os.environ.get("LEFTOVERS_SEED", random.randrange(1 << 32)))
    print(f"LEFTOVERS_SEED={seed}")
    dice = random.Random(seed)
    kinds = [kind for kind in KINDS for _ in range(CALLS // len(KINDS) + 1)]
    dice.shuffle(kinds)
    fresh = value(run("look"))
    seen: list[str] = []
    for number, kind in enumerate(kinds[:CALLS]):
        secret = f"canary-{number}-{dice.randrange(1 << 40):x}"
        ended = leave(run, kind, number, secret)
        written = log.read_text()
        if not isinstance(ended, Returned) or "canary" in written.replace(secret, ""):
            seen.append(f"{kind} {number}: {ended} {written[:200]}")
        found = run("look")
        assert isinstance(found, Returned), f"after {kind} {number}: {found}"
        if changed := {name: text for name, text in value(found).items() if text != fresh[name]}:
            seen.append(f"{kind} {number}: {changed}")
        if log.read_bytes():
            seen.append(f"{kind} {number}: the next log has {log.read_text()[:200]!r}")
    print(f"{CALLS} calls of {len(KINDS)} kinds, {runner.children} processes")
    assert seen == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_is_put_back_or_costs_the_child(
    kind: str, runner: Runner, run: Callable[..., Ended], log: Path
) -> None:
    """What can be put back is, in the same process; what cannot, threads and used up descriptors, costs the process."""
    fresh = value(run("look"))
    before = runner.children
    process = value(leave(run, kind, 1, "canary"))
    assert process != child_of(runner) or kind not in STAYS
    if kind not in {"hard_limit", "priority"}:  # it depends on the rights of this process
        assert (runner.children > before) is (kind in STAYS)
    assert value(run("look")) == fresh
    assert log.read_bytes() == b""


def test_random_numbers_stay_random(run: Callable[..., Ended]) -> None:
    """A seed that a call has set is none for the next."""
    guesses = set()
    for _ in range(3):
        leave(run, "seed", 1, "")
        guesses.add(value(run("guess")))
    assert len(guesses) == 3


def test_a_child_that_ends_between_calls_costs_no_call(
    runner: Runner, run: Callable[..., Ended], log: Path
) -> None:
    """A process that can receive no further call returns its result; the next call runs in another."""
    for number in range(1, 4):
        assert value(run("end_conversation", how=socket.SHUT_RD)) == "shut down"
        assert value(run("guess"))
        assert log.read_bytes() == b""
        assert runner.children == number + 1


def test_a_broken_conversation_is_the_error_of_its_call(run: Callable[..., Ended]) -> None:
    """A call that shuts its own process off fails; the next one does not."""
    assert isinstance(run("end_conversation", how=socket.SHUT_RDWR), Died)
    assert value(run("guess"))


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends each line back."""

    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_client_of_a_module_works_on(run: Callable[..., Ended], echo: int) -> None:
    """Async functions share one loop: a connection opened by the first call serves the next ones."""
    answers = [value(run("ask", port=echo, text=str(number))) for number in range(3)]
    assert [answer[0] for answer in answers] == ["0", "1", "2"]
    assert [answer[2] for answer in answers] == [False, True, True]
    assert len({answer[1] for answer in answers}) == 1


def test_plain_functions_find_the_same_loop(run: Callable[..., Ended]) -> None:
    """A plain function that asks for the loop gets that of the coroutines, whichever came first."""
    first = value(run("old_style"))
    assert {value(run("which_loop")), value(run("old_style")), value(run("which_loop"))} == {first}


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_loop_that_was_ended_costs_one_call(run: Callable[..., Ended], how: str) -> None:
    """A function that stops the loop fails; that, and one that closes it, harms no later call."""
    assert isinstance(run("end_loop", how=how), Raised)
    if how == "close":
        run("close_loop")
    assert value(run("which_loop"))


@pytest.mark.parametrize("how", ["refuse", "no_threads"])
def test_a_loop_that_cannot_be_mended_costs_the_child(
    runner: Runner, run: Callable[..., Ended], how: str
) -> None:
    """A task that swallows its cancellation holds up its own call for seconds, an executor cannot be opened again."""
    assert value(run("end_loop", how=how)) == how
    assert runner.children == 2
    assert value(run("which_loop"))


def test_memory_is_limited_by_replacing(log: Path) -> None:
    """A child that has held more than its limit serves no further call; one below it does."""
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT, memory_limit=150 * 1024) as runner:
        run = caller(runner, log)
        small = {value(run("use_memory", size=1 << 20)) for _ in range(3)}
        large = [value(run("use_memory", size=150 << 20)) for _ in range(2)]
    assert small == {large[0]}
    assert large[0] != large[1]
