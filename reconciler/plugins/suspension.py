"""A function that only waits gives its worker away: what its record says meanwhile, and when it is launched again.

Nobody polls. Each child that ends wakes a parent whose launch has ended (commit), and a time to wake up is a due time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from reconciler.api.action import ActionId, AttemptOutcome, TaskAction
from reconciler.api.phase import ActionPhase
from reconciler.api.start_over import StartOver
from reconciler.api.transition import PhaseInfo, TaskInfo, running
from reconciler.core.attempts import IS_SUSPENDED
from reconciler.core.times import iso
from reconciler.core.why import told
from reconciler.plugins.context import TaskExecutionContext
from reconciler.plugins.endless import way_back
from reconciler.stores.base import Store

NAMED = 64
"""Most actions a suspended launch names; of more it only says how many."""
_LOOK_AGAIN = 600_000
_LOOK_AGAIN_AT_MOST = 86_400_000
"""Between two looks at what nobody should have to look at, as ends are told, ms: a quarter of the wait, between these."""
_PAUSE = 1_000
_LONGEST_PAUSE = 60_000
"""Between two passes of a function some of whose awaited actions have ended and some not, ms: twice as long each time."""


def phases_of(store: Store, actions: Sequence[ActionId]) -> list[ActionPhase | None]:
    """Return how far actions of a run have come, in the order asked; None for one that does not exist."""
    return [found.phase if found is not None else None for found in store.get_many(actions)]


def ended_below(store: Store, action: ActionId) -> int:
    """Count the children of an action that have ended."""
    record = store.get(action)
    return 0 if record is None else record.children.total - record.children.open


def turns_back(store: Store, waiter: ActionId, targets: Sequence[ActionId]) -> bool:
    """Tell whether a suspended action waits for itself. Only one action of a circle gets true, and breaks the circle."""
    for target in targets:
        way = [waiter, *way_back(store, waiter, target)]
        asking = [one for one, other in pairwise(way) if one.run_id != other.run_id]
        if len(way) > 1 and waiter == min(asking):
            return True
    return False


def stop_attempt(store: Store, action: TaskAction, reason: str) -> None:
    """Ask the running launch of an action to stop."""
    store.stop_attempt(action.id, reason, incarnation=action.metadata.incarnation)


def look(ctx: TaskExecutionContext) -> PhaseInfo | None:
    """Return what a suspended attempt waits for; None when it may go on, and the context is then that of its next launch.

    It goes on at its time, or when all it waits for has ended, or after a pause when some has. What it held of quotas is
    given back meanwhile.
    """
    outcome = ctx.attempt.outcome
    assert outcome is not None
    if outcome.start_over is not None:
        return _starts_over(ctx, outcome, outcome.start_over)
    ended, over, of = _ended(ctx, outcome)
    follows = any("#" in name for name in outcome.waits)
    times = [outcome.until] if outcome.until else []
    if of > len(outcome.waits) or not (of or times):
        # which of so many it waits for is not known here: others that stay open may hide that all of them have ended
        times.append(outcome.at + _LONGEST_PAUSE)
    if ended:
        pause = min(_PAUSE << min(ctx.action.status.resumes, 6), _LONGEST_PAUSE)
        # who takes results as they come is called for some of them together, and at once when there will be no more
        times.append(ctx.now if over >= of else outcome.at + pause)
    if times and min(times) <= ctx.now:
        ctx.resume(outcome.at)
        return None
    ctx.action.set_status(quota_leases=())
    waited = ctx.now - outcome.at
    again = min(max(_LOOK_AGAIN, waited // 4), _LOOK_AGAIN_AT_MOST)
    if apart := [ActionId.parse(name) for name in outcome.waits if "/" in name]:
        if ctx.services.turns_back(ctx.action.id, apart):
            ctx.resume(outcome.at)  # called again, it is told so where it waits
            return None
        # the end of an action of another run wakes nobody here
        again = min(max(waited // 4, _PAUSE), _LONGEST_PAUSE)
    if follows:  # the end of what lies below a child wakes nobody here either
        again = min(again, max(waited // 4, _PAUSE), _LONGEST_PAUSE)
    # a time comes by itself; an end is told to this action, and looked for now and then all the same
    until = min([*times, ctx.now + again] if of else times)
    return msgspec.structs.replace(_waits(outcome, until), reason=_why(outcome, ended, of))


def _waits(outcome: AttemptOutcome, until: int) -> PhaseInfo:
    """Say that an attempt runs; its first pass may have been over before a step saw it."""
    return running(0, TaskInfo(began_at=min(outcome.began, outcome.at)), requeue_at=until)


def _starts_over(ctx: TaskExecutionContext, outcome: AttemptOutcome, over: StartOver) -> PhaseInfo | None:
    """Begin the next start of a function; one that starts over too fast waits for a moment, without an event."""
    if over.begins <= ctx.now:
        ctx.action.set_status(start_over=over)
        ctx.resume(outcome.at)
        return None
    ctx.action.set_status(quota_leases=())
    return msgspec.structs.replace(_waits(outcome, over.begins), reason=told(ctx.action))


def _ended(ctx: TaskExecutionContext, outcome: AttemptOutcome) -> tuple[int, int, int]:
    """Count the awaited actions: those with news, those that have ended wholly, and all.

    Of a map whose results are taken as they come the end of a member is new, and the map itself goes on.
    """
    run = ctx.action.id.run_id
    of = outcome.waits_for
    if of <= len(outcome.waits):
        names = [name.partition("#") for name in outcome.waits]
        actions = [ActionId.parse(name) if "/" in name else run.action(name) for name, _, _ in names]
        # one that is not there is told of when it is asked for again
        over = [phase is None or phase.is_terminal() for phase in ctx.services.phases_of(actions)]
        more = [
            bool(after) and not is_over and ctx.services.ended_below(action) > int(after)
            for action, (_, _, after), is_over in zip(actions, names, over, strict=True)
        ]
        return sum(over) + sum(more), sum(over), of
    children = ctx.children
    ended = of if not children.open else max(0, of - children.open)
    return ended, ended, of


def _name(waits: str) -> str:
    name, _, after = waits.partition("#")
    return f"the next of {name}" if after else name


def _why(outcome: AttemptOutcome, ended: int, of: int) -> str:
    parts = []
    if of:
        parts.append(f"{of - ended} of {of} actions below it" if of > 1 else _name(outcome.waits[0]))
    if outcome.until:
        parts.append(str(iso(outcome.until)))
    return f"{IS_SUSPENDED} {' or '.join(parts) or 'nothing'}"
