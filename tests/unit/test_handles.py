"""`Client.run`: the handle of a stored id, in a process that submitted nothing."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import ActionAborted, ActionFailed, ActionNotFound, InvalidName
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.client import Client
from reconciler.testing import Lab

env = TaskEnvironment("handles")


@env.task
def tomorrow(day: dt.date) -> dt.date:
    """The day after."""
    return day + dt.timedelta(days=1)


DAYS = [dt.date(2026, 1, day) for day in (1, 2, 3)]
NEXT = [dt.date(2026, 1, day) for day in (2, 3, 4)]


@pytest.fixture
def lab() -> Lab:
    """An installation in one process."""
    found = Lab()
    env.client = found.client
    return found


def another(lab: Lab) -> Client:
    """Return a client of another process."""
    return Client(lab.store, lab.blobs, lab.messenger, lab.settings)


@pytest.mark.parametrize("form", ["{0.id}", "{0.action}", "{0.id.run}", "{0.id.run}/a0"])
def test_a_stored_id_gives_its_handle(lab: Lab, form: str) -> None:
    """The four forms of an identity give the same handle; with the task its result has the type of the return hint."""
    run = tomorrow.delay(DAYS[0])
    lab.work()
    handle = another(lab).run(form.format(run), tomorrow)
    assert (handle.action, handle.id, handle.incarnation) == (run.action, run.id, run.incarnation)
    assert handle.result() == NEXT[0]
    assert another(lab).run(form.format(run)).result() == "2026-01-02"


def test_identities_will_do_for_their_text(lab: Lab) -> None:
    """What a handle calls `id` and `action` may be given as it is."""
    run = tomorrow.delay(DAYS[0])
    assert another(lab).run(run.id).action == another(lab).run(run.action).action == run.action


def test_the_handle_of_a_group_knows_its_members(lab: Lab) -> None:
    """The stored root says how many members there are; each has a handle too."""
    run = tomorrow.map(DAYS)
    lab.work()
    handle = another(lab).run(str(run.id), tomorrow)
    assert handle.result() == handle.outcomes() == NEXT
    assert another(lab).run(f"{run.id}/m2", tomorrow).result() == NEXT[2]
    empty = tomorrow.map([])
    lab.work()
    assert another(lab).run(str(empty.id), tomorrow).result() == []


def test_a_group_that_ended_before_all_its_members_were_stored(lab: Lab) -> None:
    """Its handle raises why it ended, however many were announced, and looks for none of them."""
    root = ActionSpec(
        task_type="group",
        task_template=encode_template(TaskTemplate(type="group")),
        input_uri="inline:",
        inputs=b'{"expected":1000000000000}',
    )
    run = lab.client.submit(root)
    lab.settle()
    with pytest.raises(ActionFailed, match="IncompleteSubmission"):
        another(lab).run(str(run.id)).result()


@pytest.mark.parametrize("inputs", [b"[]", b'{"expected":-1}', b'{"expected":"three"}'])
def test_a_group_whose_root_cannot_be_read(lab: Lab, inputs: bytes) -> None:
    """Whatever a root says of its members, there is a handle, and it tells how the root ended."""
    template = encode_template(TaskTemplate(type="group"))
    run = lab.client.submit(ActionSpec(task_type="group", task_template=template, inputs=inputs))
    lab.settle()
    with pytest.raises(ActionFailed):
        another(lab).run(str(run.id)).result()


def test_a_run_that_never_was(lab: Lab) -> None:
    """Its handle cannot be had: one sentence says so, and what to do."""
    for form in ("never", "p/d/never", "p/d/never/a0"):
        with pytest.raises(
            ActionNotFound,
            match=r"no action \S+/never/a0 is stored: .*`reconciler list` and `reconciler history` show",
        ):
            lab.client.run(form)


@pytest.mark.parametrize("form", ["", "/", "a/b/c/d/e", "p/d/r/", "p//r", "x" * 31, "p/d/r:x"])
def test_what_is_no_id(lab: Lab, form: str) -> None:
    """A text that names no run is refused before the store is asked."""
    with pytest.raises(InvalidName):
        lab.client.run(form)


def test_a_handle_is_of_one_incarnation(lab: Lab) -> None:
    """A handle made from a name is that of the run which has it now, not of a later one."""
    lab.client.submit(tomorrow.spec((DAYS[0],), {}, run="daily"))
    lab.work()
    handle = another(lab).run("daily", tomorrow)
    lab.clock.advance(lab.settings.retention * 2)
    lab.store.collect(lab.store.shard_of(handle.id), before=lab.clock(), limit=10)
    tomorrow.submit((DAYS[1],), run="daily")
    lab.work()
    with pytest.raises(ActionNotFound, match="a later run has its name"):
        handle.result()
    assert another(lab).run("daily", tomorrow).result() == NEXT[1]


def test_a_task_in_an_event_loop(lab: Lab) -> None:
    """`task.aio` submits, `await run` is the result, typed as in plain code, and a failure is raised."""

    async def story() -> None:
        run = await tomorrow.aio.delay(DAYS[0])
        group = await tomorrow.aio.map(DAYS)
        named = await tomorrow.aio.submit((DAYS[0],), run="named")
        await named.aio.abort("changed my mind")
        await asyncio.to_thread(lab.work)
        assert await asyncio.gather(run, group) == [NEXT[0], NEXT]
        with pytest.raises(ActionAborted, match="changed my mind"):
            await named
        assert ActionId.parse(str(named.action)).run == "named"

    asyncio.run(story())


def test_a_record_is_printed_with_its_name_and_phase(lab: Lab) -> None:
    """It is what `Run.wait` returns."""
    run = tomorrow.submit((DAYS[0],), run="printed")
    lab.work()
    assert repr(run.wait(1)) == "<TaskAction default/development/printed/a0: succeeded>"
