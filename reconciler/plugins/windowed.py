"""`map`: a group that starts its members itself, a few at a time (R90).

What its members are asked for lies in its inputs, one object whatever their number; its state says how many it has started.
A round starts as many as there is room for. Commit wakes it when a tenth of the room is free, and a moment after any of it
is, so a round starts many where many end. A member is stored under the same name by each round that tries, so a round that
dies half way costs nothing. One that finds members stored cannot tell how many of them are open: the next round counts anew.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from reconciler.api.errors import BadTaskSpecification
from reconciler.api.transition import PhaseInfo, Transition, failure, running, success
from reconciler.core.members import Members, member_of, read_members
from reconciler.plugins.base import Plugin
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.group_config import WINDOW, GroupConfig, config_of
from reconciler.plugins.members import STANDS
from reconciler.plugins.registry import PluginEntry
from reconciler.stores.base import CreateOutcome

_AT_ONCE = 500
"""Members one round starts at most."""
_LOOK_AGAIN = 60_000
_KEPT = 8
_KEPT_BYTES = 64 * 1024 * 1024
"""Most documents a process keeps in memory, and their bytes: else each round would read its own anew."""


class _State(msgspec.Struct, frozen=True):
    """The number of members a group has started."""

    started: int = 0


class WindowPlugin(Plugin):
    """Starts members when there is room; holds no worker."""

    id = WINDOW

    def __init__(self) -> None:
        self._documents: OrderedDict[tuple[str, str], tuple[int, Members]] = OrderedDict()
        self._lock = threading.Lock()

    def handle(self, ctx: TaskExecutionContext) -> Transition:
        """Start what there is room for; succeed or fail when all have ended.

        Raises:
            BadTaskSpecification: it does not say what its members are.
        """
        config = config_of(ctx.action.spec)
        if config is None or config.concurrency < 1:
            raise BadTaskSpecification(
                "the template of a map must say how many members it has and how many at a time: submit it by "
                "Client.submit_map"
            )
        state = ctx.state.get(_State) or _State()
        started, open_ = state.started, ctx.children.open
        stopped = bool(ctx.children.failed) and not config.keep_failures
        count = 0 if stopped else min(_room(config, open_), config.expected - started, _AT_ONCE)
        if count > 0:
            outcomes = self._start(ctx, config, started, count)
            if not all(outcome in STANDS for outcome in outcomes):
                return Transition(running(0, requeue_at=ctx.now + _LOOK_AGAIN))  # it is being ended itself
            started, open_ = started + count, open_ + count
            ctx.state.put(1, _State(started))
            if not _are_new(outcomes):  # how many of them are open, the next round is told
                return Transition(running(0, requeue_at=ctx.now))
        if not stopped and started < config.expected:
            return Transition(_filled(ctx, config, open_))
        if open_ > 0:  # the last one to end wakes it
            return Transition(running(0, requeue_at=ctx.now + _LOOK_AGAIN))
        return Transition(_ended(ctx, config, started))

    def _start(
        self, ctx: TaskExecutionContext, config: GroupConfig, first: int, count: int
    ) -> list[CreateOutcome]:
        members = self._members(ctx)
        if len(members.items) != config.expected:
            raise BadTaskSpecification(
                f"the inputs of a map hold {len(members.items)} members, and {config.expected} were announced: submit it by "
                "Client.submit_map"
            )
        actions = [member_of(ctx.action, members, index) for index in range(first, first + count)]
        return ctx.services.start_members(actions)

    def _members(self, ctx: TaskExecutionContext) -> Members:
        spec = ctx.action.spec
        key = (spec.input_uri, spec.inputs_digest)
        if spec.inputs is None:
            with self._lock:
                if key in self._documents:
                    self._documents.move_to_end(key)
                    return self._documents[key][1]
        document = ctx.read_inputs()
        try:
            members = read_members(document)
        except msgspec.DecodeError as error:
            raise BadTaskSpecification(
                f"the inputs of a map do not say what its members are: {error}. Submit it by Client.submit_map"
            ) from error
        if spec.inputs is None:
            self._keep(key, len(document), members)
        return members

    def _keep(self, key: tuple[str, str], size: int, members: Members) -> None:
        with self._lock:
            self._documents[key] = (size, members)
            kept = self._documents
            while len(kept) > 1 and (
                len(kept) > _KEPT or sum(each for each, _ in kept.values()) > _KEPT_BYTES
            ):
                kept.popitem(last=False)


def _are_new(outcomes: Sequence[CreateOutcome]) -> bool:
    """Tell whether none was stored before: by a round that died, or by this one, whose answer was lost on the way."""
    return all(outcome is CreateOutcome.CREATED for outcome in outcomes)


def _room(config: GroupConfig, open_: int) -> int:
    """Return how many more members may be open."""
    return config.concurrency - open_


def _filled(ctx: TaskExecutionContext, config: GroupConfig, open_: int) -> PhaseInfo:
    """Say when more are to be started: now if there is room, else when there will be."""
    again = ctx.now if _room(config, open_) > 0 else ctx.now + _LOOK_AGAIN
    refill_at = config.concurrency - max(1, config.concurrency // 10)
    return msgspec.structs.replace(running(0, requeue_at=again), refill_at=refill_at)


def _ended(ctx: TaskExecutionContext, config: GroupConfig, started: int) -> PhaseInfo:
    failed = ctx.children.failed
    if not failed or config.keep_failures:
        return success()
    message = f"{failed} of {config.expected} members did not succeed"
    left = config.expected - started
    return failure("ChildrenFailed", f"{message}; {left} more were not started" if left else message)


ENTRY = PluginEntry(id=WINDOW, task_types=(WINDOW,), load=WindowPlugin)
