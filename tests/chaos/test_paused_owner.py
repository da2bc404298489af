"""An owner is frozen (SIGSTOP) past its lease and wakes up again: whatever it still wants to write is refused."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import msgspec
import pytest
from frozen_owner import LEASE, Light, start_attempts, submit
from harm_support import LONG, Site, running_site, traces, until

from reconciler.api.action import ActionId, AttemptOutcome
from reconciler.api.phase import ActionPhase
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run
from worker.runner.kernel import descendants

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]
ROUNDS = 40 if LONG else 2
BATCH = 25
"""Actions a frozen process holds at once."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack with two attempts workers and short leases."""
    env = {"RECONCILER_ATTEMPT_LEASE": "3"}
    with running_site(tmp_path_factory.mktemp("paused"), env=env, client_env=env, attempts=2) as made:
        yield made


def test_a_frozen_attempts_worker_changes_nothing_when_it_wakes(
    site: Site, rng: random.Random, tmp_path: Path
) -> None:
    """A worker with its children is frozen until others have done its work: results and events stay as they are then."""
    refused = 0
    for number in range(max(1, ROUNDS // 4)):
        tally = tmp_path / f"tally-{number}"
        run = site.map(range(12), 1.0, tally)
        until(partial(are_running, tally, 4), what="four running functions")
        name = rng.choice(["attempts-1", "attempts-2"])
        family = frozen(site.stack.processes[name].pid)
        try:
            assert run.result(timeout=60) == list(range(12))
            before = [site.client.events(action.id) for action in site.client.actions(run.id)]
        finally:
            send(family, signal.SIGCONT)
        again = site.map(range(8), 0.2, tmp_path / f"again-{number}")
        assert again.result(timeout=60) == list(range(8))
        site.check(run, 13)
        site.check(again, 9)
        assert [site.client.events(action.id) for action in site.client.actions(run.id)] == before
        refused += sum(action.status.total_system_failures for action in site.client.actions(run.id))
    print(
        f"attempts workers frozen {max(1, ROUNDS // 4)} times: {refused} launches superseded, stale accepted 0"
    )
    assert refused >= 1, "no launch was taken from the frozen worker: the test proved nothing"


@pytest.mark.parametrize("role", ["attempts", "steps"])
def test_stale_writes_of_a_frozen_process_are_refused(site: Site, tmp_path: Path, role: str) -> None:
    """A light process is frozen with attempts it has started, or in the middle of a step: all it writes later is refused."""
    prefix = f"frozen-{role}"
    settings = msgspec.structs.replace(Settings.from_env(site.stack.env()), key_prefix=prefix, **LEASE)
    light = Light(settings)
    refused = accepted = 0
    for _ in range(ROUNDS):
        actions = submit(light, BATCH)
        with Frozen(role, prefix, site, tmp_path) as owner:
            owner.hold(actions)
            outrun(light, actions)
            answers = owner.wake()
        refused += answers.count("refused")
        accepted += len(answers) - answers.count("refused")
        for action in actions:
            assert check_run(light.client, action.run_id) == {ActionPhase.SUCCEEDED: 1}
        check_due_index(light.client)
    light.close()
    print(f"frozen {role} process, {ROUNDS} times: stale writes refused {refused}, accepted {accepted}")
    assert accepted == 0
    assert refused >= ROUNDS * BATCH


class Frozen:
    """A process that takes something up, is frozen, and writes when it wakes."""

    def __init__(self, role: str, prefix: str, site: Site, folder: Path) -> None:
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        self._errors = (folder / "errors").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("frozen_owner.py")), role],
            env={**site.stack.env(), "RECONCILER_KEY_PREFIX": prefix, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def hold(self, actions: Sequence[ActionId]) -> None:
        """Have it take up these actions, and freeze it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(" ".join(map(str, actions)) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "held\n"
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> list[str]:
        """Let it write; its answers."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.write("go on\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().split()


def outrun(light: Light, actions: Sequence[ActionId]) -> None:
    """Do all the work of the frozen process, once its leases have ended."""

    def ended() -> bool:
        light.step(actions)
        for action, launch in start_attempts(light, actions, owner="other"):
            outcome = AttemptOutcome(ended="returned")
            assert light.finish(action, launch, "other", outcome)
        light.step(actions)
        return all(light.client.get(action).phase.is_terminal() for action in actions)

    until(ended, 60, what="the end of all actions the frozen process held")


def are_running(tally: Path, count: int) -> bool:
    """Whether so many functions have begun."""
    return len(traces(tally)) >= count


def frozen(program: int) -> set[int]:
    """SIGSTOP to a process and all its descendants."""
    family = {program, *descendants(program)}
    send(family, signal.SIGSTOP)
    return family


def send(family: set[int], number: signal.Signals) -> None:
    """Send a signal to each process that is left."""
    for pid in family:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it ended on its own
            continue
