"""The processes of user code die in every way: each end is told with its own code, and neighbours never notice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import harm_tasks
import pytest
from harm_support import Site, running_site, traces, until
from small_cgroup import limited_group, moved_into

from reconciler.api.phase import ActionPhase
from reconciler.api.status_conditions import ErrorState
from reconciler.testing.invariants import check_run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
BUDGET = 3
"""`max_system_failures`, the default: the failure after it ends an action."""
NEIGHBOURS = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack with short leases, whose attempts worker may hold 700 MB where a cgroup can be made."""
    env = {"RECONCILER_ATTEMPT_LEASE": "3", "RECONCILER_ABORT_GRACE": "1", "RECONCILER_REQUEUE_DURATION": "1"}
    with (
        limited_group(700 << 20) as group,
        running_site(
            tmp_path_factory.mktemp("children"), env=env, client_env=env, attempts_concurrency=4
        ) as running,
    ):
        if group is not None:
            running.stack.processes["attempts-1"].kill()
            with moved_into(group):
                running.stack.start_workers()
        running.stack_is_limited = group is not None
        yield running


class Scene:
    """All dying functions and their neighbours, run at once until each has ended."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site = site
        self.tally, self.beside = folder / "tally", folder / "beside"
        tally = str(self.tally)
        self.neighbours = site.map(range(NEIGHBOURS), 0.3, self.beside)
        self.dying = {how: harm_tasks.die.delay(how, tally) for how in ("exit", "segfault", "wait")}
        self.dying["spin"] = harm_tasks.spin.delay(tally)
        self.dying["ignore"] = harm_tasks.ignore.delay(tally)
        self.dying["poison"] = harm_tasks.poison.delay(tally)
        if site.stack_is_limited:
            self.dying["memory"] = harm_tasks.die.delay("memory", tally)
        self.killed: set[int] = set()

    def play(self) -> None:
        """Kill each process of `wait` from outside, until all have ended."""
        until(self._over, 120, what="the end of all dying functions")
        self.neighbours.wait(timeout=120)

    def _over(self) -> bool:
        for line in traces(self.tally):
            how, _, pid = line.partition(":")
            if how == "wait" and int(pid) not in self.killed:
                self.killed.add(int(pid))
                os.kill(int(pid), signal.SIGKILL)
        return all(self.site.client.get(run.action).phase.is_terminal() for run in self.dying.values())

    def error(self, how: str) -> ErrorState:
        """Why an action has ended."""
        error = self.site.client.get(self.dying[how].action).status.error_state
        assert error is not None
        return error


@pytest.fixture(scope="module")
def scene(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The scene, played."""
    made = Scene(site, tmp_path_factory.mktemp("scene"))
    made.play()
    return made


def test_each_death_of_a_child_has_its_code(scene: Scene) -> None:
    """Killed, out of memory, segfault, exit 0, endless loop, deaf to SIGTERM: each ends once, with its own code."""
    expected = {
        "exit": "ExitedPrematurely", "segfault": "Crashed", "wait": "MaxSystemFailuresExceeded",
        "spin": "RunningTimedOut", "ignore": "RunningTimedOut", "memory": "OOMKilled",
        "poison": "MaxSystemFailuresExceeded",
    }  # fmt: skip
    assert {how: scene.error(how).code for how in scene.dying} == {how: expected[how] for how in scene.dying}
    assert "[Interrupted]" in scene.error("wait").message
    assert len(scene.killed) == BUDGET + 1
    for how, run in scene.dying.items():
        late = how in {"spin", "ignore"}
        ended = ActionPhase.TIMED_OUT if late else ActionPhase.FAILED
        assert check_run(scene.site.client, run.id) == {ended: 1}
    print(f"deaths told rightly: {len(scene.dying) - 1} of {len(scene.dying) - 1}")


def test_a_poison_action_is_parked_after_its_budget(scene: Scene) -> None:
    """A function that kills its worker process each time ends with the reason after as many kills as the budget allows."""
    kills = traces(scene.tally).count("poison")
    assert kills == BUDGET + 1
    assert "vanished" in scene.error("poison").message
    assert scene.site.stack.processes["attempts-1"].alive
    print(f"poison action: {kills} kills of its worker process, then {scene.error('poison').code}")


def test_neighbours_of_the_dying_are_untouched(scene: Scene) -> None:
    """All that ran beside them succeeded, and ran once."""
    assert scene.neighbours.result(timeout=1) == list(range(NEIGHBOURS))
    scene.site.check(scene.neighbours, NEIGHBOURS + 1)
    again = len(traces(scene.beside)) - NEIGHBOURS
    print(f"neighbours run again: {again} of {NEIGHBOURS}")
    assert again == 0
