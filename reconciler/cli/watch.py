"""`reconciler watch` and `reconciler events`: what happened to an action, and what happens to it."""

from __future__ import annotations

import sys
from functools import partial

import click

from reconciler.api.action import ActionId, TaskAction
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.cli.commands import Command
from reconciler.cli.durations import duration
from reconciler.cli.format import in_row, stamp
from reconciler.cli.output import emit, note, phase_text
from reconciler.cli.run_tree import follow_tree
from reconciler.cli.session import ONE, Place, common_options, connected, leaving_it_running
from reconciler.cli.terminal import write
from reconciler.client import Client
from reconciler.client.actions import Actions
from reconciler.client.describing import why_waiting
from reconciler.client.waiting import raise_unless_succeeded
from reconciler.core.documents import event_document
from reconciler.core.why import STUCK

after_option = click.option(
    "--after", type=click.IntRange(0), default=0, help="Only events behind this sequence number."
)


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@after_option
@click.option("--timeout", type=duration, help="Longest wait, as 60, 10s or 2h.  [default: no limit]")
@common_options
def watch(
    *, action: str, after: int, timeout: float | None, project: str, domain: str, as_json: bool
) -> None:
    """Follow an action until it ends; exits as `result` does.

    Of several runs that had the name, the last one, or that of INCARNATION, as `reconciler history` shows it.
    On a terminal, the tree of a RUN is shown with its progress; else events, as they come.
    Ctrl-C ends the watching, not the action. With --json, one object per line.
    """
    place = Place(project, domain)
    one = place.one(action)
    target = one.action
    with connected(place) as connection, leaving_it_running(target):
        client = one.reader(connection)
        if _as_tree(client, target, after, as_json=as_json):
            follow_tree(client, target, timeout, partial(_stuck, connection))
        else:
            for event in client.watch(target, after, timeout):
                _show(event, as_json=as_json)
                if not as_json and event.phase is ActionPhase.QUEUED:
                    _tell_why(connection, client.get(target), event)
        raise_unless_succeeded(client.get(target))


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@after_option
@common_options
def events(*, action: str, after: int, project: str, domain: str, as_json: bool) -> None:
    """Show the events of an action so far. With --json, one object per line.

    Of several runs that had the name, the last one, or that of INCARNATION, as `reconciler history` shows it.
    """
    place = Place(project, domain)
    target = place.one(action)
    with connected(place) as client:
        reader = target.reader(client)
        found = reader.events(target.action, after)
        for event in found:
            _show(event, as_json=as_json)
        if not found and not as_json:
            note(_why_none(reader, target.action, after))


def _tell_why(client: Client, record: TaskAction, event: ActionEvent) -> None:
    """Say why no worker will take it as things are; the event, which a step wrote, tells of a launch alone."""
    if record.events != event.sequence:
        return  # an old event: it has gone on since
    text = _stuck(client, record)
    if text:
        note(f"{text}.")


def _stuck(client: Client, record: TaskAction) -> str:
    """Say why no worker will take an action as things are; empty when one may."""
    found = why_waiting(client, record) if record.phase is ActionPhase.QUEUED else None
    return found.text if found is not None and found.reason in STUCK else ""


def _as_tree(client: Actions, target: ActionId, after: int, *, as_json: bool) -> bool:
    """Tell whether a person looks at a run."""
    if as_json or after or not sys.stdout.isatty():
        return False
    return not client.get(target).spec.parent_action_name


def _why_none(client: Actions, action: ActionId, after: int) -> str:
    total = client.get(action).events
    if total <= after:
        return f"{action} has no events behind {after}; the last one is {total}."
    return f"The events of {action} are no longer kept (RECONCILER_EVENTS_RETENTION)."


def _show(event: ActionEvent, *, as_json: bool) -> None:
    if as_json:
        emit(event_document(event))
        return
    parts = [reason.message for reason in event.cluster_events]
    if event.error_info:
        parts.append(f"[{event.error_info.code}] {event.error_info.message}")
    if event.actor:
        parts.append(f"(by {event.actor})")
    phase = phase_text(event.phase) + " " * max(0, 21 - len(str(event.phase)))
    remark = in_row(" ".join(" ".join(parts).split()))
    head = f"{event.sequence:>4}  {stamp(event.updated_time)}  attempt {event.attempt}  {phase}"
    write(f"{head}  {remark}".rstrip())
