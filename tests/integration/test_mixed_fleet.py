"""Workers of two releases side by side, and one whose module was broken under it: nothing fails, all succeed once mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_support import Backend, backend_on, eventually
from fleet_support import MODULE, Release, all_ended, living, shown, submit, unspent

from reconciler.api.phase import ActionPhase
from reconciler.api.template import Interface
from reconciler.core.liveness import read_facts
from reconciler.embedded.servers import EmbeddedServers

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
OLD = """
from reconciler import TaskEnvironment
env = TaskEnvironment("shop")
@env.task()
def old(x: int) -> str:
    return f"old {x}"
"""
NEW = (
    OLD
    + """
@env.task()
def new(x: int) -> str:
    import threading
    threading.Event().wait(0.2)
    return f"new {x}"
"""
)
OTHER_INTERFACE = OLD.replace("x: int", "x: int, y: str = ''").replace("old {x}", "other")


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation of its own, whose workers import one module."""
    with backend_on(servers, monkeypatch) as made:
        monkeypatch.setenv("RECONCILER_IMPORTS", MODULE)
        monkeypatch.delenv("PYTHONPATH", raising=False)
        yield made


def test_a_rolling_deploy_fails_nothing(backend: Backend, tmp_path: Path) -> None:
    """Thirty actions wait for the new release; the old worker is alone, then beside it, then alone again."""
    old, new = Release(tmp_path / "old", OLD), Release(tmp_path / "new", NEW)
    with old.worker("steps", "decider"), old.worker("attempts", "old", 2):
        living(backend, 1)
        runs = [submit(backend, f"r{number}", "new") for number in range(30)]
        eventually(lambda: all("no worker of queue" in shown(backend, run) for run in runs[:3]), 60)
        assert "shop.new" in shown(backend, "r0")
        assert {backend.get(run).phase for run in runs} == {ActionPhase.QUEUED}
        with new.worker("attempts", "new"):
            unspent(all_ended(backend, runs, 120))
            more = [submit(backend, f"m{number}", "new") for number in range(10)]
            unspent(all_ended(backend, more, 120))
        living(backend, 1)
        back = [submit(backend, f"b{number}", "old") for number in range(5)]
        unspent(all_ended(backend, back, 60))


def test_a_worker_that_lacks_the_function_takes_none(backend: Backend, tmp_path: Path) -> None:
    """It takes tickets as well and draws nothing it does not know, so nothing has to be handed back."""
    old, new = Release(tmp_path / "old", OLD), Release(tmp_path / "new", NEW)
    with old.worker("steps", "decider"), old.worker("attempts", "old", 2), new.worker("attempts", "new"):
        living(backend, 2)
        runs = [submit(backend, f"r{number}", "new") for number in range(20)]
        records = all_ended(backend, runs, 120)
    unspent(records)
    assert {record.attempt.hand_backs for record in records} == {0}


def test_the_interface_that_was_submitted_for_is_preferred(backend: Backend, tmp_path: Path) -> None:
    """With both releases alive each call runs where its interface is; with one alone it runs there all the same."""
    one, other = Release(tmp_path / "one", OLD), Release(tmp_path / "other", OTHER_INTERFACE)
    mine = Interface(inputs={"x": "int"}, outputs={"o0": "str"})
    with one.worker("steps", "decider"), other.worker("attempts", "other", 2):
        living(backend, 1)
        assert len(backend.store.find_function("attempts", "shop.old").digests) == 1
        unspent(all_ended(backend, [submit(backend, "alone", "old", mine)], 60))
        with one.worker("attempts", "one"):
            living(backend, 2)
            runs = [submit(backend, f"r{number}", "old", mine) for number in range(10)]
            unspent(all_ended(backend, runs, 90))
            results = {backend.answer("result", run) for run in runs}
    assert results == {"old 1"}


def test_inputs_of_a_newer_release_wait_for_it(backend: Backend, tmp_path: Path) -> None:
    """Clients were deployed first: the old worker, alone, hands the call back, and it says so until the new one is there."""
    one, other = Release(tmp_path / "one", OLD), Release(tmp_path / "other", OTHER_INTERFACE)
    newer = Interface(inputs={"x": "int", "y": "str"}, outputs={"o0": "str"})
    with one.worker("steps", "decider"), one.worker("attempts", "one"):
        living(backend, 1)
        runs = [
            submit(backend, f"r{number}", "old", newer, inputs=b'{"x":1,"y":"new"}') for number in range(5)
        ]
        eventually(lambda: all("as it was submitted" in shown(backend, run) for run in runs), 60)
        assert "unknown field `y`" in shown(backend, "r0")
        assert {backend.get(run).phase for run in runs} == {ActionPhase.QUEUED}
        with other.worker("attempts", "other"):
            unspent(all_ended(backend, runs, 90))
    assert {backend.answer("result", run) for run in runs} == {"other"}


def test_a_module_broken_under_a_worker_is_not_the_actions_fault(backend: Backend, tmp_path: Path) -> None:
    """A restarted child does not start: launches go back with the reason, and run once the file is mended."""
    release = Release(tmp_path / "release", OLD)
    with release.worker("steps", "decider"), release.worker("attempts", "only") as worker:
        living(backend, 1)
        unspent(all_ended(backend, [submit(backend, "before", "old")], 60))
        release.deploy("1 / 0")
        for process in psutil.Process(worker.pid).children(recursive=True):
            if "worker.runner.child" in " ".join(process.cmdline()):
                process.kill()
        runs = [submit(backend, f"r{number}", "old") for number in range(5)]
        eventually(lambda: "ZeroDivisionError" in shown(backend, "r0"), 60)
        assert f"module '{MODULE}'" in shown(backend, "r0")
        eventually(lambda: any("mend the module" in said for said in complaints(backend)), 20)
        release.deploy(OLD)
        unspent(all_ended(backend, runs, 60))
        eventually(lambda: not complaints(backend), 20)


def complaints(backend: Backend) -> list[str]:
    """What the workers say to `reconciler doctor` that they cannot do."""
    return [said for facts in backend.store.workers().values() for said in read_facts(facts).troubles]


def test_nobody_knows_it_for_long(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the patience, while a worker lives, the action fails by the platform's error, and by none of the user's."""
    monkeypatch.setenv("RECONCILER_UNKNOWN_FUNCTION_PATIENCE", "3s")
    release = Release(tmp_path / "release", OLD)
    with release.worker("steps", "decider"), release.worker("attempts", "only"):
        living(backend, 1)
        [record] = all_ended(backend, [submit(backend, "never", "new")], 60)
    error = record.status.error_state
    assert error is not None
    assert (record.phase, error.code, error.kind) == (ActionPhase.FAILED, "UnknownFunction", "SYSTEM")
    assert "RECONCILER_IMPORTS" in error.message
