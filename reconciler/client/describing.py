"""Read what surrounds an action, to explain why it waits. Reads a few keys and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.errors import BadTaskSpecification, InvalidName
from reconciler.api.phase import ActionPhase
from reconciler.api.resource import QuotaLease
from reconciler.api.template import template_or_none
from reconciler.client.client import Client
from reconciler.client.incarnation import OneIncarnation
from reconciler.core.holders import Place, wanted_of
from reconciler.core.line import read_line
from reconciler.core.why import Reason, Surroundings, Why, holder_of, why
from reconciler.plugins.function_config import config_of, function_types

replace = msgspec.structs.replace


Sees = Callable[[str], bool]
"""Tells whether who asks sees a project."""


def why_waiting(client: Client, record: TaskAction, sees: Sees = bool) -> Why | None:
    """Tell why an action has not ended; None when it has."""
    return None if record.phase.is_terminal() else why(record, look_around(client, record, sees))


def look_around(client: Client, record: TaskAction, sees: Sees = bool) -> Surroundings:
    """Read what currently surrounds an action."""
    store, turn = client.store, client.store.turn(record.id)
    found = Surroundings(now=store.now(), due=turn.due, ahead=turn.ahead)
    holder = holder_of(record)
    if holder:
        return replace(found, holder_phase=_phase_of(client, holder, found.now))
    wanted = wanted_of(record)
    if wanted is not None:
        return replace(found, holders=_holders(client, wanted.resource, sees), place=_place(client, wanted))
    queue, function = what_it_runs(client, record)
    if turn.line:
        line = read_line(turn.line)
        queue, found = line.queue, replace(found, line=line)
    if not queue:
        return found
    if record.attempt.owner:
        return replace(found, keeps=record.children.open > 0 and _keeps_its_worker(record))
    facts, known = client.queues(queue)[0], store.find_function(queue, function)
    return replace(
        found,
        queue=queue,
        function=function,
        waiting=facts.waiting,
        paused=facts.paused,
        workers=known.workers,
        known=bool(known.digests or known.lacks),
        kept_by=_kept_by(client, record) if turn.line else "",
    )


def _holders(client: Client, resource: str, sees: Sees) -> tuple[str, ...]:
    found = client.quotas.holders(resource) if client.quotas is not None else ()
    return tuple(str(one.action) if sees(one.action.project) else "" for one in found)


def _place(client: Client, wanted: QuotaLease) -> Place | None:
    return client.quotas.place(wanted.resource, wanted.token) if client.quotas is not None else None


def _keeps_its_worker(record: TaskAction) -> bool:
    """Tell whether a worker runs its function and keeps running it while it waits."""
    template, attempt = template_or_none(record), record.attempt
    if template is None or not attempt.owner or attempt.outcome is not None:
        return False
    with suppress(BadTaskSpecification):
        return not config_of(template.custom).suspend
    return False


def _kept_by(client: Client, record: TaskAction) -> str:
    """Find the first action above it that keeps its worker while it waits; empty when none does."""
    above: TaskAction | None = record
    while above is not None and above.spec.parent_action_name:
        above = client.store.get(above.id.run_id.action(above.spec.parent_action_name))
        if above is not None and _keeps_its_worker(above):
            return above.id.action
    return ""


def _phase_of(client: Client, path: str, now: int) -> str:
    """Return the phase of an action. A lease shows RUNNING before the step writes it."""
    found = _find(client, path)
    if found is None:
        return ""
    attempt = found.attempt
    runs = bool(attempt.owner) and attempt.outcome is None and attempt.lease_until > now
    return str(ActionPhase.RUNNING if runs else found.phase)


def _find(client: Client, path: str) -> TaskAction | None:
    """Read the record of a path; None also when it is not a path, such as an owner named by a user's policy."""
    try:
        return client.store.get(ActionId.parse(path))
    except InvalidName:
        return None


def what_it_runs(client: Client, record: TaskAction) -> tuple[str, str]:
    """Find the queue and the function of an action, as its task says; both empty when it runs none."""
    template = template_or_none(record)
    if template is None or record.spec.task_type not in function_types(client.settings):
        return "", ""
    try:
        config = config_of(template.custom)
    except BadTaskSpecification:
        return "", ""
    return config.queue or client.settings.attempts_queue, config.function


class Described(msgspec.Struct, frozen=True):
    """An action with the reason why it has not ended; None when it has."""

    record: TaskAction
    why: Why | None


_DEEP = 8
"""Actions in a chain of reasons, at most."""
_ASKING = 1000
"""Questions among which those of a run are looked for."""


def describe(client: Client, action: ActionId, incarnation: str = "", sees: Sees = bool) -> list[Described]:
    """Describe an action and what it waits for, then what that waits for, and so on.

    Of open children it is the one that asks a person, or below which somebody does, else the first one.

    Args:
        client: reads.
        action: which one.
        incarnation: of its run; empty: the one there is.
        sees: whether who asks sees a project; by default all.

    Raises:
        ActionNotFound: there is no such action.
    """
    record: TaskAction | None = OneIncarnation(client, action, incarnation).get(action)
    chain: list[Described] = []
    while record is not None and len(chain) < _DEEP and record.id not in {one.record.id for one in chain}:
        found = why_waiting(client, record, sees)
        chain.append(Described(record, found))
        record = _next(client, record, found)
    return chain


def _next(client: Client, record: TaskAction, found: Why | None) -> TaskAction | None:
    if found is None:
        return None
    if found.reason in {Reason.RESERVATION, Reason.QUOTA}:
        return _find(client, found.other)
    if found.reason is Reason.PLUGIN and found.other.startswith(f"{record.id.project}/"):
        return _find(client, found.other)  # a run of its own; of another project nothing is told but its name
    if found.reason is not Reason.CHILDREN and not (found.reason is Reason.RUNNING and record.children.open):
        return None
    return _asked_below(client, record) or _first_open(client, record)


def _first_open(client: Client, record: TaskAction) -> TaskAction | None:
    page = client.store.list_actions(record.id.run_id, parent=record.id.action)
    return next((child for child in page.actions if not child.phase.is_terminal()), None)


def _asked_below(client: Client, record: TaskAction) -> TaskAction | None:
    """Find the child of an action that asks a person, or below which somebody does; None when nobody does."""
    run, store = record.id.run_id, client.store
    counts = store.counts(run)
    if counts is None or not counts.phases.get(ActionPhase.PAUSED):
        return None
    asking = [action for action in store.list_asking(_ASKING).actions if action.run_id == run]
    for action in reversed(asking[-_DEEP:]):
        one, steps = store.get(action), 0
        while one is not None and one.spec.parent_action_name and steps < _DEEP:
            if one.spec.parent_action_name == record.id.action:
                return one
            one, steps = store.get(run.action(one.spec.parent_action_name)), steps + 1
    return None
