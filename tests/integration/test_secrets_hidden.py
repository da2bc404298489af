"""Functions find no secret but their own, in the worker above or in a later log; and their memory is limited."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import secret_functions
from runner_support import eventually
from test_secrets import in_s3, unfolded

from reconciler.api.errors import ActionFailed
from reconciler.client import Client
from reconciler.embedded.processes import ManagedProcess
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from worker.attempts.secrets import AttemptSecrets, ChildSecrets
from worker.runner.runner import Runner

pytestmark = pytest.mark.servers
CANARY = "canary-hidden-0xC0FFEE"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose workers have a secret in their environment. Those of attempts are for each test to start."""
    env = {"RECONCILER_SECRETS": "env", "SECRET_API_KEY": CANARY}
    data = tmp_path_factory.mktemp("stack") / "data"
    with Stack(
        data, imports=["secret_functions"], attempts=0, beat=False, env=env, cwd=Path(__file__).parent
    ) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Client:
    """A client of the stack, which the functions use as well."""
    made = Client.from_settings(Settings.from_env(stack.env()))
    secret_functions.env.client = made
    return made


@contextmanager
def worker(stack: Stack, *options: str) -> Iterator[ManagedProcess]:
    """Provide a worker with one slot, as an operator starts it."""
    celery = (str(Path(sys.executable).with_name("celery")), "-A", "worker", "worker", "-Q", "attempts")
    command = (*celery, "-P", "prefork", "-c", "1", "-n", "one@%h", *options)
    log = stack.processes["steps-1"].log.with_name("one.log")
    process = ManagedProcess("one", command, env=stack.env(), cwd=Path(__file__).parent, log=log)
    process.start()
    try:
        yield process
    finally:
        process.stop(PATIENCE)


def test_the_worker_shows_its_secrets_to_no_function(stack: Stack, client: Client) -> None:
    """No process above a function shows a secret in its environment or command line, nor lets itself be opened."""
    del client
    with worker(stack):
        found = secret_functions.look_at_parents.delay(CANARY[::-1]).result(PATIENCE)
        can_trace = secret_functions.can_trace.delay().result(PATIENCE)
    assert shown(found) == []
    if not can_trace:
        assert [place for place in found if place.endswith("of the parent")] == []


def test_a_restarted_worker_knows_its_secrets(stack: Stack, client: Client) -> None:
    """SIGHUP makes a new worker of the old process: it still finds what was in the environment of the first."""
    del client
    with worker(stack) as process:
        before = secret_functions.keep.delay().result(PATIENCE)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGHUP)
        eventually(lambda: secret_functions.keep.delay().result(PATIENCE) != before, PATIENCE)
        found = secret_functions.look_at_parents.delay(CANARY[::-1]).result(PATIENCE)
    assert shown(found) == []


def shown(found: list[str]) -> list[str]:
    """Return the places where a value was seen."""
    return [place for place in found if place.startswith(("environ", "cmdline"))]


def test_a_secret_is_masked_in_the_logs_of_later_calls(stack: Stack, client: Client) -> None:
    """A value that a module has kept is masked in what later calls of the process print and raise."""
    del client
    with worker(stack):
        process = secret_functions.keep.delay().result(PATIENCE)
        told = secret_functions.tell.delay("marker")
        assert told.result(PATIENCE) == process
        with pytest.raises(ActionFailed, match=r"refused: \['\*\*'") as caught:
            secret_functions.tell_by_error.delay().result(PATIENCE)
    stored = in_s3(stack.servers.env())
    assert b"marker **" in stored
    assert CANARY.encode() not in unfolded(stored)
    assert CANARY not in str(caught.value)


def test_masks_are_bounded_by_the_life_of_the_child() -> None:
    """Masks of earlier calls are forgotten with their child, and no child collects more of them than can be searched for."""
    with Runner(["runner_functions"], log_limit=1024) as runner:
        runner.start()
        remembered = ChildSecrets()
        first = AttemptSecrets({"A": "value-of-the-first"})
        remembered.begin(runner, first)
        second = AttemptSecrets({"A": "value-of-the-second"})
        assert remembered.begin(runner, second).mask(b"value-of-the-first") == b"**"
        runner.renew()
        third = remembered.begin(runner, AttemptSecrets({}))
        assert third.mask(b"value-of-the-first") == b"value-of-the-first"
        before = runner.children
        for number in range(2000):
            secret = AttemptSecrets({"A": f"value-number-{number}"})
            assert len(remembered.begin(runner, secret)._forms) <= 500
        assert before < runner.children <= before + 4


def test_a_child_above_the_memory_limit_is_replaced(stack: Stack, client: Client) -> None:
    """`--max-memory-per-child` counts for the process of the function, and is looked at after each call."""
    del client
    with worker(stack, "--max-memory-per-child", "200000"):
        small = [secret_functions.hold.delay(1).result(PATIENCE) for _ in range(3)]
        large = [secret_functions.hold.delay(250).result(PATIENCE) for _ in range(2)]
    assert {*small, large[0]} == {large[0]}
    assert large[1] != large[0]


def test_what_a_redacted_child_returned_is_masked_in_its_parent(stack: Stack, client: Client) -> None:
    """Its error and its log may hold the child's output, which is shown to nobody; the rest of the log is there."""
    with worker(stack):
        run = secret_functions.tells_account.delay("ada", "MARK")
        with pytest.raises(ActionFailed) as failed:
            run.result(PATIENCE)
    assert str(failed.value).count("4711-0815") == 0
    assert "no such account: **" in str(failed.value)
    stored = in_s3(stack.servers.env())
    assert b"MARK **" in stored
    # in the child's outputs, which are its object; a small one is in the record as well
    assert stored.count(b"4711-0815") <= stored.count(b'{"o0":{"iban":"DE12-ada-4711-0815"}}') == 1
    assert b"4711-0815" not in "".join(map(str, client.events(run.action))).encode()
