"""Who did what, and by which door: in records, events and the notes of queues."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import TaskAction
from reconciler.api.audit import Door, Ruling, Who
from reconciler.archive.archive import Archive
from reconciler.cli.documents import action_document
from reconciler.client.submission import me
from reconciler.core.callback import SIGNAL, Callback, sign
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from reconciler.webhooks.secret import callback_secret

env = TaskEnvironment("who")
US = Who(me(), Door.CLIENT)


@env.task()
def work(n: int) -> int:
    """Give back what it got."""
    return n


@pytest.fixture
def lab() -> Lab:
    """A lab that submits what `env` declares."""
    lab = Lab()
    env.client = lab.client
    return lab


def test_who_submitted(lab: Lab) -> None:
    """The record of what was submitted says it, its first event too; members of a group say it by their root."""
    run = work.map([1, 2])
    root, member = lab.get(run.action), lab.get(run.id.action("m1"))
    assert (root.metadata.submitted, member.metadata.submitted) == (US, None)
    assert lab.client.submitter(member) == US
    assert [lab.events(action.id)[0].actor for action in (root, member)] == [US.actor, ""]
    assert action_document(root, [])["submitted"] == {"actor": US.actor, "door": "client"}


def test_who_came_by_the_command(lab: Lab) -> None:
    """The door is that of the client, and of each handle it gives."""
    lab.client.door = Door.CLI
    run = work.delay(1)
    run.abort("enough")
    record = lab.get(run.action)
    assert record.metadata.submitted == Who(US.actor, "cli")
    assert record.metadata.deletion is not None
    assert (record.metadata.deletion.actor, record.metadata.deletion.door) == (US.actor, "cli")
    other = work.delay(2)
    other.prioritize(9)
    ruled = lab.get(other.action).metadata.prioritized
    assert ruled == Ruling("priority 9", US.actor, "cli", lab.clock())


def test_who_signalled(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    """By name, or with a token that somebody was given."""
    secret = tmp_path_factory.mktemp("s") / "secret"
    secret.write_text("x" * 64)
    secret.chmod(0o600)
    lab = Lab(callback_secret_file=str(secret))
    asked = [lab.client.condition("ship") for _ in range(2)]
    lab.step()
    lab.client.signal(asked[0].action, True, by="ada")
    record = lab.get(asked[1].action)
    call = Callback(record.id, record.metadata.creation_timestamp, SIGNAL, lab.clock() + 60_000)
    token = sign(callback_secret(lab.settings), call)
    lab.client.signal_by_token(token, True, by="bob")
    told = [lab.get(run.action).signal for run in asked]
    assert [(one.by, one.door) for one in told if one] == [("ada", "client"), ("bob", "token")]


def test_who_recovered(lab: Lab) -> None:
    """The root of a run that was made of another one says who made it; the archive remembers it."""
    first = work.map([1, 2])
    lab.work()
    lab.client.door = Door.CLI
    second = first.rerun()
    lab.work()
    assert lab.get(second.action).metadata.submitted == Who(US.actor, "cli")
    raw = lab.store.recall(second.id)
    assert raw is not None
    archive = Archive(lab.blobs)
    archive.write(raw)
    found = archive.read_run(second.id)
    assert found is not None
    kept: TaskAction = found.actions["a0"]
    assert kept.metadata.submitted == Who(US.actor, "cli")
    assert kept.metadata.lineage == lab.get(second.action).metadata.lineage
    assert found.lineage["verb"] == "rerun"


def test_the_archive_knows_who(lab: Lab) -> None:
    """What records say of an abort, an answer and a priority is read when they are forgotten, with actor and door."""
    lab.client.door = Door.CLI
    stopped, asked = lab.client.condition("ship", run="stopped"), lab.client.condition("ship", run="asked")
    lab.step()
    stopped.prioritize(2)
    lab.client.actor, lab.client.door = "ada", Door.FLOWER
    lab.client.prioritize(stopped.action, 9)
    lab.client.actor, lab.client.door = "", Door.CLI
    stopped.abort("enough")
    lab.client.signal(asked.action, True, by="ada")
    lab.work()
    lab.clock.advance(timedelta(hours=2))
    collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.runs() == []
    one, other = (lab.client.get(run.action) for run in (stopped, asked))
    assert one.archived
    assert other.archived
    assert one.metadata.submitted == other.metadata.submitted == Who(US.actor, "cli")
    assert one.metadata.deletion is not None
    told = one.metadata.deletion
    assert (told.reason, told.actor, told.door) == ("enough", US.actor, "cli")
    assert one.metadata.prioritized is not None
    assert (one.metadata.prioritized.what, one.metadata.prioritized.door) == ("priority 9", "flower")
    given = [(one.what, one.actor, one.door) for one in one.metadata.priorities]
    assert given == [("priority 2", US.actor, "cli"), ("priority 9", "ada", "flower")]
    assert other.signal is not None
    assert (other.signal.value, other.signal.by, other.signal.door) == (True, "ada", "cli")
    assert [stopped.events()[-1].actor, asked.events()[-1].actor] == [US.actor, "ada"]


def test_who_ruled_a_queue(lab: Lab) -> None:
    """Pause, resume, limits and moves are noted with the queue, in order."""
    client = lab.client
    client.pause_queue("q")
    client.limit_queue("q", 5)
    client.limit_queue("q", None)
    client.resume_queue("q")
    client.move_queue("q", "spare")
    [facts] = client.queues("q")
    assert [one.what for one in facts.ruled] == ["pause", "limit 5", "no limit", "resume", "move 0 to spare"]
    assert {(one.actor, one.door) for one in facts.ruled} == {(US.actor, "client")}
    assert [one.what for one in client.queues("spare")[0].ruled] == ["move 0 from q"]
