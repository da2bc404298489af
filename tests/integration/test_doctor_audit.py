"""`reconciler doctor --audit`: tells what nobody owns any more, in Redis and in S3, and removes it only when asked to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from cli_support import Backend, backend_on

from reconciler.api.action import ActionId, RunId
from reconciler.api.transition import OutputRef
from reconciler.core.layout import run_folder
from reconciler.embedded.servers import EmbeddedServers
from reconciler.stores.catalog import CacheKey, CacheSource
from reconciler.stores.garbage import Life
from reconciler.stores.holds import RunLife
from reconciler.stores.redis import keys
from reconciler.stores.redis.auditing import Why
from reconciler.stores.redis.catalog import RedisCatalog
from reconciler.sweeps.audit import folder_of

pytestmark = pytest.mark.servers
GONE = RunId("default", "development", "gone")


@pytest.fixture
def backend(servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """An installation with one action that has ended and left outputs, in a bucket that is its own to empty."""
    with backend_on(servers, monkeypatch) as made:
        made.call("r", "greet", name="ann")
        made.end("r")
        yield made
        made.engine.blobs.delete_prefix(made.engine.blobs.uri("_runs"))


def audited(backend: Backend, *options: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code of an audit, and what it says by check; objects count as old at once."""
    result = backend.reconciler("doctor", "--audit", "--older", "0s", "--json", *options)
    return result.exit_code, {check["name"]: check for check in backend.parsed(result)["checks"]}


def objects(backend: Backend) -> list[str]:
    """Return the keys of all objects of this installation."""
    prefix = backend.settings.s3_prefix
    return [one.key for one in backend.engine.blobs.page() if f"{prefix}/_runs/" in one.key]  # type: ignore[attr-defined]  # it is S3


def orphan(backend: Backend, incarnation: str = "i1", run: RunId = GONE) -> str:
    """Return an object of an action that has no record."""
    uri = backend.engine.blobs.uri(run_folder(run, incarnation), "a0", "inputs", "x", "inputs.pb")
    backend.engine.blobs.put(uri, b"{}")
    return uri


def test_a_clean_installation_has_nothing_to_tell(backend: Backend) -> None:
    """After an action has ended all its keys and objects have an owner."""
    before = objects(backend)
    assert before
    code, found = audited(backend, "--fix")
    assert (code, found["keys"]["problems"], found["objects"]["problems"]) == (0, [], [])
    assert "without a record: 0 objects" in found["objects"]["detail"]
    assert objects(backend) == before


def test_objects_without_a_record_are_told_and_stay(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default objects outlive records, so they are no problem; with the collector on they are, and exit with 10."""
    orphan(backend)
    before = objects(backend)
    code, found = audited(backend)
    assert code == 0
    assert "without a record: 1 object (2 B) of 1 action" in found["objects"]["detail"]
    monkeypatch.setenv("RECONCILER_COLLECT_OBJECTS", "true")
    code, found = audited(backend)
    assert code == 10
    assert "`--fix` removes them" in found["objects"]["problems"][0]
    assert objects(backend) == before


def test_objects_of_another_installation_are_left_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two data sets with one bucket and prefix: the second is told, and removes nothing until it adopts the place."""
    assert audited(backend)[0] == 0
    before = objects(backend)
    monkeypatch.setenv("RECONCILER_KEY_PREFIX", f"{backend.settings.key_prefix}-second")
    code, found = audited(backend, "--fix")
    assert code == 9
    assert "belongs to another installation" in found["objects"]["problems"][0]
    assert "own RECONCILER_S3_PREFIX" in found["objects"]["problems"][0]
    said = {
        check["name"]: check for check in backend.parsed(backend.reconciler("doctor", "--json"))["checks"]
    }
    assert "`reconciler doctor --adopt`" in said["s3"]["detail"]
    assert objects(backend) == before
    assert "belongs" not in backend.reconciler("doctor", "--adopt", "--json").stdout
    assert audited(backend, "--fix")[0] == 0
    assert objects(backend) == []
    monkeypatch.setenv("RECONCILER_KEY_PREFIX", backend.settings.key_prefix)
    assert audited(backend)[0] == 9


def test_only_objects_without_an_owner_are_removed(backend: Backend) -> None:
    """`--fix` leaves what has a record, a hold, a note of the collector or an entry of the catalog, or is new."""
    own, store, blobs = objects(backend), backend.store, backend.engine.blobs
    noted, served, lost, held = (orphan(backend, name) for name in ("noted", "served", "lost", "held"))
    source = RunLife(GONE, "held")
    store.client.hset(store.keys.holds(source), "default/development/r", "1")
    store.client.sadd(store.keys.held(store.shard_of(GONE)), str(source))
    life = Life(GONE.action("a0"), "noted")
    store.note_garbage(store.shard_of(GONE), {life: (noted.rpartition("/")[0],)})
    catalog = RedisCatalog(backend.settings, store.client)
    catalog.put(CacheKey(project="p", domain="d", key="k"), OutputRef(uri=served), CacheSource())
    code, found = audited(backend, "--fix")
    assert code == 0
    assert "removed" in found["objects"]["detail"]
    assert blobs.stat(lost) is None
    assert blobs.stat(noted) is not None
    assert blobs.stat(held) is not None
    assert found["keys"]["problems"] == []
    store.let_go(store.shard_of(GONE), store.holds(store.shard_of(GONE)))
    assert blobs.stat(served) is not None
    assert set(own) <= set(objects(backend))
    newer = orphan(backend, "newer")
    result = backend.reconciler("doctor", "--audit", "--fix", "--json")
    assert result.exit_code == 0
    assert blobs.stat(newer) is not None


def test_a_name_in_use_again_does_not_own_its_old_objects(backend: Backend) -> None:
    """The folder of an earlier incarnation of a run has no owner, though a run of that name lives."""
    old = orphan(backend, "before", RunId("default", "development", "r"))
    own = set(objects(backend)) - {old.partition("/")[2]}
    audited(backend, "--fix")
    assert backend.engine.blobs.stat(old) is None
    assert {key for key in own if "@before" not in key} == set(objects(backend))


def test_keys_without_an_owner_are_told_and_removed(backend: Backend) -> None:
    """What belongs to no run, to no queue, or should have ended goes with `--fix`; what may be somebody's only is told."""
    store, keys = backend.store, backend.store.keys
    store.client.zadd(keys.tree(GONE), {"/a0": 0})
    store.client.hset(keys.shared(GONE), "d", "{}")
    store.client.zadd(keys.line(0, "old/5-/p/f"), {"p/d/r/a0": 1})
    store.client.set(keys.worker("steps@before"), "{}")
    store.client.set(f"{keys.prefix}:notes", "of somebody")
    store.client.hset(keys.action(GONE.action("a0")), "s", "{}")
    store.client.set(f"{keys.prefix}:{{99}}:due", "1")
    code, found = audited(backend)
    assert code == 10
    told = " ".join(found["keys"]["problems"])
    for words in (
        "2 keys: each belongs to a run that is not listed", "1 key: it is a line of launches", "1 key: it should end",
        "1 key: it is no key of ours", "1 key: it is the record of a run", "1 key: it lies in a shard",
    ):  # fmt: skip
        assert words in told
    assert store.client.exists(keys.tree(GONE))
    code, found = audited(backend, "--fix")
    assert code == 10
    assert found["keys"]["detail"].endswith("removed 3")
    assert not store.client.exists(keys.tree(GONE), keys.shared(GONE), keys.worker("steps@before"))
    assert store.client.delete(keys.line(0, "old/5-/p/f")) == 1  # launches may wait there: it is somebody's
    assert store.client.exists(f"{keys.prefix}:notes", keys.action(GONE.action("a0"))) == 2
    store.client.delete(f"{keys.prefix}:notes", keys.action(GONE.action("a0")), f"{keys.prefix}:{{99}}:due")
    assert audited(backend)[0] == 0


def test_work_is_bounded(backend: Backend) -> None:
    """A limit ends the look early and says so; objects are not removed on half a knowledge of the keys."""
    lost = orphan(backend)
    code, found = audited(backend, "--fix", "--limit", "1")
    assert "there are more: raise --limit" in found["keys"]["detail"]
    assert backend.engine.blobs.stat(lost) is not None
    del code


@pytest.mark.parametrize("prefix", ["", "team", "xx", "a/b"])
def test_the_folder_of_an_action_is_read_from_a_key(prefix: str) -> None:
    """Attempts have a shard in front of the prefix, inputs have none; everything else is nobody's business."""
    begin, life = f"{prefix}/" if prefix else "", Life(ActionId("p", "d", "r", "a0"), "inc")
    for head, ours, other in (
        (begin, ("inputs/abc", "steps/abc", "packs/abc"), "1/outputs.pb"),
        (f"q7/{begin}", ("1/outputs.pb", "2-1/log.txt"), "inputs/abc"),
    ):
        own = f"{head}_runs/p/d/r@inc/a0"
        assert {folder_of(f"{own}/{below}", prefix) for below in ours} == {(own, life)}
        assert folder_of(f"{own}/{other}", prefix) is None  # of one whose shard or prefix looks like ours
        assert folder_of(own, prefix) is None
    for other in (
        "p/d/r/a0/1/outputs.pb",
        f"{begin}_runs/p/d/r/a0/1/x",
        f"other/{begin}_runs/p/d/r@inc/a0/1/x",
        "x",
    ):
        assert folder_of(other, prefix) is None


def test_every_key_of_the_list_has_a_reason_to_be_there(backend: Backend) -> None:
    """What `stores/redis/keys.py` lists is ours: the audit calls none of it another program's."""
    rows = re.findall(r"^\| `<p>:([^`]+)` \| (?!pub/sub)", keys.__doc__ or "", re.MULTILINE)
    assert len(rows) > 40
    for row in rows:
        key = re.sub("<([a-z]+)>", lambda found: "5" if found[1] == "level" else "x", row).replace(
            "{nn}", "{00}"
        )
        ours = f"{backend.store.keys.prefix}:{key}"
        assert backend.store._judged(ours) is not Why.FOREIGN, row
