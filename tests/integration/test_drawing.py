"""What workers draw, with real workers: each launch is its own, whatever becomes of those it was drawn with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import drawing_functions as drawn
import psutil
import pytest
from cli_support import eventually

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import ActionAborted
from reconciler.api.phase import ActionPhase
from reconciler.broker.conf import build_app
from reconciler.broker.messages import RUN_ATTEMPTS
from reconciler.broker.messenger import CeleryMessenger
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.testing.invariants import check_due_index, check_run

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]
MANY = 48
ODD = 21
"""Where the odd one stands: those before it tell its worker how long they take."""
LEASE = 3.0


class Site:
    """An installation with two workers of one process each, and what its functions noted."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.settings = Settings.from_env(stack.env())
        self.client = Client.from_settings(self.settings)
        self.messenger = CeleryMessenger(build_app(self.settings), self.settings)
        drawn.env.client = self.client

    def begin(self, how: str) -> tuple[Run[list[int]], str]:
        """Start many calls, the odd one of which does this; and where they note that they ran."""
        book = str(self.folder / f"book-{how}-{len(list(self.folder.iterdir()))}")
        warm = drawn.member.map(range(30), book=f"{book}.warm", odd=-1, how="")
        assert warm.result(timeout=60) == list(range(30))  # both workers know how quick it is
        return drawn.member.map(range(MANY), book=book, odd=ODD, how=how), book

    def members(self, run: Run[list[int]]) -> list[ActionId]:
        """Return the actions of the calls."""
        return [ActionId(*str(run.id).split("/"), f"m{index}") for index in range(MANY)]

    def get(self, action: ActionId) -> TaskAction:
        """Return a record."""
        return self.client.get(action)


def notes(book: str) -> list[tuple[int, float, int]]:
    """What ran, when, in which process."""
    path = Path(book)
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(index), float(at), int(pid)) for index, at, pid in map(str.split, lines)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all."""
    folder = tmp_path_factory.mktemp("drawing")
    env = {
        "RECONCILER_ATTEMPT_LEASE": f"{LEASE:g}s",
        "RECONCILER_SECRETS": "env",
        "SECRET_DRAWN_KEY": "a-key-that-is-long-enough",
    }
    here = Path(__file__).parent
    stack = Stack(
        folder / "stack",
        imports=["drawing_functions"],
        attempts=2,
        attempts_concurrency=1,
        env=env,
        cwd=here,
    )
    (folder / "books").mkdir()
    with stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.servers.env().items():
            patch.setenv(name, value)
        made = Site(stack, folder / "books")
        yield made
        made.messenger.close()


def test_a_long_one_holds_up_nobody_behind_it(site: Site) -> None:
    """Those drawn with it and not begun run in the other worker at once; those before it are reported at once."""
    run, book = site.begin("wait")
    eventually(lambda: ODD in {index for index, *_ in notes(book)}, 30)
    eventually(lambda: site.client.counts(run.id).ended == MANY - 1, 20)
    odd = site.get(site.members(run)[ODD])
    assert odd.attempt.owner
    began = {index: (at, pid) for index, at, pid in notes(book)}
    behind = [at for index, (at, _) in began.items() if at > began[ODD][0]]
    assert behind
    Path(f"{book}.open").touch()
    assert run.result(timeout=60) == list(range(MANY))
    records = [site.get(action) for action in site.members(run)]
    assert {(r.status.attempts, r.status.launches) for r in records} == {(1, 0)}
    assert len(notes(book)) == MANY


def test_each_log_holds_its_own_lines(site: Site) -> None:
    """Also of calls that ran one after the other in one process."""
    run, _ = site.begin("")
    run.result(timeout=60)
    for index, action in enumerate(site.members(run)):
        [link] = {link for event in site.client.events(action) for link in event.log_info}
        assert site.client.blobs.get(link.uri).decode() == f"begin {index}\nend {index}\n"


def test_one_of_many_that_takes_too_long_ends_alone(site: Site) -> None:
    """Its limit counts from its own begin."""
    assert drawn.limited.map(range(30), odd=-1).result(timeout=60) == list(range(30))
    run = drawn.limited.map(range(MANY), odd=ODD, keep_failures=True)
    run.wait(60)
    ended = {index: site.get(action).phase for index, action in enumerate(site.members(run))}
    assert ended.pop(ODD) is not ActionPhase.SUCCEEDED
    assert set(ended.values()) == {ActionPhase.SUCCEEDED}
    record = site.get(site.members(run)[ODD])
    assert record.status.error_state is not None
    assert record.status.error_state.code == "RunningTimedOut"


def test_calls_with_secrets_are_drawn_alone(site: Site, tmp_path: Path) -> None:
    """Two workers hold two, and the others wait in the line, though both know how quick it is."""
    gate = tmp_path / "gate"
    gate.touch()
    assert drawn.secretive.map(range(20), gate=str(gate)).result(timeout=60) == list(range(20))
    gate.unlink()
    run = drawn.secretive.map(range(8), gate=str(gate))

    def held() -> list[TaskAction]:
        return [r for r in map(site.get, site.members(run)[:8]) if r.attempt.owner]

    eventually(lambda: len(held()) == 2, 20)
    assert [record.attempt.drawn_with for record in held()] == [0, 0]
    gate.touch()
    assert run.result(timeout=60) == list(range(8))


def test_an_abort_reaches_what_waits(site: Site) -> None:
    """It ends as aborted without a worker; who stands behind it in the line is run."""
    first, second = drawn.aside.delay(1), drawn.aside.delay(2)
    eventually(lambda: waits(site, first.action) and waits(site, second.action))
    first.abort("no need")
    with pytest.raises(ActionAborted):
        first.result(timeout=20)
    assert not site.get(second.action).attempt.owner
    told(site, "add_consumer", "aside")
    assert second.result(timeout=30) == 2
    told(site, "cancel_consumer", "aside")


def waits(site: Site, action: ActionId) -> bool:
    """Whether its launch is decided, and no worker has drawn it."""
    attempt = site.get(action).attempt
    return bool(attempt.launch) and not attempt.owner


def told(site: Site, command: str, queue: str) -> None:
    """Tell all workers of attempts, as Flower does."""
    app = build_app(site.settings)
    nodes = [name for name in site.client.store.workers() if name.startswith("attempts")]  # type: ignore[attr-defined]  # the Redis store's
    answers = getattr(app.control, command)(
        queue, destination=nodes, reply=True, timeout=20, limit=len(nodes)
    )
    assert len(answers) == len(nodes)
    app.close()


def test_a_worker_acts_on_its_queues_alone(site: Site) -> None:
    """A ticket that names another queue, or none, is dropped, whatever queue it came by; `add_consumer` counts."""
    run = drawn.aside.delay(1)
    eventually(lambda: waits(site, run.action))
    app = build_app(site.settings)
    hostile: list[tuple[object, ...]] = [
        *((), (None,), ("",), ("steps",), ("aside",), ("celeryev.x",), ("../x",), ("x" * 10_000,)),
        *(("attempts", "aside"), ({"a": 1},), (["aside"],), (7,), ("aside\nforged line",)),
    ]
    for args in hostile:
        app.send_task(RUN_ATTEMPTS, args=args, queue="attempts")
    app.send_task(RUN_ATTEMPTS, args=("attempts",), kwargs={"queue": "aside"}, queue="attempts")
    eventually(lambda: not site.messenger.waiting("attempts"))
    assert drawn.member.delay(1, book=str(site.folder / "after"), odd=-1, how="").result(timeout=30) == 1
    assert waits(site, run.action)
    text = "".join(site.stack.processes[f"attempts-{n}"].log.read_text() for n in (1, 2))
    assert text.count("ticket.refused") == len(hostile) + 1
    assert "\nforged line" not in text
    told(site, "add_consumer", "aside")
    site.messenger.ticket("aside")
    assert run.result(timeout=30) == 1
    told(site, "cancel_consumer", "aside")
    again = drawn.aside.delay(2)
    eventually(lambda: waits(site, again.action))
    app.send_task(RUN_ATTEMPTS, args=("aside",), queue="attempts")
    eventually(lambda: not site.messenger.waiting("attempts"))
    assert waits(site, again.action)
    again.abort("enough")
    app.close()


def test_a_lost_ticket_is_sent_again(site: Site) -> None:
    """The list with the ticket is deleted while no worker runs; those that start find the line all the same."""
    for name in ("attempts-1", "attempts-2"):
        site.stack.processes[name].stop(20)
    run = drawn.member.delay(1, book=str(site.folder / "lost"), odd=-1, how="")
    eventually(lambda: site.messenger.waiting("attempts"))
    with site.messenger._producer() as producer:
        producer.channel.queue_purge("attempts")
    assert not site.messenger.waiting("attempts")
    site.stack.start_workers()
    assert run.result(timeout=20) == 1


def test_a_worker_that_stops_leaves_the_rest_to_others(site: Site) -> None:
    """SIGTERM while both draw: it ends what it runs and gives nothing up, so nothing waits for a lease to end."""
    run, book = site.begin("")
    more = drawn.member.map(range(400), book=f"{book}.more", odd=-1, how="")
    eventually(lambda: len(notes(f"{book}.more")) > 40, 30)
    site.stack.processes["attempts-1"].terminate()
    assert run.result(timeout=60) == list(range(MANY))
    assert more.result(timeout=60) == list(range(400))
    assert site.stack.processes["attempts-1"].wait(30) == 0
    site.stack.start_workers()
    begins = sorted(at for _, at, _ in notes(f"{book}.more"))
    assert len(begins) == 400
    assert max(b - a for a, b in pairwise(begins)) < LEASE
    check_run(site.client, more.id)


@pytest.mark.parametrize("how", ["process", "worker"])
def test_a_death_costs_the_others_time_alone(site: Site, how: str) -> None:
    """SIGKILL with a batch drawn, of the pool's process or of its whole worker: nothing is lost, all run elsewhere."""
    run, book = site.begin("kill" if how == "process" else "wait")
    eventually(lambda: ODD in {index for index, *_ in notes(book)}, 30)
    if how == "worker":
        owner = site.get(site.members(run)[ODD]).attempt.owner
        for name in ("attempts-1", "attempts-2"):
            children = {str(pid) for pid in _family(site.stack.processes[name].pid)}
            if owner.split("-")[-2] in children:
                site.stack.processes[name].kill()
    Path(f"{book}.open").touch()
    assert run.result(timeout=60) == list(range(MANY))
    assert check_run(site.client, run.id) == {ActionPhase.SUCCEEDED: MANY + 1}
    check_due_index(site.client)
    site.stack.start_workers()
    records = [site.get(action) for action in site.members(run)]
    assert {record.status.attempts for record in records} == {1}
    assert len([index for index, *_ in notes(book) if index == ODD]) == 2
    spent = [record.status.total_system_failures for record in records]
    assert sum(spent) == spent[ODD] <= 1  # it is charged if it was drawn alone


def _family(pid: int) -> list[int]:
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]
