"""Runs made of ended runs: rerun, recover, fork."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from reconciler import TaskEnvironment
from reconciler.api.action import RunId, TaskAction
from reconciler.api.errors import (
    ActionConflict,
    ActionFailed,
    ActionNotFound,
    InvalidArguments,
    InvalidSpec,
    NothingToRecover,
    ReconcilerError,
    SourceUnusable,
)
from reconciler.api.phase import ActionPhase
from reconciler.archive.bulk import BulkVerb
from reconciler.archive.query import Question
from reconciler.archive.requests import FIRST, LAST
from reconciler.client import Client, Run, sources
from reconciler.client.bulk import NOTHING
from reconciler.client.incarnation import OneIncarnation
from reconciler.core.functions import registry
from reconciler.core.published import LARGEST
from reconciler.stores.holds import RunLife
from reconciler.sweeps.collect import collect
from reconciler.testing import Lab
from reconciler.testing.invariants import check_settled

env = TaskEnvironment("again")
broken: set[int] = set()
called: list[int] = []


@env.task()
def square(n: int, pad: str = "") -> str:
    """Square a number, but none that is broken; the padding comes back, so that outputs are large."""
    called.append(n)
    if n in broken:
        raise ValueError(n)
    return f"{n * n}{pad}"


@env.task()
def total(count: int) -> int:
    """Start a call for each number, and add up what they give."""
    return sum(int(square.delay(n).result()) for n in range(count))


@env.task()
def tolerant(count: int) -> int:
    """Start a call for each number, and count those that succeeded."""
    good = 0
    for n in range(count):
        with suppress(ActionFailed):
            good += bool(square.delay(n).result())
    return good


@env.task()
def other(n: int) -> str:
    """Do it another way."""
    return f"other {n}"


@env.task()
def dated(n: date, pad: str = "") -> str:
    """Take what `square` takes, but a day instead of a number."""
    return f"{n}{pad}"


@pytest.fixture
def lab() -> Lab:
    """A lab that submits what `env` declares; its collector removes objects, too."""
    lab = Lab(collect_objects=True)
    env.client = lab.client
    broken.clear()
    called.clear()
    return lab


def done(lab: Lab, run: Run[Any]) -> Run[Any]:
    """Return a run, once it has ended."""
    lab.work()
    return run


def failed_map(lab: Lab, count: int = 4, pad: str = "", **options: Any) -> Run[Any]:
    """Return a run of which `broken` failed, which nothing breaks any more; what it called is forgotten."""
    run = done(lab, square.map(range(count), pad=pad, **options))
    broken.clear()
    called.clear()
    return run


def phases(lab: Lab, run: Run[Any]) -> dict[str, str]:
    """Phase of each action, by name."""
    return {record.id.action: str(record.phase) for record in lab.client.actions(run.id)}


def test_rerun_runs_all_again(lab: Lab) -> None:
    """A new run of the same tasks and inputs, of another name; nothing of the first one is used."""
    first = failed_map(lab)
    second = done(lab, first.rerun())
    assert second.id != first.id
    assert sorted(called) == [0, 1, 2, 3]
    assert second.result() == ["0", "1", "4", "9"]
    assert set(phases(lab, second).values()) == {"succeeded"}
    check_settled(lab)


def test_recover_runs_what_did_not_succeed(lab: Lab) -> None:
    """What succeeded is recovered, with its outputs and from where; the rest and the join run."""
    broken.update({1, 3})
    first = failed_map(lab)
    second = done(lab, first.recover())
    assert sorted(called) == [1, 3]
    assert second.result() == ["0", "1", "4", "9"]
    assert phases(lab, second) == {
        "a0": "succeeded", "m0": "recovered", "m1": "succeeded", "m2": "recovered", "m3": "succeeded",
    }  # fmt: skip
    taken = lab.get(second.id.action("m2"))
    assert taken.status.phase_history[0].message == f"taken over from {first.id}@{first.incarnation}/m2"
    assert taken.metadata.lineage is not None
    assert (taken.metadata.lineage.verb, taken.metadata.lineage.source) == (
        "recover",
        f"{first.id}@{first.incarnation}",
    )
    assert taken.status.outputs == lab.get(first.id.action("m2")).status.outputs
    check_settled(lab)


def test_both_know_of_each_other(lab: Lab) -> None:
    """The new run says what it was made of, the source what was made of it, as long as both are stored."""
    broken.add(1)
    first = failed_map(lab)
    life = RunLife(first.id, first.incarnation)
    second, third = done(lab, first.recover()), done(lab, first.rerun())
    assert (lab.client.made_of(first.id), lab.client.made_of(second.id)) == (None, life)
    assert lab.client.made_into(life) == sorted([second.id, third.id])
    assert lab.client.made_into(RunLife(second.id, second.incarnation)) == []
    with pytest.raises(ActionNotFound):
        lab.client.made_of(RunId("default", "development", "none"))


def test_fork_runs_what_changed_and_what_waits_for_it(lab: Lab) -> None:
    """One leaf with another input, and the join: nothing else runs."""
    first = failed_map(lab)
    second = done(lab, first.fork(inputs={"m2": {"n": 7}}))
    assert called == [7]
    assert second.result() == ["0", "1", "49", "9"]
    changed = lab.get(second.id.action("m2")).metadata.lineage
    assert changed is not None
    assert changed.changed


def test_fork_with_another_spec_and_again(lab: Lab) -> None:
    """A leaf is another task now, another one runs again as it is."""
    first = failed_map(lab)
    second = done(lab, first.fork(specs={"m0": other.spec((5,), {})}, again=["m3"]))
    assert called == [3]
    assert second.result() == ["other 5", "1", "4", "9"]


def test_a_lone_call(lab: Lab) -> None:
    """A run of one action is recovered by running it, and forked by its name `a0`."""
    broken.add(3)
    first = done(lab, square.delay(3))
    broken.clear()
    second = done(lab, first.recover())
    assert second.result() == "9"
    assert done(lab, second.fork(inputs={"a0": {"n": 4}})).result() == "16"


def test_large_inputs_and_outputs_are_pointed_to(lab: Lab) -> None:
    """Nothing is copied, and nothing of the source goes from S3 while somebody points to it, over generations."""
    pad = "x" * 5000
    broken.add(1)
    first = failed_map(lab, pad=pad)
    second = done(lab, first.recover())
    third = second.fork(again=["m3"])
    lab.clock.advance(timedelta(minutes=59))
    done(lab, third)
    lab.clock.advance(timedelta(minutes=2))
    for _ in range(2):
        collect(lab.store, lab.settings, lab.blobs)
    assert lab.store.get(first.action) is None
    assert third.result() == [f"{n * n}{pad}" for n in range(4)]
    for waited in (
        timedelta(hours=2),
        timedelta(days=32),
    ):  # until it is forgotten, and until it leaves the archive
        lab.clock.advance(waited)
        for _ in range(4):
            collect(lab.store, lab.settings, lab.blobs)
    assert lab.client.runs() == []
    assert all(
        not lab.store.holds(shard) and not lab.store.garbage(shard) for shard in range(lab.store.shards)
    )
    assert lab.blobs.delete_prefix(lab.blobs.uri("_runs")) == 0


def test_a_group_that_keeps_failures(lab: Lab) -> None:
    """Its root succeeded, and yet what failed below it runs again, and the join."""
    broken.add(1)
    first = failed_map(lab, keep_failures=True)
    assert first.phase is ActionPhase.SUCCEEDED
    second = done(lab, first.recover())
    assert (called, second.result()) == ([1], ["0", "1", "4", "9"])


@pytest.mark.parametrize("concurrency", [None, 2])
def test_a_map_that_returns_its_errors(lab: Lab, concurrency: int | None) -> None:
    """What is made of it by its handle returns them, too."""
    broken.update({1, 2})
    first = done(lab, square.map(range(3), concurrency=concurrency, return_exceptions=True))
    broken.remove(1)
    for make in (first.recover, first.rerun, lambda: first.fork(again=["m0"])):
        found = list(done(lab, make()).result())
        assert [isinstance(each, ActionFailed) for each in found] == [False, False, True]


def test_an_answer_is_recovered(lab: Lab) -> None:
    """What a person said once need not be asked again; a rerun asks."""
    first = lab.client.submit_many([square.spec((1,), {})])
    lab.client.condition("ship", run=first.id.run, parent="a0")
    lab.step()
    lab.client.signal(first.id.action("ship"), True, by="ada")
    broken.add(1)
    done(lab, first)
    broken.clear()
    second = done(lab, first.recover())
    record = lab.get(second.id.action("ship"))
    assert record.phase is ActionPhase.RECOVERED
    assert record.signal is not None
    assert (record.signal.value, record.signal.by) == (True, "ada")
    asked = first.rerun()
    lab.step()
    assert lab.get(asked.id.action("ship")).phase is ActionPhase.PAUSED


def test_the_same_key_gives_the_first(lab: Lab) -> None:
    """A client that died may call again: nothing is stored twice, and what is missing is added."""
    broken.add(1)
    first = failed_map(lab)
    one = first.recover(idempotency_key="x")
    assert first.recover(idempotency_key="x").id == one.id
    done(lab, one)
    assert called == [1]
    assert first.recover(idempotency_key="x").result() == one.result()
    named = first.recover(name="mine")
    assert named.id.run == "mine"


def test_a_function_finds_what_it_started(lab: Lab) -> None:
    """Run again, it starts what it started before, and finds by name what was taken over."""
    broken.add(2)
    first = done(lab, total.delay(4))
    broken.clear()
    called.clear()
    second = done(lab, first.recover())
    assert second.result() == 14
    assert called == [2, 3]
    assert list(phases(lab, second).values()).count("recovered") == 2
    check_settled(lab)


def test_labels_and_turns_stay(lab: Lab) -> None:
    """Labels, priority and fair key are those of the source; a countdown is not waited for again."""
    broken.add(1)
    spec = square.spec((1,), {})
    run = lab.client.submit(spec, labels={"team": "x"}, priority=7, fair_key="k", countdown=5)
    done(lab, run)
    broken.clear()
    record = lab.get(run.recover().action)
    assert (record.metadata.extra_labels, record.metadata.priority, record.metadata.fair_key) == (
        {"team": "x"},
        7,
        "k",
    )
    assert record.metadata.not_before == 0


# -- refused -----------------------------------------------------------------------------------------------------------
def refused(call: Callable[[], object], kind: type[ReconcilerError], *words: str) -> None:
    """Check that the call is refused with an error of this kind whose sentence has these words."""
    with pytest.raises(kind) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.usefixtures("lab")
def test_of_a_run_that_lives() -> None:
    """It is refused, and says how many actions live and what to do."""
    run = square.map(range(3))
    for call in (run.rerun, run.recover, lambda: run.fork(again=["m0"])):
        refused(
            call, SourceUnusable, "alive", "4 of its 4 actions", f"`reconciler abort {run.id} --reason WHY`"
        )


def test_of_a_run_that_never_was(lab: Lab) -> None:
    """It is not found; nor is one whose name a later run has."""
    missing = RunId("default", "development", "never")
    refused(lambda: lab.client.recover(missing), ActionNotFound, "never")
    first = done(lab, square.submit((2,), run="same"))
    lab.clock.advance(timedelta(hours=2))
    collect(lab.store, msgspec.structs.replace(lab.settings, archive=timedelta(0)), lab.blobs)
    done(lab, square.submit((2,), run="same"))
    refused(first.rerun, ActionNotFound, "a later run has its name")


def test_of_a_run_that_succeeded(lab: Lab) -> None:
    """There is nothing to recover."""
    first = failed_map(lab)
    refused(first.recover, SourceUnusable, "nothing is to be recovered", "`reconciler rerun`")


def test_of_outputs_that_are_gone(lab: Lab) -> None:
    """A rule of the bucket has deleted some: the sentence says which, and how to go on; that way works."""
    broken.add(1)
    first = failed_map(lab, pad="x" * 5000)
    ref = lab.get(first.id.action("m2")).status.outputs
    assert ref is not None
    lab.blobs.delete_prefix(ref.uri.rpartition("/")[0])
    refused(
        first.recover,
        SourceUnusable,
        "1 of",
        "are gone from S3",
        "/m2",
        f"`reconciler fork {first.id} --again m2`",
    )
    second = done(lab, first.fork(again=["m2"]))
    assert len(second.result()) == 4
    assert sorted(called) == [1, 2]
    more = lab.get(first.id.action("m3")).status.outputs
    assert more is not None
    lab.blobs.delete_prefix(more.uri.rpartition("/")[0])
    both = f"`reconciler fork {first.id} --again m2 --again m3`"  # what is told once works: it names what was named, too
    refused(first.recover, SourceUnusable, "2 of 3 outputs", both)
    refused(lambda: first.fork(again=["m2"]), SourceUnusable, "1 of 2 outputs", both)
    assert len(done(lab, first.fork(again=["m2", "m3"])).result()) == 4


@pytest.mark.parametrize("archived", [False, True])
def test_of_outputs_that_were_cut(lab: Lab, *, archived: bool) -> None:
    """They are as good as gone, and found without reading them: the sentence says how to go on, and that way works."""
    broken.add(1)
    first = failed_map(lab, pad="x" * 5000)
    refs = {name: lab.get(first.id.action(name)).status.outputs for name in ("m0", "m2", "m3")}
    if archived:
        lab.clock.advance(timedelta(hours=2))
        collect(lab.store, lab.settings, lab.blobs)
        assert lab.client.get(first.action).archived
    for name, text in {"m0": b"", "m2": None, "m3": lab.blobs.get(refs["m3"].uri)[:-1]}.items():
        if text is None:
            lab.blobs.delete([refs[name].uri])
        else:
            lab.blobs.put(refs[name].uri, text)
    way = f"`reconciler fork {first.id} --again m0 --again m2 --again m3`"
    refused(first.recover, SourceUnusable, "1 of 3 outputs", "/m2", "and 2 have another size", way)
    refused(
        lambda: first.fork(again=["m2"]), SourceUnusable, "2 of 2 outputs", "were changed in S3", "/m0", way
    )
    bulk = lab.client.bulk.plan(BulkVerb.RECOVER, [RunLife(first.id, first.incarnation)])
    [refusal] = bulk.carry_out()
    assert way in refusal.refused
    assert lab.client.made_into(RunLife(first.id, first.incarnation)) == []
    second = done(lab, first.fork(again=["m0", "m2", "m3"]))
    assert second.result() == [f"{n * n}{'x' * 5000}" for n in range(4)]


def test_of_inputs_that_are_gone(lab: Lab) -> None:
    """Nothing can be run again without them, so no command is named that would be refused as well."""
    broken.add(1)
    first = failed_map(lab, pad="x" * 5000)
    inputs = [lab.get(first.id.action(name)).spec.input_uri for name in ("m0", "m1")]
    for uri in inputs:
        lab.blobs.delete_prefix(uri)
    refused(first.recover, SourceUnusable, "1 of 1 inputs", f"{first.id}/m1", "Submit it anew")
    refused(first.rerun, SourceUnusable, "2 of 4 inputs", f"{first.id}/m0", "Submit it anew")
    specs = {"m1": square.spec((5,), {"pad": "y" * 5000})}
    assert done(lab, first.fork(specs=specs)).result()[1] == f"25{'y' * 5000}"


@pytest.mark.parametrize("text", [b"", b'{"n": 2, "pad": "y"}', None], ids=["emptied", "other", "cut"])
def test_of_inputs_that_were_changed(lab: Lab, text: bytes | None) -> None:
    """They are as good as gone: nobody could read them, so nothing is made of them by any verb."""
    broken.add(1)
    first = failed_map(lab, pad="x" * 5000)
    uri = f"{lab.get(first.id.action('m1')).spec.input_uri}/inputs.pb"
    lab.blobs.put(uri, lab.blobs.get(uri)[:-1] if text is None else text)
    told = ("inputs", "were changed in S3", f"{first.id}/m1", "Submit it anew")
    for verb in (first.recover, first.rerun, lambda: first.fork(again=["m2"])):
        refused(verb, SourceUnusable, *told)
    specs = {"m1": square.spec((5,), {"pad": "y" * 5000})}
    assert done(lab, first.fork(specs=specs)).result()[1] == f"25{'y' * 5000}"


def test_large_inputs_are_not_read_before(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who recovers a run of gigabytes does not load them first."""
    monkeypatch.setattr(sources, "_READ", 4000)
    broken.add(1)
    first = failed_map(lab, pad="x" * 5000)
    monkeypatch.setattr(lab.blobs, "get", None)
    assert first.recover().id != first.id


def test_when_all_outputs_of_many_are_gone(lab: Lab) -> None:
    """Nobody types more than twenty names: all again."""
    broken.add(0)
    first = failed_map(lab, count=30, pad="x" * 5000)
    for record in lab.client.actions(first.id):
        if record.status.outputs is not None and record.status.outputs.inline is None:
            lab.blobs.delete_prefix(record.status.outputs.uri.rpartition("/")[0])
    refused(
        first.recover, SourceUnusable, "29 of 29 outputs", f"Run them again: `reconciler rerun {first.id}`"
    )
    assert len(done(lab, first.rerun()).result()) == 30


def test_of_another_interface(lab: Lab) -> None:
    """Living workers have another one: refused, unless the fork brings new specs, or nothing is reused."""
    broken.add(1)
    first = failed_map(lab)
    lab.store.tell_functions("w", lab.settings.attempts_queue, {square.name: "0123456789abcdef"}, 60_000)
    refused(first.recover, SourceUnusable, "another interface now", f"`reconciler rerun {first.id}`")
    refused(lambda: first.fork(again=["m0"]), SourceUnusable, "another interface now")
    first.rerun()
    assert first.fork(specs={f"m{n}": other.spec((n,), {}) for n in range(4)}).id != first.id


def test_of_inputs_that_fit_no_longer(lab: Lab) -> None:
    """The function takes a text now: a rerun is refused before anything is stored, and not recommended."""
    broken.add(1)
    first = failed_map(lab)
    queue, name = lab.settings.attempts_queue, square.name
    lab.store.tell_functions("w", queue, {name: "0123456789abcdef"}, 60_000)
    document = registry.published(LARGEST)[dated.name].replace(dated.name.encode(), name.encode())
    assert lab.store.publish("newer", {name: document}, 60_000)
    refused(
        first.rerun, SourceUnusable, "another interface now", "the inputs of", "do not fit", "Submit it anew"
    )
    with pytest.raises(SourceUnusable, match="submit it anew") as told:
        first.recover()
    assert "reconciler rerun" not in str(told.value)
    assert [summary.id for summary in lab.client.runs()] == [first.id]


def test_the_name_is_told_before_anything_is_stored(lab: Lab) -> None:
    """Only then: of a call that is refused there is nothing to go on with."""
    told: list[RunId] = []
    lab.client.before_storing = [told.append]
    broken.add(1)
    first = failed_map(lab)
    refused(lambda: first.fork(again=["m9"]), ActionNotFound, "m9")
    lab.client.before_storing = [lambda run: told.extend([run] if lab.store.counts(run) is None else [])]
    assert told == []
    assert [first.recover().id] == told


def test_of_an_incarnation_that_never_was(lab: Lab) -> None:
    """Whoever reads or uses it learns that it is the incarnation, and where those there are stand."""
    first = failed_map(lab)
    shown = f"`reconciler history --name {first.id.run} --project default`"
    refused(
        lambda: lab.client.recover(first.id, incarnation="zzz"), ActionNotFound, "the incarnation zzz", shown
    )
    reader = OneIncarnation(lab.client, first.action, "zzz")
    refused(lambda: reader.get(first.action), ActionNotFound, "has the incarnation zzz", shown)
    refused(lambda: lab.client.get(first.id.action("m9")), ActionNotFound, "`reconciler history deleted`")


def test_of_a_run_half_forgotten(lab: Lab) -> None:
    """A part that is forgotten already is noticed, and never half a run made."""
    broken.add(1)
    first = failed_map(lab)
    state, gone = lab.store.shard(first.action), first.id.action("m2")
    del state.records[str(gone)]
    state.tree[first.id].remove("a0/m2")
    refused(first.recover, SourceUnusable, "stored no more", "RECONCILER_RETENTION")


def test_forks_that_make_no_sense(lab: Lab) -> None:
    """Each mistake is told in a sentence."""
    first = failed_map(lab)
    refused(first.fork, InvalidSpec, "a fork changes something")
    refused(lambda: first.fork(again=["m9"]), ActionNotFound, "m9")
    refused(lambda: first.fork(inputs={"m1": {"x": 1}}), InvalidArguments, "no input 'x'", "n, pad")
    refused(lambda: first.fork(inputs={"m1": {"n": object()}}), InvalidArguments, "JSON")
    refused(lambda: first.fork(inputs={"a0": {"expected": 1}}), InvalidSpec, "no task of its own")
    refused(lambda: first.rerun(name=first.id.run), InvalidSpec, "keeps its name")
    refused(lambda: first.rerun(name="a", idempotency_key="b"), InvalidSpec, "not both")
    taken = done(lab, square.submit((1,), run="taken"))
    refused(lambda: first.rerun(name=taken.id.run), ActionConflict, "made otherwise: by a submission")


def test_a_client_that_slept_stores_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between reading and storing it was stopped for longer than the source was held: refused, nothing stored."""
    broken.add(1)
    first = failed_map(lab)
    create = lab.store.create

    def late(actions: list[TaskAction], **given: Any) -> object:
        lab.clock.advance(timedelta(minutes=5))
        return create(actions, **given)

    monkeypatch.setattr(lab.store, "create", late)
    refused(lambda: first.recover(name="late"), SourceUnusable, "could not be stored in time", "Try again")
    monkeypatch.undo()
    assert lab.store.counts(RunId("default", "development", "late")) is None
    assert done(lab, first.recover(name="late")).result() == ["0", "1", "4", "9"]


def test_nothing_is_collected_meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector comes between reading and storing: the source is kept for as long as it is held."""
    broken.add(1)
    first = failed_map(lab, pad="x" * 5000)
    lab.clock.advance(timedelta(hours=2))
    stat = lab.blobs.stat

    def collected(uri: str) -> object:
        collect(lab.store, lab.settings, lab.blobs)
        return stat(uri)

    monkeypatch.setattr(lab.blobs, "stat", collected)
    second = first.recover()
    monkeypatch.undo()
    collect(lab.store, lab.settings, lab.blobs)
    collect(lab.store, lab.settings, lab.blobs)
    assert len(done(lab, second).result()) == 4
    assert lab.store.get(first.action) is None


def test_a_failed_recover_fails_as_any_run(lab: Lab) -> None:
    """What is still broken fails again, and can be recovered again from the new run."""
    broken.update({1, 2})
    first = failed_map(lab)
    broken.add(2)
    second = done(lab, first.recover())
    with pytest.raises(ActionFailed):
        second.result()
    broken.clear()
    called.clear()
    third = done(lab, second.recover())
    assert (called, third.result()) == ([2], ["0", "1", "4", "9"])
    again: Client = lab.client
    assert again.made_of(third.id) == RunLife(second.id, second.incarnation)


def test_a_name_that_another_call_has_taken(lab: Lab) -> None:
    """By another verb, changes or source, or a submission: refused, and it says by which; the same call goes on."""
    broken.add(1)
    first = failed_map(lab)
    broken.add(1)
    second = failed_map(lab)
    made = first.recover(name="new")
    for call, how in (
        (lambda: first.rerun(name="new"), "by recover of "),
        (lambda: first.fork(again=["m0"], name="new"), "by recover of "),
        (lambda: second.recover(name="new"), "by recover of "),
    ):
        refused(call, ActionConflict, "the run default/development/new exists, and was made otherwise", how)
    first.fork(again=["m0"], name="fork")
    refused(lambda: first.fork(again=["m2"], name="fork"), ActionConflict, "with other changes")
    refused(lambda: first.fork(again=["m0", "m2"], name="fork"), ActionConflict, "with other changes")
    refused(lambda: first.fork(inputs={"m0": {"n": 5}}, name="fork"), ActionConflict, "differ: inputs")
    square.submit((1,), run="plain")
    refused(lambda: first.recover(name="plain"), ActionConflict, "by a submission")
    lab.work()
    assert first.recover(name="new").incarnation == made.incarnation
    assert first.fork(again=["m0"], name="fork").id.run == "fork"


def test_what_a_function_has_dealt_with_is_not_recovered(lab: Lab) -> None:
    """A child failed, its parent went on and succeeded: the client says so, and a bulk counts it apart."""
    broken.add(1)
    run = tolerant.submit((3,), run="tolerant")
    lab.work()
    assert run.result() == 2
    text = r"1 of the 4 actions .* did not succeed, .*went on without, and succeeded, so nothing is to be recovered"
    with pytest.raises(NothingToRecover, match=text):
        run.recover()
    with pytest.raises(SourceUnusable, match=r"^1 action of the run .* succeeded, so nothing"):
        done(lab, square.submit((2,), run="good")).recover()
    question = Question(project="default", since=FIRST, until=LAST)
    found = lab.client.bulk.find(BulkVerb.RECOVER, question)
    assert [row.run for row in found.rows] == ["tolerant"]
    [told] = lab.client.bulk.plan(BulkVerb.RECOVER, found.rows).carry_out()
    assert (told.made, told.outcome, told.refused) == ("", NOTHING, "")
