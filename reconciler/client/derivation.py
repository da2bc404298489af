"""Makes runs of ended ones: all again, only what did not succeed, or with changes.

The source is held first, then read and checked; only then something is stored: what is taken over before what runs again, so
that whoever runs finds it. The same call with the same idempotency key goes on where one that died stopped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import cast

import msgspec

from reconciler.api.action import ActionId, RunId, TaskAction
from reconciler.api.audit import Who
from reconciler.api.errors import ActionConflict, ActionNotFound, InvalidSpec, SourceUnusable
from reconciler.api.lineage import Verb
from reconciler.api.names import check_name
from reconciler.api.phase import ActionPhase
from reconciler.archive.archive import Archive
from reconciler.client.derived import NO_CHANGES, Changes, Maker
from reconciler.client.door import Door
from reconciler.client.interfaces import Interfaces
from reconciler.client.queue_limits import QueueLimits
from reconciler.client.sources import (
    Grip,
    Source,
    SourceRun,
    check_deletion,
    check_objects,
    objects_of,
    read_archived,
    read_source,
)
from reconciler.client.storing import Storing
from reconciler.client.submission import key_name, new_run_name
from reconciler.core.derivation import (
    Plan,
    check_members,
    check_source,
    is_started,
    is_whole,
    nothing_to_recover,
    plan_recover,
    plan_rerun,
)
from reconciler.plugins.function_config import function_types
from reconciler.plugins.group_config import WINDOW, config_of
from reconciler.settings import Settings
from reconciler.stores.base import Store
from reconciler.stores.objects import BlobStore

_AT_ONCE = 500
"""Actions per round trip."""
_DRAWN = re.compile(r"-[a-z2-7]{8}$")
"""What `new_run_name` adds: a run made of a run is named after what that one was named after."""


class Made(msgspec.Struct, frozen=True):
    """A run that was made of another one.

    Attributes:
        root: its first action.
        incarnation: of the run.
        members: how many members it has, if it is a group.
        lazy: whether their results are read in parts.
        reused: how many actions were taken over.
        again: how many run again, without what those start themselves.
    """

    root: ActionId
    incarnation: str
    members: int | None
    lazy: bool
    reused: int
    again: int


class Derivation:
    """Makes runs of runs. May be shared between threads.

    Args:
        store: the records.
        blobs: the objects they point to.
        settings: of the installation.
        door: accepts what runs again.
        limits: may refuse it.
        storing: stores it.
        who: says who asks.
        telling: called with the name of the new run, before anything of it is stored.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        settings: Settings,
        door: Door,
        limits: QueueLimits,
        storing: Storing,
        *,
        who: Callable[[], Who],
        telling: Callable[[RunId], None],
    ) -> None:
        self._who = who
        self._telling = telling
        self._interfaces = Interfaces(store, blobs, door, settings.max_object_size)
        self._store = store
        self._blobs = blobs
        self._settings = settings
        self._door = door
        self._limits = limits
        self._storing = storing
        self._functions = function_types(settings)

    def make(
        self,
        verb: Verb,
        run: RunId,
        *,
        changes: Changes = NO_CHANGES,
        name: str = "",
        key: str = "",
        incarnation: str = "",
    ) -> Made:
        """Make a run of another one; see `Client.recover`."""
        holder = _named(run, name, key)
        grip = Grip(self._store, holder)
        source = self._read(run, incarnation, grip)
        check_source(run, source.records)
        if self._settings.archive and self._store.counts(holder) is None:  # else an earlier call has begun
            check_deletion(self._blobs, source)
        plan = self._plan(verb, source, changes)
        check_members(plan.again)
        if verb is not Verb.RERUN:
            self._interfaces.check_results(_unchanged(source, changes))
        self._hold_objects(grip, source, plan)
        with_old_inputs = [each for each in plan.again if each.id.action not in changes.specs]
        check_objects(self._blobs, plan.reused, with_old_inputs, changes.again)
        if verb is Verb.RERUN:
            self._interfaces.check_inputs(plan.again)
        maker = Maker(verb, source, holder, changes, self._store)
        reused, again = maker.actions(plan, self._door, self._blobs, self._settings.max_object_size)
        again[0].set_metadata(submitted=self._who())
        actions = self._in_its_life(verb, reused, again, source)
        self._limits.check(again)
        self._telling(holder)
        incarnation = self._storing.store(actions, grip.renew)
        grip.loosen()
        config = config_of(again[0].spec)
        members, lazy = (None, False) if config is None else (config.expected, config.concurrency > 0)
        return Made(again[0].id, incarnation, members, lazy, len(reused), len(again))

    def _read(self, run: RunId, incarnation: str, grip: Grip) -> Source:
        """Read a run where it is whole: in the store, else in the archive."""
        error: ActionNotFound | None = None
        found: Source | None = None
        try:
            found = read_source(self._store, run, incarnation, grip)
        except ActionNotFound as missing:
            error = missing
        if found is not None and is_whole(found.records):
            return found
        life = found.life.incarnation if found is not None else incarnation
        archived = read_archived(Archive(self._blobs), self._store, run, life, grip)
        if archived is not None:
            return archived
        if error is not None:
            raise error
        return cast("Source", found)

    # -- deciding --------------------------------------------------------------------------------------------------
    def _starts(self, record: TaskAction) -> bool:
        return record.spec.task_type in self._functions

    def _puts(self, record: TaskAction) -> bool:
        """Tell whether an action starts its children itself."""
        return self._starts(record) or _fills(record)

    def _plan(self, verb: Verb, source: SourceRun, changes: Changes) -> Plan:
        self._check_names(source, changes)
        if verb is Verb.RERUN:
            return plan_rerun(source.records, self._puts)
        plan = plan_recover(source.records, self._starts, changes.names, fills=_fills)
        if not plan.again:
            raise nothing_to_recover(source.life.run, source.records)
        return plan

    def _check_names(self, source: SourceRun, changes: Changes) -> None:
        for name in changes.names:
            if name not in source.records:
                raise ActionNotFound(source.life.run.action(name))
        for name in (*changes.inputs, *changes.specs):
            if is_started(source.records, name, self._puts):
                raise InvalidSpec(
                    f"the action {name} is started by another action of the run {source.life.run}, with inputs of that "
                    f"one's own: change the inputs of that one, or only run {name} again"
                )

    def _hold_objects(self, grip: Grip, source: SourceRun, plan: Plan) -> None:
        lives = {life for record in (*plan.reused, *plan.again) for life in objects_of(record, source.life)}
        for life in sorted(lives - {source.life}):
            if not grip.take(life, archived=source.archived):
                raise SourceUnusable(
                    f"objects of the run {life.run}, to which records of {source.life.run} point, are gone: `reconciler "
                    f"rerun {life.run}` or submit it anew"
                )

    def _in_its_life(
        self, verb: Verb, reused: Sequence[TaskAction], again: Sequence[TaskAction], source: SourceRun
    ) -> Sequence[TaskAction]:
        """Give the actions the incarnation of the run that an earlier call began.

        Raises:
            ActionConflict: that was another call: nothing of it is changed.
        """
        actions, root = [*reused, *again], again[0].id
        there = self._store.list_actions(root.run_id, limit=1).actions
        if not there:
            return actions
        metadata = there[0].metadata
        lineage = metadata.lineage
        same = lineage is not None and (lineage.verb, lineage.source) == (verb, str(source.life))
        if not (
            same and self._takes_the_same_over({action.id.action for action in reused}, root.run_id, source)
        ):
            how = f"by {lineage.verb} of {lineage.source}" if lineage else "by a submission"
            other = ", with other changes" if same else ""
            raise ActionConflict(
                root,
                ("lineage",),
                f"the run {root.run_id} exists, and was made otherwise: {how}{other}. Give this one another name, or none",
            )
        for action in actions:
            action.set_metadata(incarnation=metadata.incarnation)
        return actions

    def _takes_the_same_over(self, reused: Collection[str], run: RunId, source: SourceRun) -> bool:
        """Tell whether a stored run, as far as it is stored, has taken over these actions of the source and no other one."""
        names = list(source.records)
        for start in range(0, len(names), _AT_ONCE):
            part = names[start : start + _AT_ONCE]
            stored = self._store.get_many([run.action(name) for name in part])
            for name, record in zip(part, stored, strict=True):
                if record is not None and (record.phase is ActionPhase.RECOVERED) != (name in reused):
                    return False
        return True


def _unchanged(source: SourceRun, changes: Changes) -> list[TaskAction]:
    return [record for name, record in source.records.items() if name not in changes.specs]


def _fills(record: TaskAction) -> bool:
    """Tell whether a group starts its members itself, and ends as they do."""
    return record.spec.task_type == WINDOW


def name_for(run: RunId) -> str:
    """Draw a name for a run that is made of this one."""
    return new_run_name(_DRAWN.sub("", run.run))


def _named(run: RunId, name: str, key: str) -> RunId:
    """Choose the name of the new run."""
    if key and name:
        raise InvalidSpec("give the run name or the idempotency key, not both: either names the submission")
    chosen = check_name("run", name) if name else key_name(key) if key else name_for(run)
    if chosen == run.run:
        raise InvalidSpec(f"the run {run} exists, and keeps its name: give the new one another, or none")
    return RunId(run.project, run.domain, chosen)
