"""Outputs of siblings that share an object, on real servers: each reader gives the answer it gives without packs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import cli_functions
import msgspec
import pytest
from cli_support import Backend, backend_on, eventually
from s3_proxy import FaultyProxy

from reconciler.api.action import RunId
from reconciler.api.errors import ActionNotFound, BlobNotFound
from reconciler.api.phase import ActionPhase
from reconciler.archive.forgetting import forget_run
from reconciler.archive.layout import run_path
from reconciler.broker.conf import build_app
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.core.layout import read_part
from reconciler.embedded.servers import EmbeddedServers
from reconciler.stores.holds import RunLife
from reconciler.stores.s3 import S3Blobs
from reconciler.sweeps.collect import collect
from reconciler.sweeps.expire import expire
from worker.attempts import batch
from worker.attempts.batch import Batch
from worker.attempts.flower import Telling
from worker.attempts.heartbeat import keeper
from worker.dashboard import detail

pytestmark = pytest.mark.servers
SETTINGS = {
    "RECONCILER_SHARDS": "1",
    "RECONCILER_INLINE_LIMIT": "1",
    "RECONCILER_COLLECT_OBJECTS": "true",
    "RECONCILER_SUSPEND_AFTER": "0",
}
MANY = 9
DRAWS = 6
"""How many draws they are, as one takes a quarter of a line: 3, 2, 1, 1, 1, 1."""


@pytest.fixture(params=["packed", "each"])
def backend(
    request: pytest.FixtureRequest, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Backend]:
    """An installation with packs and one without; no record carries a copy of its outputs."""
    monkeypatch.setattr(batch, "_TURN", 60.0)  # nothing is given back by itself
    packs = "1024" if request.param == "packed" else "0"
    with backend_on(servers, monkeypatch, RECONCILER_PACK_OUTPUTS=packs, **SETTINGS) as made:
        cli_functions.env.client = made.client
        yield made


def is_packed(backend: Backend) -> bool:
    """Tell which of the two it is."""
    return backend.settings.pack_outputs > 0


def started(backend: Backend, count: int = MANY) -> Run[list[float]]:
    """Submit sibling calls that return at once, and decide on all."""
    run = cli_functions.rest.map([index / 1000 for index in range(count)])
    decide(backend, count)
    return run


def decide(backend: Backend, count: int) -> None:
    """Take steps until so many calls stand in line."""

    def standing() -> bool:
        backend.engine.stepper.step(0)
        return sum(backend.store.launches_waiting().values()) == count

    eventually(standing)


def drawn(backend: Backend, limit: int = MANY, lease: int = 6_000) -> Batch:
    """Draw them together."""
    [head] = backend.store.look(0).lines
    found = backend.store.draw(0, head.line, owner="w", limit=limit, lease=lease).actions
    assert found
    return Batch(backend.engine, 0, head.line, "w", found, Telling(build_app(backend.settings), "here"))


def ended(backend: Backend) -> Run[list[float]]:
    """Return a run whose calls were drawn together, and have ended."""
    run = started(backend)
    assert draw_all(backend) == DRAWS
    backend.end(run.id.run)
    return run


def draw_all(backend: Backend) -> int:
    """Draw and run all that stands in line; return how many draws they were."""
    draws = 0
    while backend.store.look(0).lines:
        together = drawn(backend)
        together.run()
        together.report()
        draws += 1
    return draws


def objects(backend: Backend, run: RunId) -> list[str]:
    """List the outputs of a run in S3: packs, and objects of their own."""
    keys, after = list[str](), ""
    while page := S3Blobs(backend.settings).page(after):
        keys += [one.key for one in page]
        after = keys[-1]
    return [
        key for key in keys if f"/{run.run}@" in key and ("/packs/" in key or key.endswith("/outputs.pb"))
    ]


def test_a_draw_is_one_object(backend: Backend) -> None:
    """With packs the outputs of a draw are one object; without, each call has its own."""
    run = ended(backend)
    assert len(objects(backend, run.id)) == (DRAWS if is_packed(backend) else MANY)


def test_every_reader_gives_the_same_answer(backend: Backend) -> None:
    """Client, outcomes, events, pages and the command line; the digest is checked."""
    run = ended(backend)
    assert run.result(timeout=60) == [index / 1000 for index in range(MANY)]
    assert list(run.outcomes()) == run.result(timeout=60)
    for index in (0, 1, 8):
        action = run.id.action(f"m{index}")
        ref = backend.client.get(action).status.outputs
        assert ref is not None
        assert ref.inline is None
        assert (read_part(ref.uri) is not None) is (is_packed(backend) and index < 5)
        assert json.loads(backend.client.blobs.get(ref.uri, sha256=ref.sha256)) == {"o0": index / 1000}
        assert backend.client.result(action, 60) == index / 1000
        last = backend.client.events(action)[-1]
        assert last.outputs is not None
        assert last.outputs.output_uri == ref.uri
        assert backend.answer("get", str(action))["outputs"]["uri"] == ref.uri
        assert backend.answer("result", str(action)) == index / 1000
        page = detail.action_page(backend.client, action, read_only=True)
        assert json.loads(page["outputs_preview"]["text"]) == {"o0": index / 1000}
        assert json.loads(detail.whole_document(backend.client, action, "outputs")) == {"o0": index / 1000}
        assert "wrote nothing" in backend.reconciler("logs", str(action)).output


def test_an_archived_run_is_read_as_before(backend: Backend) -> None:
    """Its record, events and outputs are found in the archive; the audit has no complaint; all goes with the archive."""
    run = ended(backend)
    action = run.id.action("m1")
    before = [backend.reconciler(verb, str(action)).stdout for verb in ("events", "result")]
    outputs = backend.answer("get", str(action))["outputs"]
    kept = objects(backend, run.id)
    archived(backend)
    assert [backend.reconciler(verb, str(action)).stdout for verb in ("events", "result")] == before
    assert backend.answer("get", str(action))["outputs"] == outputs
    checks = backend.parsed(backend.reconciler("doctor", "--audit", "--older", "0s", "--json"))["checks"]
    assert [check["problems"] for check in checks if check["name"] == "objects"] == [[]]
    assert objects(backend, run.id) == kept
    eventually(lambda: not _expired(backend, run))


def archived(backend: Backend) -> None:
    """Archive and forget what has ended."""
    now = msgspec.structs.replace(backend.settings, retention=timedelta(0))
    eventually(lambda: collect(backend.store, now, backend.engine.blobs) or not backend.client.runs())


def _expired(backend: Backend, run: Run[list[float]]) -> list[str]:
    """Empty the archive; return what is left of a run."""
    expire(backend.store, backend.engine.blobs, backend.store.now() + 48 * 3_600_000, objects=True)
    return objects(backend, run.id)


def test_a_parent_reads_its_children(backend: Backend) -> None:
    """Also when it was suspended, and reads them in a replay; a cached one gives up its children's pack alone."""
    run = cli_functions.rests.delay(MANY)
    decide(backend, 1)
    parent = drawn(backend)
    parent.run()
    parent.report()
    decide(backend, MANY)
    draw_all(backend)
    backend.end(run.id.run)
    assert run.result(timeout=60) == sum(index / 1000 for index in range(MANY))
    packs = [key for key in objects(backend, run.id) if "/packs/" in key]
    assert bool(packs) is is_packed(backend)
    now = msgspec.structs.replace(backend.settings, retention=timedelta(0), archive=timedelta(0))

    def collected() -> list[str]:
        collect(backend.store, now, backend.engine.blobs)
        return objects(backend, run.id)

    eventually(lambda: len(collected()) == 1)
    [left] = objects(backend, run.id)
    assert "/a0/" in left
    assert left.endswith("/outputs.pb")


@pytest.mark.parametrize("checksum", ["sha256", "none"])
@pytest.mark.parametrize("packs", ["0", "1024"])
def test_requests_of_a_map_of_small_calls(
    servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch, packs: str, checksum: str
) -> None:
    """Without packs a call takes one request to S3, with packs a draw does; counted on the line."""
    monkeypatch.setattr(batch, "_TURN", 60.0)
    with FaultyProxy(servers.s3_endpoint) as proxy:
        more = {
            "RECONCILER_S3_ENDPOINT": proxy.endpoint,
            "RECONCILER_PACK_OUTPUTS": packs,
            "RECONCILER_S3_CHECKSUM": checksum,
        }
        with backend_on(servers, monkeypatch, RECONCILER_SHARDS="1", **more) as backend:
            cli_functions.env.client = backend.client
            run = started(backend, 64)
            proxy.requests.clear()
            draws = draw_all(backend)
            sent = list(proxy.requests)
            backend.end(run.id.run)
            assert run.result(timeout=60) == [index / 1000 for index in range(64)]
    print(f"packs {packs}: {len(sent)} requests for 64 calls, drawn {draws} times")
    assert sent == ["PUT"] * (draws if packs != "0" else 64)
    assert draws < 16


def test_a_death_between_the_pack_and_the_commit(backend: Backend) -> None:
    """All run again and succeed; what was left goes with the run."""
    run = started(backend)
    together = drawn(backend, lease=1)
    together.run()
    together._write(together._ended)
    keeper().let_go(one.beat for one in together._ended)  # as a dead one renews no lease
    before = objects(backend, run.id)
    assert before
    backend.end(run.id.run)
    assert run.result(timeout=60) == [index / 1000 for index in range(MANY)]
    gone(backend, run)


def gone(backend: Backend, run: Run[list[float]]) -> None:
    """Let the retention pass, after which nothing of it is left."""
    now = msgspec.structs.replace(backend.settings, retention=timedelta(0), archive=timedelta(0))

    def collected() -> bool:
        collect(backend.store, now, backend.engine.blobs)
        return not objects(backend, run.id)

    eventually(collected)


def test_objects_go_with_the_run(backend: Backend) -> None:
    """The collector leaves neither packs nor objects of their own."""
    gone(backend, ended(backend))


def test_a_run_that_takes_over_outputs_reads_them(backend: Backend) -> None:
    """It points into the objects of its source, which stay as long as it needs them."""
    source = ended(backend)
    ref = backend.client.get(source.id.action("m1")).status.outputs
    archived(backend)
    again = backend.client.fork(source.id, again=["m0"])
    backend.end(again.id.run)
    for index in range(MANY):
        assert backend.client.result(again.id.action(f"m{index}"), 60) == index / 1000
    taken = backend.client.events(again.id.action("m1"))[-1]
    assert ref is not None
    assert taken.outputs is not None
    assert taken.outputs.output_uri == ref.uri


def forked(backend: Backend, source: Run[list[float]]) -> Run[list[float]]:
    """Make a run of one: a call runs again, and the others are taken over."""
    again = backend.client.fork(source.id, again=["m0"])
    backend.end(again.id.run)
    return again


def is_whole(backend: Backend, run: Run[list[float]]) -> bool:
    """Read all outputs of a run; nothing of them is in its records."""
    read = [backend.client.result(run.id.action(f"m{index}"), 60) for index in range(MANY)]
    return read == [index / 1000 for index in range(MANY)]


def pass_by(backend: Backend, **kept: timedelta) -> None:
    """Let the collector pass, which forgets all whose time is over; nobody makes a run of another one any more."""
    now, redis, prefix = (
        msgspec.structs.replace(backend.settings, **kept),
        backend.store.client,
        backend.settings.key_prefix,
    )
    for key in redis.scan_iter(f"{prefix}:*}}:holds:*"):
        redis.hset(key, mapping=dict.fromkeys(redis.hkeys(key), 1))
    for _ in range(3):
        for key in redis.scan_iter(f"{prefix}:swept:*"):
            redis.delete(key)
        collect(backend.store, now, backend.engine.blobs)


def forgets(backend: Backend, run: Run[list[float]]) -> bool:
    """Ask a client that has read nothing before whether a run is gone."""
    with pytest.raises(ActionNotFound):
        Client(backend.store, backend.engine.blobs, backend.messenger, backend.settings).get(run.action)
    return True


def test_objects_of_a_source_stay_while_it_is_needed(backend: Backend) -> None:
    """The records of the source go, and what it shares stays until the run is forgotten that was made of it."""
    source = ended(backend)
    again = forked(backend, source)
    forget_run(backend.store, backend.engine.blobs, RunLife(source.id, source.incarnation))
    pass_by(backend)
    assert [summary.id for summary in backend.client.runs()] == [again.id]
    assert is_whole(backend, again)
    gone(backend, again)
    pass_by(backend, retention=timedelta(0), archive=timedelta(0))
    assert objects(backend, source.id) == []


def test_a_source_that_goes_too_early_is_missed(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that does not look who needs them takes outputs away from under a run, as the test above would see."""
    source = ended(backend)
    again = forked(backend, source)
    monkeypatch.setattr("reconciler.sweeps.objects._forgotten", lambda _store, _shard, lives: list(lives))
    forget_run(backend.store, backend.engine.blobs, RunLife(source.id, source.incarnation))
    pass_by(backend)
    with pytest.raises(BlobNotFound):
        is_whole(backend, again)


@pytest.mark.parametrize("first", ["source", "made"])
def test_one_of_two_runs_that_share_objects_is_deleted(backend: Backend, first: str) -> None:
    """Who is left has all his outputs, archived or not; with the other nothing is left of either."""
    source = ended(backend)
    archived(backend)
    again = forked(backend, source)
    archived(backend)
    goes, stays = (source, again) if first == "source" else (again, source)
    for run in (goes, stays):
        if run is stays:
            assert is_whole(backend, stays)
        deleted = backend.reconciler("history", "delete", str(run.id), "--reason", "asked", "--yes")
        assert deleted.exit_code == 0, deleted.output
        pass_by(backend)
        assert forgets(backend, run)
    assert objects(backend, source.id) + objects(backend, again.id) == []


def test_what_a_damaged_run_shared_goes_with_it(backend: Backend) -> None:
    """Nobody can read any more what was its: its folders are found by their place, with what lies in packs."""
    run = ended(backend)
    archived(backend)
    blobs = backend.engine.blobs
    blobs.put(blobs.uri(run_path(run.id, run.incarnation)), b"rubbish")
    deleted = backend.reconciler("history", "delete", str(run.id), "--reason", "asked", "--yes")
    assert deleted.exit_code == 0, deleted.output
    pass_by(backend)
    assert forgets(backend, run)
    assert objects(backend, run.id) == []


def test_a_source_whose_days_in_the_archive_are_over(backend: Backend) -> None:
    """Its outputs stay as long as the archive has the run that was made of it; then all goes."""
    source = ended(backend)
    archived(backend)
    again = forked(backend, source)
    store, blobs = backend.store, backend.engine.blobs
    expire(store, blobs, store.now() + 48 * 3_600_000, objects=True)
    assert forgets(backend, source)
    archived(backend)
    assert is_whole(backend, again)
    assert _expired(backend, again) == []
    pass_by(backend)
    assert objects(backend, source.id) == []


def test_what_failed_is_recovered_beside_what_lies_in_a_pack(backend: Backend, tmp_path: Path) -> None:
    """Calls that succeeded are taken over as parts, those that failed run; all of it once more by a rerun."""
    marks = [str(tmp_path / f"mark{index}") for index in range(5)]
    run = cli_functions.needs.map(marks)
    Path(marks[0]).touch()
    Path(marks[3]).touch()
    decide(backend, 5)
    draw_all(backend)
    backend.end(run.id.run)
    assert run.phase is ActionPhase.FAILED
    archived(backend)
    for mark in marks:
        Path(mark).touch()
    for make, calls in ((run.recover, 3), (run.rerun, 5)):
        made = make()
        decide(backend, calls)
        draw_all(backend)
        backend.end(made.id.run)
        assert made.result(timeout=60) == marks
        archived(backend)
        assert made.result(timeout=60) == marks


def test_who_gets_an_object_of_its_own(backend: Backend) -> None:
    """One that ran alone, or has a log beside its outputs: they lie at the path of their attempt."""
    run = started(backend)
    for _ in range(MANY):
        alone = drawn(backend, 1)
        alone.run()
        alone.report()
    backend.end(run.id.run)
    loud = cli_functions.greet.map(["a", "b", "c", "d", "e"])
    decide(backend, 5)
    together = drawn(backend)
    together.run()
    together.report()
    backend.end(loud.id.run)
    for action in (run.id.action("m1"), loud.id.action("m1")):
        ref = backend.client.get(action).status.outputs
        assert ref is not None
        assert ref.uri.endswith("/outputs.pb")
