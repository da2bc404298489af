"""Each verb that changes something, by each door, on real servers: who did it is told of the run, and in the archive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import runs_functions as orchard
from cli_support import eventually
from click.testing import CliRunner
from flower_support import Site, orchard_site

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.audit import Door
from reconciler.archive.bulk import BulkVerb
from reconciler.cli import main
from reconciler.client import Run
from reconciler.client.submission import me
from reconciler.stores.holds import RunLife
from reconciler.sweeps.collect import collect
from worker.dashboard.buttons import ANYBODY, BUTTONS

pytestmark = [pytest.mark.servers, pytest.mark.usefixtures("nothing_left")]
PATIENCE = 60
ACTORS = {Door.CLIENT: me(), Door.CLI: me(), Door.FLOWER: ANYBODY}
RUN_VERBS = ("submit", "abort", "signal", "prioritize", "rerun", "recover", "fork")
QUEUE_VERBS = ("pause", "limit", "move", "resume")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all: it takes a while to start."""
    with orchard_site(tmp_path_factory.mktemp("who")) as found:
        yield found


class Doors:
    """The three ways to do something with a run, each by one method."""

    def __init__(self, site: Site, patch: pytest.MonkeyPatch) -> None:
        self.site, self.client = site, site.client
        for name, value in site.stack.env().items():
            patch.setenv(name, value)
        patch.setattr(orchard.env, "client", site.client)  # a command run in this process leaves its own

    def cli(self, *args: str) -> Any:
        """Run a command; return the document it prints."""
        result = CliRunner().invoke(main, [*args, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])

    def press(self, path: str, body: object) -> Any:
        """Press a button of Flower; return the document it answers."""
        headers = {**self.site.token(), "Content_Type": "application/json"}
        status, _, answer = self.site.ask(f"/reconciler/api{path}", body=body, **headers)
        assert status == 200, answer
        return json.loads(answer)

    def has_ended(self, action: ActionId) -> bool:
        """Tell whether an action has ended."""
        return self.client.get(action).phase.is_terminal()

    def collected(self) -> None:
        """Archive all runs that have ended, and forget them."""
        settings = msgspec.structs.replace(self.client.settings, retention=timedelta(0))
        collect(self.client.store, settings, self.client.blobs)


@pytest.fixture
def doors(site: Site, monkeypatch: pytest.MonkeyPatch) -> Doors:
    """The ways into the installation."""
    return Doors(site, monkeypatch)


def asked(doors: Doors, run: str) -> Run[Any]:
    """Ask something, so that a run lives until somebody does something."""
    made = doors.client.condition("ship", run=run)
    eventually(lambda: doors.client.get(made.action).phase.name == "PAUSED", PATIENCE)
    return made


def ended(doors: Doors, run: str) -> Run[Any]:
    """Make a run that failed."""
    made = orchard.says.submit(("!no",), run=run)
    eventually(lambda: doors.has_ended(made.action), PATIENCE)
    return made


def _submit(doors: Doors, door: Door, run: str) -> ActionId:
    if door is Door.CLIENT:
        return orchard.picks.submit((1,), run=run).action
    doors.cli("submit", "orchard.picks", "--args", '{"n": 1}', "--run", run)
    return ActionId("default", "development", run, "a0")


def _signal(doors: Doors, door: Door, run: str) -> ActionId:
    action = asked(doors, run).action
    if door is Door.CLIENT:
        doors.client.signal(action, True)
    elif door is Door.CLI:
        doors.cli("signal", run, "true")
    else:
        doors.press(f"/actions/{action}/signal", {"value": True})
    return action


def _abort(doors: Doors, door: Door, run: str) -> ActionId:
    action = asked(doors, run).action
    if door is Door.CLIENT:
        doors.client.abort(action, "enough")
    elif door is Door.CLI:
        doors.cli("abort", run, "--reason", "enough", "--yes")
    else:
        doors.press(f"/actions/{action}/abort", {"reason": "enough"})
    return action


def _prioritize(doors: Doors, door: Door, run: str) -> ActionId:
    made = orchard.naps.submit((2.0,), run=run)
    if door is Door.CLIENT:
        doors.client.prioritize(made.action, 7)
    elif door is Door.CLI:
        doors.cli("prioritize", run, "7")
    else:
        doors.press(f"/actions/{made.action}/prioritize", {"priority": 7})
    return made.action


def _again(verb: str) -> Callable[[Doors, Door, str], ActionId]:
    def act(doors: Doors, door: Door, run: str) -> ActionId:
        source = ended(doors, run)
        if door is Door.CLIENT:
            given: dict[str, Any] = {"inputs": {"a0": {"text": "!never"}}} if verb == "fork" else {}
            return getattr(doors.client, verb)(source.id, **given).action  # type: ignore[no-any-return]  # chosen by name
        if door is Door.CLI:
            more = ("--input", 'a0={"text": "!never"}') if verb == "fork" else ()
            made = doors.cli(verb, run, *more)["run"]
        else:
            body = {"inputs": {"text": "!never"}} if verb == "fork" else {}
            made = doors.press(f"/actions/{source.action}/{verb}", body)["run"]
        return ActionId("default", "development", made.rpartition("/")[2], "a0")

    return act


DO: dict[str, Callable[[Doors, Door, str], ActionId]] = {
    "submit": _submit,
    "signal": _signal,
    "abort": _abort,
    "prioritize": _prioritize,
    **{verb: _again(verb) for verb in ("rerun", "recover", "fork")},
}


def noted(record: TaskAction, verb: str) -> tuple[str, str]:
    """Return actor and door that a record has noted for a verb."""
    metadata = record.metadata
    if verb == "abort":
        assert metadata.deletion is not None
        return metadata.deletion.actor, metadata.deletion.door
    if verb == "signal":
        assert record.signal is not None
        return record.signal.by, record.signal.door
    if verb == "prioritize":
        assert metadata.prioritized is not None
        assert metadata.priorities == (metadata.prioritized,)
        return metadata.prioritized.actor, metadata.prioritized.door
    assert metadata.submitted is not None
    return metadata.submitted.actor, metadata.submitted.door


def check(doors: Doors, action: ActionId, verb: str, door: Door) -> None:
    """Check what is told of a run that lives, then of the same run in the archive, on the page and by the command too."""
    wanted = (ACTORS[door], str(door))
    assert noted(doors.client.get(action), verb) == wanted
    eventually(lambda: doors.has_ended(action), PATIENCE)

    def archived() -> bool:
        doors.collected()
        return doors.client.get(action).archived

    eventually(archived, PATIENCE)
    assert noted(doors.client.get(action), verb) == wanted
    field = {"abort": "deletion", "signal": "signal", "prioritize": "prioritized"}.get(verb, "submitted")
    for shown in (doors.site.api(f"/actions/{action}"), doors.cli("get", str(action))):
        assert (shown["archived"], shown[field]["door"]) == (True, str(door))
        assert shown[field].get("actor", shown[field].get("by")) == wanted[0]
    if verb != "prioritize":
        events = doors.client.events(action)
        assert events[-1 if verb in {"abort", "signal"} else 0].actor == wanted[0]


CASES = [(verb, door) for verb in RUN_VERBS for door in ACTORS if (verb, door) != ("submit", Door.FLOWER)]


@pytest.mark.parametrize(("verb", "door"), CASES, ids=[f"{verb}-{door}" for verb, door in CASES])
def test_who_did_it_is_told(doors: Doors, verb: str, door: Door) -> None:
    """In the record with its door, in the events, and in all of them when the run lies in the archive."""
    check(doors, DO[verb](doors, door, f"one-{verb}-{door}"), verb, door)


@pytest.mark.parametrize("door", ACTORS)
@pytest.mark.parametrize("verb", BulkVerb)
def test_who_did_it_to_many_is_told(doors: Doors, verb: BulkVerb, door: Door) -> None:
    """Of each run as if it had been one alone, and with the plan."""
    run = f"bulk-{verb}-{door}-x"
    source = asked(doors, run) if verb is BulkVerb.ABORT else ended(doors, run)
    reason = "enough" if verb is BulkVerb.ABORT else ""
    if door is Door.CLIENT:
        plan = doors.client.bulk.plan(verb, [RunLife(source.id, source.incarnation)], reason=reason)
        plan.carry_out()
        name = plan.plan.name
    elif door is Door.CLI:
        more = ("--reason", reason) if reason else ()
        name = doors.cli("bulk", verb, "--name", run, *more, "--yes")["bulk"]
    else:
        counted = doors.site.api(f"/matching/{verb}?name={run}")
        assert counted["count"] == 1
        body = {"query": {"name": run}, "count": 1, "bulk": counted["bulk"]}
        name = doors.press(
            f"/matching/{verb}", {**body, **({"values": {"reason": reason}} if reason else {})}
        )["bulk"]
    by = doors.client.bulk.open(name, "default").plan.by
    assert (by.actor, by.door) == (ACTORS[door], str(door))
    [done] = doors.client.bulk.open(name, "default").done()
    made = ActionId(
        "default", "development", (done.made or str(source.id)).rpartition("/")[2].partition("@")[0], "a0"
    )
    check(doors, made, str(verb), door)


@pytest.mark.parametrize("door", [Door.CLIENT, Door.CLI])
def test_who_deleted_is_told(doors: Doors, door: Door) -> None:
    """In the trace, which stays when the run has gone."""
    source, history = ended(doors, f"deleted-{door}"), doors.client.history
    if door is Door.CLIENT:
        history.delete(history.plan_delete(source.id, reason="asked"))
    else:
        doors.cli("history", "delete", source.id.run, "--reason", "asked", "--yes")
    [trace] = [one for one in history.deleted() if any(run.startswith(f"{source.id}@") for run in one.runs)]
    assert (trace.by.actor, trace.by.door, trace.reason) == (ACTORS[door], str(door), "asked")


@pytest.mark.parametrize("door", [Door.CLIENT, Door.CLI])
def test_who_ruled_a_queue_is_told(doors: Doors, door: Door) -> None:
    """With the queue, each time."""
    queue, client = f"ruled-{door}", doors.client
    if door is Door.CLIENT:
        client.pause_queue(queue)
        client.limit_queue(queue, 3)
        client.move_queue(queue, "spare")
        client.resume_queue(queue)
    else:
        for verb, *more in (("pause",), ("limit", "3"), ("move", "spare"), ("resume",)):
            doors.cli("queue", verb, queue, *more)
    told = client.queues(queue)[0].ruled
    assert [one.what.split()[0] for one in told] == list(QUEUE_VERBS)
    assert {(one.actor, one.door) for one in told} == {(ACTORS[door], str(door))}


def test_no_button_is_forgotten_here() -> None:
    """Each is among the verbs above: a new one gets its line here."""
    assert set(BUTTONS) <= set(RUN_VERBS)
