"""Explain in one sentence why an action waits, from its record and what is known of its surroundings.

The same sentence stands in `reconciler describe`, in the JSON API and on the page of the action.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

import msgspec

from reconciler.api.action import AttemptOutcome, TaskAction
from reconciler.api.approval import read_condition
from reconciler.api.hand_back import LACKS, HandBack
from reconciler.api.phase import ActionPhase, PluginPhase
from reconciler.api.status_conditions import ConditionStatus, ConditionType
from reconciler.api.template import template_or_none
from reconciler.core.children import WINDOW
from reconciler.core.counted import counted
from reconciler.core.events import observed_attempts
from reconciler.core.half_stored import goes_on_by, half_stored
from reconciler.core.holders import Place, held_by, standing, wanted_of
from reconciler.core.line import Line, place_in
from reconciler.core.paths import launch_id
from reconciler.core.progress import begun
from reconciler.core.starting_over import FAST, start_begun, starts
from reconciler.core.times import iso, span


class Reason(enum.StrEnum):
    """The reason why an action waits, as programs read it."""

    ABORT = "abort"
    PERSON = "person"
    PLANNED = "planned"
    BACK_OFF = "back-off"
    QUOTA = "quota"
    RESERVATION = "reservation"
    PAUSED_QUEUE = "paused queue"
    NO_WORKER = "no worker"
    UNKNOWN_FUNCTION = "unknown function"
    HANDED_BACK = "handed back"
    LINE = "line"
    RUNNING = "running"
    """It does not wait: a worker runs it."""
    SILENT = "silent worker"
    STARTS_OVER = "starts over"
    """Its function starts over so fast that the next start waits for a moment."""
    SUBMITTER = "submitter"
    """Whoever submits it has not stored all of its members yet."""
    CHILDREN = "children"
    PLUGIN = "plugin"
    """Its plugin says why, or nothing."""
    STEP = "step"
    """A reconcile step has to look at it."""


STUCK = frozenset({Reason.PAUSED_QUEUE, Reason.NO_WORKER, Reason.UNKNOWN_FUNCTION})
"""The reasons for which no worker takes a launch until a person does something."""


class Why(msgspec.Struct, frozen=True):
    """An answer to why an action is where it is.

    Attributes:
        reason: for programs.
        text: for people, a sentence without its full stop.
        until: when that ends at the latest, or is looked at again, ms since the epoch; 0 = not known.
        other: the action or the worker it waits for; empty = none.
    """

    reason: Reason
    text: str
    until: int = 0
    other: str = ""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """The facts beside the record. Facts that were not looked up keep their default.

    Attributes:
        now: time of the store, ms since the epoch.
        due: when a step looks at the action next, ms since the epoch; 0 = when something wakes it.
        line: the line its launch stands in; None = in none.
        ahead: launches before it in that line.
        waiting: launches that wait in the queue, its own among them.
        paused: whether the queue is paused.
        queue, function: what it is to run, and where; empty = it runs no function.
        workers: living workers of the queue; None = nobody looked.
        known: whether one of them knows the function.
        keeps: whether its function keeps its worker while it waits for its children (`suspend=False`).
        kept_by: the action above it that keeps a worker while it waits for it; empty = none.
        holder_phase: where the action is that holds the reservation; empty = it was not found.
        holders: who holds units of the resource it waits for, as paths; an empty one is hidden from who asks.
        place: where it stands among those that wait for them; None = it is in no line.
    """

    now: int
    due: int = 0
    line: Line | None = None
    ahead: int = 0
    waiting: int = 0
    paused: bool = False
    queue: str = ""
    function: str = ""
    workers: int | None = None
    known: bool = True
    keeps: bool = False
    kept_by: str = ""
    holder_phase: str = ""
    holders: tuple[str, ...] = ()
    place: Place | None = None


_HOLDER = re.compile(r'reservation owner "([^"]*)"')
_FREE = "where all workers are kept so, children get none; let it be suspended, or start more workers"
_LATE = 5_000
"""How long something may be due before that is worth a word, ms."""


def waits_for_holder(owner: str) -> str:
    """Write the sentence for an action that waits for the holder of a cache reservation; `holder_of` reads it."""
    return f'waiting for cache to be populated by reservation owner "{owner}"'


def holder_of(record: TaskAction) -> str:
    """Find the action whose reservation an action waits for, as a path; empty when it waits for none."""
    if record.status.plugin_phase != PluginPhase.WAITING_FOR_CACHE.label:
        return ""
    found = _HOLDER.search(told(record))
    return "/".join(found[1].split("/")[-4:]) if found else ""  # the owner names its namespace before


def told(record: TaskAction) -> str:
    """Return what the last step wrote of a live action; empty when it wrote nothing, or the action has ended."""
    for condition in record.status.conditions:
        if condition.type is ConditionType.PROGRESSING and condition.status is ConditionStatus.TRUE:
            return condition.message
    return ""


def why(record: TaskAction, around: Surroundings) -> Why | None:
    """Say why an action has not ended; None when it has."""
    if record.phase.is_terminal():
        return None
    for ask in _IN_ORDER:
        found = ask(record, around)
        if found is not None:
            return _which_start(found, record, around)
    return _which_start(_step(record, around), record, around)


def _which_start(found: Why, record: TaskAction, around: Surroundings) -> Why:
    """Add which start of its function it is, if the function has started over."""
    if record.status.start_over is None or found.reason is Reason.STARTS_OVER:
        return found
    since = start_begun(record)
    text = (
        f"{found.text}; this is start {starts(record)}, begun {iso(since)} ({span(around.now - since)} ago)"
    )
    return msgspec.structs.replace(found, text=text)


def _at(when: int, now: int) -> str:
    return f"{iso(when)} (in {span(when - now)})" if when > now else str(iso(when))


def _abort(record: TaskAction, around: Surroundings) -> Why | None:
    deletion, attempt = record.metadata.deletion, record.attempt
    if deletion is None:
        return None
    text = f"is being aborted by {deletion.actor or 'unknown'} since {iso(deletion.at)}: {deletion.reason}"
    if attempt.owner and attempt.outcome is None and attempt.lease_until > around.now:
        text += f"; worker {attempt.owner} is asked to stop"
    elif record.children.open:
        text += f"; {counted(record.children.open, 'child has', 'children have')} to end first"
    return Why(Reason.ABORT, text, attempt.lease_until, attempt.owner)


def _person(record: TaskAction, around: Surroundings) -> Why | None:
    if record.phase is not ActionPhase.PAUSED:
        return None
    spec = read_condition(record.spec.condition_spec)
    asked = f" with {spec.asks_for}: {spec.headline}" if spec else ""
    until = around.due if spec is not None and spec.timeout is not None else 0
    text = f"waits for a person to answer{asked}" + (f"; until {_at(until, around.now)}" if until else "")
    return Why(Reason.PERSON, text, until)


def _planned(record: TaskAction, around: Surroundings) -> Why | None:
    starts = record.metadata.not_before
    if starts <= around.now or begun(record):
        return None
    return Why(Reason.PLANNED, f"was submitted to begin at {_at(starts, around.now)}", starts)


def _back_off(record: TaskAction, around: Surroundings) -> Why | None:
    until, error = record.status.not_before, record.status.error_state
    if until <= around.now:
        return None
    before = observed_attempts(record) - 1
    failed = f"; attempt {before} failed with [{error.code}] {error.message}" if error and before else ""
    text = f"rests until {_at(until, around.now)} before its next attempt (back-off){failed}"
    return Why(Reason.BACK_OFF, text, until)


def _quota(record: TaskAction, around: Surroundings) -> Why | None:
    wanted = wanted_of(record)
    if wanted is None:
        return None
    since = f" since {iso(wanted.since)} ({span(around.now - wanted.since)})" if wanted.since else ""
    text = f'waits for {counted(wanted.units, "unit")} of the resource "{wanted.resource}"{since}'
    text += f": {told(record)}" if told(record) else ""
    other = next(filter(None, around.holders), "")
    return Why(Reason.QUOTA, text + standing(around.place) + held_by(around.holders), around.due, other)


def _reservation(record: TaskAction, around: Surroundings) -> Why | None:
    holder = holder_of(record)
    if not holder:
        return None
    state = f"which is {around.holder_phase}" if around.holder_phase else "which is gone"
    look = f"; it is looked at again at {_at(around.due, around.now)}" if around.due else ""
    text = f"waits for the result of {holder}, {state} and holds the reservation of the same cache key{look}"
    return Why(Reason.RESERVATION, text, around.due, holder)


def _launched(record: TaskAction, around: Surroundings) -> Why | None:
    attempt = record.attempt
    current = launch_id(observed_attempts(record), record.status.launches)
    if attempt.launch != current or attempt.outcome is not None:
        return None
    return _held(record, around) if attempt.owner else _stands(record, around)


def _starts_over(record: TaskAction, around: Surroundings) -> Why | None:
    outcome = record.attempt.outcome
    over = outcome.start_over if outcome is not None else None
    if over is None or (record.status.start_over is not None and record.status.start_over.at >= over.at):
        return None
    text = f"starts over: start {over.number + 1} begins at {_at(over.begins, around.now)}"
    if over.begins > over.at:
        text += f", because the last {over.fast} starts took less than {FAST / 1000:g} s each"
    return Why(Reason.STARTS_OVER, text, over.begins)


def _held(record: TaskAction, around: Surroundings) -> Why:
    attempt = record.attempt
    if attempt.lease_until > around.now:
        text = f"runs on {attempt.owner} since {iso(attempt.started_at)} ({span(around.now - attempt.started_at)})"
        return Why(Reason.RUNNING, text + _keeping(record, around), 0, attempt.owner)
    silent = span(around.now - attempt.lease_until)
    text = (
        f"worker {attempt.owner} is silent: its lease ran out {silent} ago, and the attempt is launched again"
    )
    return Why(Reason.SILENT, text, around.due, attempt.owner)


def _keeping(record: TaskAction, around: Surroundings) -> str:
    """Say that a function keeps its worker from the actions it waits for."""
    children = record.children
    if not children.open:
        return ""
    text = f"; {children.open} of its {children.total} children have not ended"
    if not around.keeps:
        return text
    return f"{text}, and it keeps its worker while it waits for them (suspend=False): {_FREE}"


def _stands(record: TaskAction, around: Surroundings) -> Why | None:
    queue, back = around.queue, record.attempt.handed_back
    if not queue:
        return None
    if around.paused:
        text = f'queue "{queue}" is paused: `reconciler queue resume {queue}` lets it go on'
        text += "; and no living worker consumes it: start one" if around.workers == 0 else ""
        return Why(Reason.PAUSED_QUEUE, text)
    if around.workers == 0:
        text = f'no living worker consumes queue "{queue}": start one, or move what waits with `reconciler queue move`'
        return Why(Reason.NO_WORKER, text)
    if around.workers and not around.known:
        text = (
            f"{_nobody(around.workers, queue)} the function {around.function!r}: "
            "name the module that declares it in RECONCILER_IMPORTS of its workers and restart them"
        )
        return Why(Reason.UNKNOWN_FUNCTION, text)
    if back is not None:
        return _back(back, around)
    return _in_line(record, around) if around.line is not None else None


def _back(back: HandBack, around: Surroundings) -> Why:
    again = max(back.until, around.due)  # what lacks a secret rests for longer each time
    when = f"at {_at(again, around.now)}" if again > around.now else "at the next step"
    return Why(Reason.HANDED_BACK, f"{back.told}; it is offered again {when}", again)


def _nobody(workers: int, queue: str) -> str:
    if workers == 1:
        return f'the one living worker of queue "{queue}" does not know'
    return f'none of the {workers} living workers of queue "{queue}" knows'


def _in_line(record: TaskAction, around: Surroundings) -> Why:
    line = around.line
    assert line is not None
    if told(record).startswith(LACKS):  # only trying tells whether a worker has it by now
        return Why(Reason.HANDED_BACK, f"{told(record)}; it is offered again, and stands in line")
    text = place_in(line, around.ahead, around.waiting, around.workers or 0)
    if around.kept_by:
        text += f"; {around.kept_by}, which waits for it, keeps a worker meanwhile (suspend=False): {_FREE}"
    return Why(Reason.LINE, text)


def _submitter(record: TaskAction, around: Surroundings) -> Why | None:
    half = half_stored(record)
    if half is None:
        return None
    text = f"waits for its submitter: {half.stored} of {half.expected} members are stored"
    if not half.until:
        return Why(
            Reason.SUBMITTER, f"{text}; the function above it stores the rest, and is called again for it"
        )
    fails = (
        f"it fails at {_at(half.until, around.now)}"
        if half.until > around.now
        else "it fails at the next step"
    )
    text += (
        f", and {fails} unless all are by then; if who made it has died, {goes_on_by(record)} stores the rest"
    )
    return Why(Reason.SUBMITTER, text, half.until)


def _children(record: TaskAction, around: Surroundings) -> Why | None:
    children, end = record.children, record.attempt.outcome
    if not children.open:
        return None
    ended = children.total - children.open
    failed = f", {children.failed} of them failed" if children.failed else ""
    later = max(0, _announced(record) - children.total)
    rest = f"; {later} more are started as these end" if later else ""
    text = f"waits for its children: {ended} of {children.total} have ended{failed}{rest}"
    return _or_time(Why(Reason.CHILDREN, text), end, around)


def _or_time(found: Why, end: AttemptOutcome | None, around: Surroundings) -> Why:
    if end is None or end.until <= around.now:
        return found
    text = f"{found.text}; it goes on at {_at(end.until, around.now)} at the latest"
    return msgspec.structs.replace(found, text=text, until=end.until)


def _announced(record: TaskAction) -> int:
    """Count the members of a map that will start more of them itself; 0 for others, or when a failure ends it."""
    template = template_or_none(record) if record.spec.task_type == WINDOW else None
    custom = template.custom if template is not None else None
    if not custom or (record.children.failed and not custom.get("keep_failures")):
        return 0
    expected = custom.get("expected")
    return expected if isinstance(expected, int) else 0


def _plugin(record: TaskAction, around: Surroundings) -> Why | None:
    if record.phase not in {ActionPhase.WAITING_FOR_RESOURCES, ActionPhase.INITIALIZING, ActionPhase.RUNNING}:
        return None
    if around.due and around.due < around.now - _LATE:
        return None
    end, task = record.attempt.outcome, record.spec.task_type or record.spec.action_type
    if end is not None and end.until > around.now and not end.waits_for:
        text = f"sleeps until {_at(end.until, around.now)}, and keeps no worker"
        return Why(Reason.PLUGIN, text, end.until)
    other = next((name for name in end.waits if "/" in name), "") if end is not None else ""
    if end is not None and other:
        more = f" and of {counted(end.waits_for - 1, 'other action')}" if end.waits_for > 1 else ""
        text = f"waits for the end of {other}{more}, and keeps no worker"
        return _or_time(Why(Reason.PLUGIN, text, around.due, other), end, around)
    said = f": {told(record)}" if told(record) else ""
    look = f"; looked at again at {_at(around.due, around.now)}" if around.due else ""
    return Why(Reason.PLUGIN, f"its plugin for {task} says it is {record.phase}{said}{look}", around.due)


def _step(record: TaskAction, around: Surroundings) -> Why:
    """Explain the remaining case: a step has to look at the action."""
    late = around.now - around.due if around.due else 0
    if late > _LATE:
        text = f"is due since {span(late)}, and no step has looked at it: `reconciler doctor` tells whether a worker lives"
    elif not record.status.conditions:
        text = "is new, and the next step looks at it"
    else:
        text = told(record) or "the next step looks at it"
    return Why(Reason.STEP, text, around.due)


_IN_ORDER: tuple[Callable[[TaskAction, Surroundings], Why | None], ...] = (
    _abort, _person, _planned, _back_off, _quota, _reservation, _starts_over, _launched, _submitter, _children, _plugin,
)  # fmt: skip
