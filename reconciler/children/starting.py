"""Stores what a function starts: children under deterministic names, adopted when an earlier pass has stored them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from reconciler.api.action import CONDITION, ActionId, ActionSpec, TaskAction
from reconciler.api.errors import ActionConflict, ReconcilerError, Unavailable
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import Schedule, options_of
from reconciler.children import requests
from reconciler.children.driving import Drive
from reconciler.children.starting_over import times_over
from reconciler.client.approval import question
from reconciler.client.client import Client
from reconciler.client.door import Door
from reconciler.client.queue_limits import QueueLimits
from reconciler.client.storing import Storing
from reconciler.client.submission import group_root, map_root
from reconciler.client.waking import Waker
from reconciler.core.children import child_name, digest_of_call, generation, member_name
from reconciler.core.inheritance import inherited, with_inputs_hash
from reconciler.core.members import encode_members
from reconciler.core.spans import launch_context
from reconciler.plugins.group_config import GroupConfig
from reconciler.stores.blobs import parse_uri

_OF_ITS_CODE = {"taskTemplate", "cacheKey"}
"""Fields of a spec that a new version of the code changes."""


class Wanted(msgspec.Struct, frozen=True):
    """A child that was asked for.

    Attributes:
        number: of the request.
        name: in the first attempt of its parent.
        spec: what to do.
        plan: when, and in which order.
        labels: attached to the record.
    """

    number: int
    name: str
    spec: ActionSpec
    plan: Schedule
    labels: dict[str, str] = {}


class Starting:
    """Starts the children of one action.

    Args:
        client: of the installation.
        parent: the action, as it was drawn.
        attempt: number of its attempt.
        drive: takes the first step of a few; None: a steps worker does.
    """

    def __init__(self, client: Client, parent: TaskAction, attempt: int, drive: Drive | None = None) -> None:
        self._client = client
        self._parent = parent
        self._attempt = attempt
        self._drive = drive
        self._door = Door(client.settings, parse_uri(client.blobs.uri("any")).bucket)
        self._storing = Storing(client.store, client.blobs, client.settings, Waker(client.messenger))
        self._limits = QueueLimits(client.store, self._door)
        over = times_over(parent)
        self._namer = f"{parent.id.action}#{over}" if over else parent.id.action

    def wanted(self, request: requests.Start) -> Wanted:
        """Make the child a request asks for."""
        spec = request.spec
        digest = digest_of_call(
            spec.task_type.encode(), spec.short_name.encode(), spec.inputs or spec.input_uri.encode()
        )
        name = child_name(self._namer, spec.short_name or spec.task_type, digest, request.asked)
        return Wanted(request.number, name, spec, request.plan, request.labels)

    def group(self, request: requests.StartGroup) -> Wanted:
        """Make the group a request asks for.

        Raises:
            QueueFull: there is no room for all its members, and no earlier pass has started it.
            Unavailable: the store does not answer.
        """
        first = child_name(self._namer, request.stem, request.digest, request.asked)
        spec = group_root(ActionSpec(), request.total, keep_failures=request.keep_failures, called_again=True)
        root = msgspec.structs.replace(spec, short_name=request.stem[:63])
        wanted = Wanted(request.number, first, root, request.plan)
        (name,) = self._names([wanted])
        made = self._made(wanted, self._parent.id.action, name)
        last = self._made(
            Wanted(0, "", request.spec, request.members), name, member_name(name, request.total - 1)
        )
        if isinstance(made, TaskAction) and isinstance(last, TaskAction):
            self._limits.check([made, *[last] * request.total])
        return wanted

    def find(self, request: requests.FindGroup) -> TaskAction | None:
        """Find a group that an earlier pass started, if it still counts in this attempt.

        Raises:
            Unavailable: the store does not answer.
        """
        name = child_name(self._namer, request.stem, request.digest, request.asked)
        (name,) = self._names([Wanted(0, name, ActionSpec(), Schedule())])
        return self._client.store.get(self._parent.id.run_id.action(name))

    def window(
        self, request: requests.StartGroup, inputs: Sequence[bytes], fair_keys: Sequence[str]
    ) -> ActionId | ReconcilerError:
        """Store a group that starts its members itself.

        Raises:
            ReconcilerError: it is refused, or a server does not answer.
        """
        config = GroupConfig(
            expected=len(inputs), keep_failures=request.keep_failures, concurrency=request.concurrency
        )
        document = encode_members(request.spec, inputs, request.members, fair_keys)
        root = map_root(ActionSpec(short_name=request.stem[:63]), config, document, request.spec)
        first = child_name(self._namer, request.stem, request.digest, request.asked)
        wanted = Wanted(request.number, first, root, request.plan)
        (name,) = self._names([wanted])
        made = self._made(wanted, self._parent.id.action, name)
        spec = msgspec.structs.replace(request.spec, inputs=inputs[0] if inputs else b"{}")
        member = self._made(Wanted(0, "", spec, request.members), name, member_name(name, 0))
        if isinstance(made, ReconcilerError):
            return made
        if isinstance(member, ReconcilerError):
            return member
        self._limits.check([made, *[member] * min(request.concurrency, len(inputs))])
        (found,) = self._stored([made])
        return found

    def question(self, request: requests.Question) -> Wanted:
        """Make the condition a request asks for.

        Raises:
            InvalidSpec: it is none.
        """
        spec = question(request.texts, request.timeout, "", "")
        key = [request.key.encode()] if request.key else []
        digest = digest_of_call(CONDITION.encode(), spec.condition_spec, *key)
        stem = request.texts.get("name", "") or CONDITION
        clean = "".join(c if c.isalnum() and c.isascii() else "-" for c in stem).strip("-")
        name = child_name(self._namer, clean, digest, request.asked)
        return Wanted(request.number, name, spec, Schedule())

    def start(self, wanted: Sequence[Wanted]) -> list[ActionId | ReconcilerError]:
        """Store children, or find them if they are stored; each is refused for its own faults only.

        Raises:
            Unavailable: a server does not answer; some may be stored, and are found the next time.
        """
        names = self._names(wanted)
        made: list[TaskAction | ReconcilerError] = []
        for one, name in zip(wanted, names, strict=True):
            made.append(self._made(one, self._parent.id.action, name))
        return self._stored(self._with_room(made))

    def members(self, group: ActionId, request: requests.Members) -> list[ActionId | ReconcilerError]:
        """Store members of a group, for which there was room when it was started; see `start`.

        Raises:
            Unavailable: a server does not answer.
        """
        keys = request.fair_keys or [request.plan.fair_key] * len(request.inputs)
        made: list[TaskAction | ReconcilerError] = []
        for index, (inputs, key) in enumerate(zip(request.inputs, keys, strict=True), request.first):
            one = Wanted(
                request.number,
                member_name(group.action, index),
                msgspec.structs.replace(request.spec, inputs=inputs),
                msgspec.structs.replace(request.plan, fair_key=key),
            )
            made.append(self._made(one, group.action, one.name))
        return self._stored(made)

    def detached(self, request: requests.Start, name: str) -> tuple[ActionId, str]:
        """Submit a run of its own, once for all passes; return its root and its incarnation.

        As a child, one that an earlier pass has stored is adopted, whatever version of its code that was.

        Raises:
            ReconcilerError: it is refused, or a server does not answer.
        """
        key = request.key or ("" if request.spec.run_name else f"{self._parent.id}/{name}")
        try:
            run = self._client.submit(
                request.spec,
                idempotency_key=key,
                labels=request.labels,
                traceparent=launch_context(self._parent, self._parent.attempt.launch),
                **options_of(request.plan),
            )
        except ActionConflict as conflict:
            if not (set(conflict.fields) <= _OF_ITS_CODE and isinstance(conflict.action, ActionId)):
                raise
            there = self._client.get(conflict.action)
            return there.id, there.metadata.incarnation
        return run.action, run.incarnation

    def untold(self) -> list[ActionId]:
        """Name, once, the new children that were not announced: `drive` has to take their first step."""
        found, self._storing.untold = self._storing.untold, []
        return found

    def _names(self, wanted: Sequence[Wanted]) -> list[str]:
        """Name each child in this attempt: the newest that was made, unless it failed in an earlier attempt."""
        if self._attempt == 1:
            return [one.name for one in wanted]
        run = self._parent.id.run_id
        candidates = [
            [generation(one.name, number) for number in range(self._attempt, 0, -1)] for one in wanted
        ]
        flat = [run.action(name) for names in candidates for name in names]
        found = dict(zip(flat, self._client.store.get_many(flat), strict=True))
        chosen = []
        for names in candidates:
            newest = next((name for name in names if found[run.action(name)] is not None), names[0])
            record = found[run.action(newest)]
            failed = record is not None and record.phase.is_terminal() and not _succeeded(record.phase)
            chosen.append(names[0] if failed else newest)
        return chosen

    def _made(self, one: Wanted, parent: str, name: str) -> TaskAction | ReconcilerError:
        owner = self._parent.id
        spec = msgspec.structs.replace(
            one.spec,
            project=owner.project,
            domain=owner.domain,
            run_name=owner.run,
            action_name=name,
            parent_action_name=parent,
        )
        try:
            action = self._door.admit(with_inputs_hash(spec), one.labels, schedule=one.plan)
            if action.spec.action_type != CONDITION:
                action = inherited(action, self._parent, one.plan)
                self._door.check_action(action)
            else:
                meta = self._parent.metadata
                action.set_metadata(incarnation=meta.incarnation, traceparent=meta.traceparent)
        except Unavailable:
            raise
        except ReconcilerError as error:
            return error
        return action

    def _stored(self, made: Sequence[TaskAction | ReconcilerError]) -> list[ActionId | ReconcilerError]:
        good = [one for one in made if isinstance(one, TaskAction)]
        try:
            quiet = self._drive is not None and self._drive.takes(good)
            answers = iter(self._storing.adopt(good, quiet=quiet) if good else ())
        except Unavailable:
            raise
        except ReconcilerError as error:
            return [one if isinstance(one, ReconcilerError) else error for one in made]
        return [one if isinstance(one, ReconcilerError) else next(answers) or one.id for one in made]

    def _with_room(self, made: Sequence[TaskAction | ReconcilerError]) -> list[TaskAction | ReconcilerError]:
        """Refuse each for which its queue has no room, but not what an earlier pass has stored."""
        full: dict[ActionId, ReconcilerError] = {}
        for one in made:
            if isinstance(one, TaskAction) and (error := self._limits.full([one])) is not None:
                full[one.id] = error
        there = self._client.store.get_many(list(full)) if full else []
        for action, record in zip(list(full), there, strict=True):
            if record is not None:
                del full[action]
        return [full.get(one.id, one) if isinstance(one, TaskAction) else one for one in made]


def _succeeded(phase: ActionPhase) -> bool:
    return phase in {ActionPhase.SUCCEEDED, ActionPhase.RECOVERED}
