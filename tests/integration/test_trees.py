"""Tasks that start tasks, with real workers: one attempts process with one slot carries whole trees."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path

import psutil
import pytest
import tree_functions as trees
from cli_support import eventually

from reconciler.api.action import ActionId
from reconciler.api.errors import ActionAborted, ActionFailed, ActionTimedOut
from reconciler.api.phase import ActionPhase
from reconciler.client import Client, Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


class Site:
    """An installation whose one worker has one slot, and its client."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = Client.from_settings(Settings.from_env(stack.env()))
        trees.env.client = self.client

    def below(self, run: Run[object]) -> list[tuple[str, ActionPhase]]:
        """Return all actions of a run but its root, with their phases."""
        return [(a.id.action, a.phase) for a in self.client.actions(run.id) if a.spec.parent_action_name]

    def question(self, run: Run[object]) -> ActionId:
        """Return the action of the run that waits for a person."""
        found: list[ActionId] = []

        def asked() -> bool:
            found[:] = [a.id for a in self.client.actions(run.id) if a.phase is ActionPhase.PAUSED]
            return bool(found)

        eventually(asked, 60)
        return found[0]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for nearly all, in which a crowded machine has time enough to clean up and to give signs of life."""
    here = Path(__file__).parent
    env = {"RECONCILER_ABORT_GRACE": "60", "RECONCILER_QUOTAS": "gpu=1", "RECONCILER_ATTEMPT_LEASE": "10"}
    folder = tmp_path_factory.mktemp("trees")
    with Stack(folder, imports=["tree_functions"], attempts_concurrency=1, cwd=here, env=env) as stack:
        yield Site(stack)


@pytest.fixture
def site(installation: Site) -> Site:
    """That one."""
    trees.env.client = installation.client
    return installation


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Site]:
    """One in which little time is left to who is suspended, for those who are not to use it, and objects are small."""
    here = Path(__file__).parent
    env = {"RECONCILER_ABORT_GRACE": "1", "RECONCILER_MAX_OBJECT_SIZE": str(2**20)}
    with Stack(tmp_path, imports=["tree_functions"], attempts_concurrency=1, cwd=here, env=env) as stack:
        yield Site(stack)


@pytest.mark.rule("R86", "R87", "R89")
def test_everything_together_on_one_slot(site: Site, tmp_path: Path) -> None:
    """Each thing is done once, a person is waited for without a worker, and the result is right."""
    run = trees.album.delay([1, 2, 3], str(tmp_path / "book"))
    question = site.question(run)
    assert site.client.get(run.action).phase is ActionPhase.RUNNING
    assert trees.double.delay(4).result(timeout=60) == 8  # the only slot is free
    site.client.signal(question, value=True)
    assert run.result(timeout=60) == 200 + 12 + 6
    assert (tmp_path / "book").read_text() == "token\n"
    record = site.client.get(run.action)
    assert record.status.resumes >= 2
    assert record.status.total_system_failures == 0
    check_run(site.client, run.id)


@pytest.mark.rule("R34", "R87", "R89")
def test_the_running_limit_is_of_all_passes_together(site: Site) -> None:
    """Nine starts of two passes, none of which works for longer than a second; each event is told at its own time."""
    run = trees.works_in_passes.delay(9)
    with pytest.raises(ActionTimedOut):
        run.result(timeout=60)
    record = site.client.get(run.action)
    assert record.status.error_state is not None
    assert record.status.error_state.code == "RunningTimedOut"
    over = record.status.start_over
    # it works for 1.8 s each time; where passes are slow, it comes less far
    assert over is None or over.number <= 2
    times = [event.updated_time for event in run.events()]
    assert len(times) >= 3
    # the first step may follow within the millisecond in which the action is stored
    assert times[0] <= times[1]
    assert sorted(set(times[1:])) == times[1:]


@pytest.mark.rule("R89")
def test_a_function_that_only_starts_over_runs_and_has_a_brake(site: Site) -> None:
    """It is running all along, and is not called a hundred times a second."""
    run = trees.only_starts_over.delay(15)
    assert run.result(timeout=60) == 1
    events = site.client.store.events(run.action)
    phases = [phase for phase, _ in groupby(event.phase for event in events)]
    assert phases == [ActionPhase.QUEUED, ActionPhase.RUNNING, ActionPhase.SUCCEEDED]
    assert len(events) < 40
    assert events[-1].updated_time - events[0].updated_time >= 100 + 200 + 300 + 400


@pytest.mark.rule("R90")
def test_a_map_with_a_bound_on_one_slot(site: Site, tmp_path: Path) -> None:
    """Each call is made once, never more are open than may be, and results come in the same order in each pass."""
    run = trees.windowed.delay(60, str(tmp_path / "book"))
    most = 0

    def over() -> bool:
        nonlocal most
        most = max([most, *(a.children.open for a in site.client.actions(run.id, parent="a0"))])
        return run.phase.is_terminal()

    eventually(over, 90)
    assert run.result(timeout=10) == 2 * sum(range(60))
    assert 0 < most <= 8
    assert sorted(map(int, (tmp_path / "book").read_text().split())) == list(range(60))
    check_run(site.client, run.id)
    coming = trees.as_they_come.delay(12, str(tmp_path / "second"))
    found = coming.result(timeout=90)
    assert sorted(found) == [2 * number for number in range(12)]
    assert sorted(map(int, (tmp_path / "second").read_text().split())) == list(range(12))
    assert site.client.get(coming.action).status.resumes >= 1
    outside = trees.double.map(range(20), concurrency=5)
    assert sorted(outside.as_completed(timeout=60)) == [2 * number for number in range(20)]


def test_ten_levels_on_one_slot(site: Site) -> None:
    """Each parent gives the slot to its child."""
    run = trees.level.delay(10)
    assert run.result(timeout=60) == 10
    assert len(site.below(run)) == 10


def test_a_parent_whose_worker_is_killed_starts_nothing_twice(site: Site, tmp_path: Path) -> None:
    """It is launched again and finds its children; only what its worker had in hand may have run twice."""
    book, count = tmp_path / "book", 200
    run = trees.nightly.delay(count, str(book))
    eventually(lambda: book.exists() and len(book.read_text().splitlines()) > 20, 60)
    worker = psutil.Process(site.stack.processes["attempts-1"].pid)
    for process in [*worker.children(recursive=True), worker]:
        with suppress(ProcessLookupError):  # it has followed the one before
            os.kill(process.pid, signal.SIGKILL)
    site.stack.restart("attempts-1")
    assert run.result(timeout=120) == sum(2 * number for number in range(count))
    calls = Counter(book.read_text().split())
    children = [site.client.get(run.id.action(name)) for name, _ in site.below(run)]
    assert len(children) == len(calls) == count
    relaunched = sum(child.status.launches > 0 for child in children)
    assert sum(calls.values()) - count <= relaunched
    check_run(site.client, run.id)
    check_due_index(site.client)


@pytest.mark.usefixtures("site")
def test_what_a_child_raised_reaches_its_parent() -> None:
    """With class, message and the traceback of its function as cause."""
    text = trees.catches.delay().result(timeout=60)
    assert text.startswith("ActionFailed")
    assert "[ValueError] bad 3" in text
    assert "in breaks" in text


@pytest.mark.rule("R87")
@pytest.mark.usefixtures("site")
def test_a_suspended_parent_holds_no_unit() -> None:
    """Its child gets the only unit, and the parent gets it back to go on."""
    assert trees.on_gpu.delay(2).result(timeout=60) == 3


def test_a_wait_that_is_given_up_aborts_the_child(site: Site) -> None:
    """Cancelled by a time limit of the parent's own, the child ends."""
    child = ActionId.parse(trees.patient.delay().result(timeout=60))
    eventually(lambda: site.client.get(child).phase is ActionPhase.ABORTED, 30)


@pytest.mark.rule("R89")
def test_a_wait_that_is_given_up_is_given_up_in_each_pass(site: Site, tmp_path: Path) -> None:
    """By a limit or a cancellation; the passes after a suspension and after a death see what the first one saw."""
    books = {name: tmp_path / name for name in ("child", "map", "results", "first", "plain")}
    runs = {name: trees.gives_up.delay(name, str(book)) for name, book in list(books.items())[:3]}
    runs["first"] = trees.first_wins.delay(str(books["first"]))
    runs["plain"] = trees.gives_up_plainly.delay(str(books["plain"]))
    told = {name: run.result(timeout=90) for name, run in runs.items()}
    limited = {"child": "none", "map": "none", "results": "none"}
    assert told == {**limited, "first": "2 True", "plain": "ResultTimeout 2"}
    seen = {name: book.read_text().split("\n")[:-1] for name, book in books.items()}
    assert {name: set(lines) for name, lines in seen.items()} == {
        name: {text.removesuffix(" 2")} for name, text in told.items()
    }
    assert min(map(len, seen.values())) >= 2
    for name in limited:
        assert ActionPhase.ABORTED in dict(site.below(runs[name])).values()
        check_run(site.client, runs[name].id)


def test_an_abort_reaches_what_is_suspended(site: Site) -> None:
    """Parent and child wait without a worker; both end."""
    waiting = trees.sleepy.delay()
    eventually(lambda: site.client.get(waiting.action).attempt.suspended, 60)
    waiting.abort()
    with pytest.raises(ActionAborted):
        waiting.result(timeout=30)
    check_run(site.client, waiting.id)


@pytest.mark.rule("R86")
def test_what_the_last_pass_does_not_ask_for_is_named_and_ends(site: Site, tmp_path: Path) -> None:
    """The record tells that the code of the function differs between its passes."""
    run = trees.fickle.delay(str(tmp_path / "book"))
    assert run.result(timeout=60) == 8
    (left,) = site.client.get(run.action).status.unasked
    eventually(lambda: site.client.get(run.id.action(left)).phase is ActionPhase.ABORTED, 30)
    check_run(site.client, run.id)


@pytest.mark.rule("R89")
def test_a_function_starts_over(site: Site, tmp_path: Path) -> None:
    """With other arguments, as the same action: what it asks for is done anew in each history, and once in each."""
    book = tmp_path / "book"
    run = trees.counts.delay(3, str(book))
    assert run.result(timeout=60) == 6
    assert book.read_text() == "token\n" * 3
    record = site.client.get(run.action)
    assert record.status.attempts == 1
    assert record.status.start_over is not None
    assert record.status.start_over.number == 2
    check_run(site.client, run.id)


@pytest.mark.rule("R87", "R89")
@pytest.mark.usefixtures("impatient")
def test_who_keeps_an_end_from_passing_is_told() -> None:
    """At once when it returns, whose value would be lost, and after the grace when it does not."""
    runs: list[Run[object]] = [
        *(trees.keeps_starting_over_from_passing.delay(how) for how in ("to its end", "for ever")),
        trees.swallows.delay(),
    ]
    for run in runs:
        with pytest.raises(ActionFailed, match="let BaseException pass"):
            run.result(timeout=60)


@pytest.mark.rule("R87")
@pytest.mark.usefixtures("site")
def test_two_parents_share_the_only_unit_with_their_children() -> None:
    """None of them keeps it while it waits."""
    runs = [trees.on_gpu.delay(2) for _ in range(2)]
    assert [run.result(timeout=60) for run in runs] == [3, 3]


@pytest.mark.rule("R88")
@pytest.mark.usefixtures("site")
def test_a_child_that_would_wait_for_its_parent_is_told_so() -> None:
    """By the handle of a client, as the identity of a run gives it: the circle is named."""
    run = trees.starts_a_circle.delay()
    with pytest.raises(ActionFailed, match=f"never end: .* would wait for {run.action}, which waits for"):
        run.result(timeout=60)


@pytest.mark.rule("R79", "R87")
def test_who_awaits_one_after_the_other_lends_its_slot(site: Site) -> None:
    """Once that was wanted often, the next in line runs beside a function that waits, in a second process."""
    run = trees.one_after_the_other.delay(60)
    *children, own = run.result(timeout=120)
    assert own not in children[-20:]
    assert len(set(children[-20:])) == 1
    record = site.client.get(run.action)
    assert record.status.total_system_failures == 0
    assert record.status.resumes < 40
    check_run(site.client, run.id)


@pytest.mark.rule("R86", "R89")
def test_who_hands_over_too_much_is_told_where(impatient: Site) -> None:
    """Arguments of a child, a value of a step, and arguments to start over with: the call goes on, or fails once."""
    told = trees.hands_over.delay(3 * 2**20).result(timeout=60)
    assert [text.partition(":")[0] for text in told] == ["InvalidSpec", "InvalidSpec", "ValueNotKept"]
    assert all("RECONCILER_MAX_OBJECT_SIZE" in text for text in told)
    for size in (2 * 2**20 - 1000, 3 * 2**20):
        run = trees.starts_over_with.delay(size)
        with pytest.raises(ActionFailed, match="RECONCILER_MAX_OBJECT_SIZE"):
            run.result(timeout=60)
        assert impatient.client.get(run.action).status.total_system_failures == 0
