"""S3 fails, stalls, cuts off and goes away while functions with large inputs and outputs run."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import s3_tasks
from s3_proxy import ERROR_IN_200, INTERNAL, SLOW_DOWN, cut, flipped, head_only, lost
from s3_stack import Spoilt, spoilt_stack

from reconciler.api.action import RunId, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.client import Client, Run
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]
LONG = bool(os.environ.get("CHAOS_LONG"))
EVERYTHING = {
    "GET": [INTERNAL, SLOW_DOWN, lost, cut, head_only, flipped],
    "PUT": [INTERNAL, SLOW_DOWN, lost, cut, head_only, ERROR_IN_200],
    "HEAD": [INTERNAL, SLOW_DOWN, lost],
}
PATIENCE = 400.0 if LONG else 200.0


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoilt]:
    """One stack for all tests; S3 has two seconds for each answer."""
    with spoilt_stack(tmp_path_factory.mktemp("s3") / "data", SOCKET_TIMEOUT="2s") as running:
        yield running


@pytest.fixture
def spoilt(parts: Spoilt) -> Iterator[Spoilt]:
    """The stack, with a line to S3 that is sound at the start and at the end."""
    yield parts
    parts.proxy.away = False
    parts.proxy.spoil_at_random(random.Random(0), 0, {})


def ask(count: int, rng: random.Random, tally: Path) -> tuple[list[str], Run[list[str]]]:
    """So many questions that lie in S3, and the run that answers them."""
    questions = [f"{index} {rng.random()}".ljust(s3_tasks.SIZE, "?") for index in range(count)]
    return questions, s3_tasks.reply.map(questions, tally=str(tally), keep_failures=True)


def check(spoilt: Spoilt, run: Run[list[str]], questions: list[str], tally: Path) -> list[TaskAction]:
    """Check that all succeeded with the right answers, with one object of outputs for each attempt that counts."""
    run.wait(PATIENCE)
    phases = check_run(spoilt.client, run.id)
    assert phases == {ActionPhase.SUCCEEDED: len(questions) + 1}
    assert run.result(PATIENCE) == [s3_tasks.answer(question) for question in questions]
    check_due_index(spoilt.client)
    members = list(spoilt.client.actions(run.id, parent=run.action.action))
    uris = {member.status.outputs.uri for member in members if member.status.outputs}
    assert len(uris) == len(questions)
    stored = {
        f"s3://{spoilt.stack.servers.s3_bucket}/{name}" for name in spoilt.objects() if run.id.run in name
    }
    assert uris <= stored
    executions = len(tally.read_text().splitlines())
    assert sum(name.endswith("outputs.pb") for name in stored) <= executions, "an execution left two outputs"
    return members


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5] if LONG else [0.05, 0.5])
def test_random_faults(spoilt: Spoilt, rng: random.Random, tmp_path: Path, share: float) -> None:
    """However many requests fail, stall, break off or lie, all actions succeed, and no output is wrong."""
    count = 400 if LONG else 120 if share < 0.1 else 20
    tally = tmp_path / "tally"
    before, asked = spoilt.proxy.spoiled.total(), len(spoilt.proxy.requests)
    again = spoilt.logged("attempt.s3_again")
    spoilt.proxy.spoil_at_random(rng, share, EVERYTHING)
    questions, run = ask(count, rng, tally)
    members = check(spoilt, run, questions, tally)
    faults = spoilt.proxy.spoiled.total() - before
    failures = sum(member.status.total_system_failures for member in members)
    print(
        f"{share:.0%} of the requests spoilt: {faults} faults in {len(spoilt.proxy.requests) - asked} requests of "
        f"{count} actions, 0 wrong outputs, {len(tally.read_text().splitlines())} executions, "
        f"{spoilt.logged('attempt.s3_again') - again} waits for S3, {failures} relaunches"
    )
    assert faults >= count * share / 2, "too little was broken: the test proved nothing"


def test_lost_replies_make_no_second_outputs(spoilt: Spoilt, rng: random.Random, tmp_path: Path) -> None:
    """Outputs are stored and the reply is lost: the attempt knows its own bytes again, and runs once."""
    count = 100 if LONG else 8
    tally = tmp_path / "tally"
    before = spoilt.proxy.spoiled["PUT"]
    spoilt.proxy.spoil_at_random(rng, 0.5, {"PUT": [lost]})
    questions, run = ask(count, rng, tally)
    check(spoilt, run, questions, tally)
    replies = spoilt.proxy.spoiled["PUT"] - before
    executions = len(tally.read_text().splitlines())
    print(f"{replies} replies lost: {executions} executions of {count}, {count} outputs")
    assert replies >= count / 4
    assert executions == count


def test_s3_entirely_away(spoilt: Spoilt, rng: random.Random, tmp_path: Path) -> None:
    """S3 is gone for some seconds and comes back: nothing fails, no budget is spent, and work goes on at once."""
    count = 400 if LONG else 150
    tally = tmp_path / "tally"
    questions, run = ask(count, rng, tally)
    until(spoilt.client, run.id, lambda: run.counts.ended >= 5)
    spoilt.proxy.away = True
    again = spoilt.logged("attempt.s3_again")
    until(spoilt.client, run.id, lambda: spoilt.logged("attempt.s3_again") >= again + 8)
    at_return = run.counts.ended
    assert at_return < count
    spoilt.proxy.away = False
    began = time.monotonic()
    until(spoilt.client, run.id, lambda: run.counts.ended > at_return)
    resumed = time.monotonic() - began
    members = check(spoilt, run, questions, tally)
    print(
        f"S3 away with {at_return} of {count} ended: work went on {resumed:.1f} s after its return, none failed"
    )
    assert sum(member.status.total_system_failures for member in members) == 0
    assert len(tally.read_text().splitlines()) == count
    assert resumed < 15


def until(client: Client, run: RunId, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, looked at whenever something of the run is committed, and five times a second."""
    woken = threading.Event()
    deadline = time.monotonic() + 60
    with client.store.subscribe(run, woken.set):
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within 60 s"
            woken.wait(0.2)
            woken.clear()
