"""What must be true when a story is over."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import BlobCorrupt, BlobNotFound
from reconciler.api.event import OUTPUTS_FILE
from reconciler.api.phase import ActionPhase
from reconciler.api.transition import CacheStatus
from reconciler.archive.archive import Archive
from reconciler.archive.index import list_index, read_rows
from reconciler.archive.layout import DELETED, DELETING
from reconciler.archive.requests import requests_in
from reconciler.core.layout import PACKS
from reconciler.core.paths import ERROR_FILE, LOG_FILE
from reconciler.sweeps.collect import collect
from tests.simulation.checker import Violation
from tests.simulation.world import CANARY

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

_LEASES = 4 * 3_600_000
"""Longer than any lease, and any turn of a sweep, ms."""
_AGAIN = 21 * 60_000
_NONE = timedelta(0)
_LONG = timedelta(hours=1)
_OF_ATTEMPTS = frozenset({OUTPUTS_FILE, ERROR_FILE, LOG_FILE})


def check(sim: Simulation) -> None:
    """Check all of it.

    Raises:
        Violation: something is not.
    """
    _everything_ended(sim)
    served: dict[str, set[bytes]] = {}
    for path in sim.observer.lives:
        record = sim.store.get(ActionId.parse(path))
        assert record is not None
        _record(sim, record)
        _served(sim, record, served)
    for key, values in served.items():
        if len(values) > 1:
            raise Violation(f"hits of the key {key} differ: {values}")
    for path in sim.accepted:
        ends = sim.observer.ends.get(path, [])
        if not ends:
            raise Violation(f"{path} was accepted and never ended")
    _ends_are_expected(sim)
    _no_secret(sim)
    _audit(sim)
    _outputs_have_owners(sim)
    _nothing_left(sim)
    _outputs_have_owners(sim)
    _archived(sim)
    _deleted_objects(sim)


def _everything_ended(sim: Simulation) -> None:
    if not sim.over():
        stuck = [
            f"{path} is {life.phase}"
            for path, life in sim.observer.lives.items()
            if not life.phase.is_terminal()
        ]
        due = [f"{path} at {at}" for shard in sim.store._shards for path, at in shard.due.items()]
        actors = [actor.name for actor in sim.scheduler.actors]
        raise Violation(
            f"not all has ended though nothing goes wrong any more. Open: {stuck}; due: {due}; busy: {actors}; "
            f"messages: {sim.broker.messages}"
        )


def _record(sim: Simulation, record: TaskAction) -> None:
    path, status = str(record.id), record.status
    if status.quota_leases:
        raise Violation(f"{path} has ended and holds {status.quota_leases}")
    if record.token or record.metadata.finalizers:
        raise Violation(f"{path} has ended and owes something")
    data = _outputs(sim, record)  # as long as it names them, they are there
    if record.phase is not ActionPhase.SUCCEEDED or status.outputs is None:
        return
    if status.outputs.inline not in {None, data}:
        raise Violation(f"{path}: the copy of its outputs differs from them")
    if _cache(record) is CacheStatus.HIT:
        return
    number = status.launches
    launch = f"{status.attempts}-{number}" if number else str(status.attempts)
    if data not in sim.world.ran.get((path, launch), set()):
        raise Violation(f"{path}: launch {launch} was accepted, with outputs it never made: {data!r}")


def _cache(record: TaskAction) -> CacheStatus:
    return record.status.cache_status


def _served(sim: Simulation, record: TaskAction, served: dict[str, set[bytes]]) -> None:
    """What was found under each key. An action that had run in vain before the hit keeps what it wrote then.

    One that was taken over from another run points to what that one wrote, which is looked at there.
    """
    taken_over = record.phase is ActionPhase.RECOVERED
    if _cache(record) is not CacheStatus.HIT or record.status.outputs is None or taken_over:
        return
    config = sim.steps[0].engine.reconciler.cache_config(record)
    assert config is not None
    data = sim.blobs.get(record.status.outputs.uri)
    own = (outputs for (path, _), made in sim.world.ran.items() if path == str(record.id) for outputs in made)
    if data not in own:
        served.setdefault(str(config.key), set()).add(data)


def _ends_are_expected(sim: Simulation) -> None:
    for path, events in sim.observer.ends.items():
        expected = sim.workload.expected.get(path)
        if expected is None and path.split("/")[2] in sim.workload.families | sim.workload.remade:
            continue
        if expected is None and sim.workload.theme.impatient and path.split("/")[2].startswith("k-"):
            continue  # started by a function, which may fail, or end before it; or again by a map
        assert expected is not None, path
        for event in events:
            if event.error_info is not None and "[WorkerFault]" in event.error_info.message:
                raise Violation(f"{path} ended by a fault of ours: {event.error_info.message}")
            aborted = event.phase is ActionPhase.ABORTED and expected.abortable
            if not aborted and event.phase not in expected.ends:
                raise Violation(f"{path} ended {event.phase}, expected {sorted(map(str, expected.ends))}")


def _no_secret(sim: Simulation) -> None:
    canary = CANARY.encode()
    for shard in sim.store._shards:
        for path, record in shard.records.items():
            if CANARY in repr(record):
                raise Violation(f"the record of {path} holds a secret")
        if CANARY in repr((shard.events, shard.audit)):
            raise Violation("an event or an audit entry holds a secret")
    for address, data in sim.blobs._objects.items():
        if canary in data:
            raise Violation(f"the object {address.key} holds a secret")


def _audit(sim: Simulation) -> None:
    """Check that no round ended with an unexpected error, which would be a mistake of ours."""
    for shard in range(sim.store.shards):
        for entry in sim.store.audit(shard):
            if entry.reason == "RoundFailed":
                raise Violation(f"a round of {entry.id} failed: {entry.message}")


def _outputs_have_owners(sim: Simulation) -> None:
    """Where objects go with their actions, nothing an attempt wrote stays, but for what the cache may refer to.

    Where actions are kept for a moment only, a frozen worker may write after all is forgotten; nobody removes that.
    """
    if not sim.settings.collect_objects or sim.settings.retention < _LONG or sim.settings.archive:
        return
    held = {str(life.run) for shard in sim.store._shards for life in shard.holds}
    noted = {str(life.action) for shard in sim.store._shards for life in shard.garbage}
    for address in sim.blobs._objects:
        parts = address.key.split("/")
        path = "/".join(part.partition("@")[0] for part in parts[-6:-2])
        if (
            path.rpartition("/")[0] in held or path in noted
        ):  # another run points to them, or the next pass removes them
            continue
        stays = parts[-2] != PACKS and (parts[-1] not in _OF_ATTEMPTS or path in sim.observer.cached)
        if path not in sim.observer.lives and not stays:
            raise Violation(f"{path} was forgotten, and its {address.key} was not")


def _archived(sim: Simulation) -> None:
    """Check that the archive remembers whatever was forgotten, each life once with all its events, and nothing else.

    But for what somebody asked to have deleted: of that nothing is left.
    """
    if not sim.settings.archive:
        return
    found: dict[tuple[str, str], list[int]] = {}
    archive = Archive(sim.blobs)
    listed, _ = list_index(sim.blobs, sim.settings.project, "0000", "9999")
    for row in read_rows(sim.blobs, listed).rows.values():
        run = archive.read_run(row.id, row.incarnation)
        if run is None or run.damage or run.missing:
            raise Violation(f"the archive should hold {row.id}@{row.incarnation}: {run and vars(run)}")
        for name, action in run.actions.items():
            life = (str(row.id.action(name)), row.incarnation.partition("~")[0])
            found.setdefault(life, []).append(len(run.events(name)))
            _outputs(sim, action)
    asked = _asked(sim)
    seen = {key: sorted(life.sequence for life in lives) for key, lives in sim.observer.forgotten.items()}
    seen = {key: counts for key, counts in seen.items() if _life_of(*key) not in asked}
    told = {key: sorted(counts) for key, counts in found.items()}
    if seen != told:
        wrong = {
            key: (seen.get(key), told.get(key)) for key in {*seen, *told} if seen.get(key) != told.get(key)
        }
        raise Violation(f"forgotten and archived differ, by the events of each life: {wrong}")


def _life_of(path: str, incarnation: str) -> str:
    return f"{path.rpartition('/')[0]}@{incarnation}"


def _asked(sim: Simulation) -> set[str]:
    """Which runs were asked to be deleted; a client that died in between may not have been told."""
    return {
        run for place in (DELETING, DELETED) for each in requests_in(sim.blobs, place) for run in each.runs
    } | sim.workload.deleted


def _outputs(sim: Simulation, action: TaskAction) -> bytes | None:
    """Read the outputs a record or the archive names, which are there, whole, be it those of another run."""
    ref = action.status.outputs
    if ref is None:
        return None
    try:
        return sim.blobs.get(ref.uri, sha256=ref.sha256)
    except (BlobNotFound, BlobCorrupt) as error:
        raise Violation(f"{action.id} is {action.phase}, and its outputs are lost: {error}") from error


def _deleted_objects(sim: Simulation) -> None:
    """Check that nothing lies in the folders of a deleted run, unless another run or the cache may point to it."""
    if not sim.settings.archive or sim.settings.retention < _LONG:
        return
    held = {str(life) for shard in sim.store._shards for life in shard.holds}
    for life in _asked(sim) - held:
        left = [address.key for address in sim.blobs._objects if f"/{life}/" in address.key]
        if left and not any(path.startswith(f"{life.partition('@')[0]}/") for path in sim.observer.cached):
            raise Violation(f"{life} was deleted, and there still is: {left}")


def _nothing_left(sim: Simulation) -> None:
    """Check that a collected installation is empty, except for what is cached, when all leases are over."""
    scheduler = sim.scheduler
    scheduler.clock.advance(_LEASES)
    at_once = msgspec.structs.replace(sim.settings, retention=_NONE, events_retention=_NONE)
    for _ in range(3):
        scheduler.clock.advance(1)
        collect(sim.store, at_once, sim.blobs)
    for _ in range(2):  # what was asked to be deleted goes once more
        scheduler.clock.advance(_AGAIN)
        collect(sim.store, at_once, sim.blobs)
    for shard in sim.store._shards:
        left = [
            name
            for name in (
                "records",
                "due",
                "done",
                "tree",
                "counters",
                "runs",
                "events",
                "incarnations",
                "lines",
            )
            if getattr(shard, name)
        ]
        if left:
            raise Violation(f"all was collected, and there still is: {left}")
    for name, resource in sim.quotas._resources.items():
        resource.drop_expired(scheduler.clock.at)
        if resource.requests:
            raise Violation(f"all has ended, and units of {name} are in use: {resource.requests}")
