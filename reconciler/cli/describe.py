"""`reconciler describe`: why an action waits, and what the cause of that waits for in turn."""

from __future__ import annotations

from textwrap import indent

import click

from reconciler.api.phase import ActionPhase
from reconciler.cli.commands import Command
from reconciler.cli.documents import error_of
from reconciler.cli.format import ago, sentence
from reconciler.cli.get import never_asked_for
from reconciler.cli.output import emit, phase_text, say
from reconciler.cli.session import ONE, Place, common_options, connected
from reconciler.cli.terminal import styled, write
from reconciler.client.describing import Described, describe
from reconciler.core.documents import Document
from reconciler.core.status_conditions import terminal_time
from reconciler.core.times import iso


@click.command("describe", cls=Command)
@click.argument("action", metavar=ONE)
@common_options
def describing(*, action: str, project: str, domain: str, as_json: bool) -> None:
    """Say in a sentence why an action waits: its place in line, a quota, a person, a paused queue, and so on.

    When it waits for another action, that one is described below it.
    """
    place = Place(project, domain)
    target = place.one(action)
    with connected(place) as client:
        chain = describe(client, target.action, target.incarnation)
        if as_json:
            emit({"chain": [why_document(one) for one in chain]})
            return
        now = client.store.now()
        for one in chain:
            _show(one, now)


def _show(one: Described, now: int) -> None:
    write(f"{styled(str(one.record.id), bold=True)}  {phase_text(one.record.phase)}")
    text = sentence(one.why.text) if one.why else _end(one, now)
    say(indent(text, "  "))  # texts of others have lines, too: none of them may look like one of ours
    if one.record.status.unasked:
        say(f"  Not asked for: {never_asked_for(one.record)}; what is open of them ends with it.")


def _end(one: Described, now: int) -> str:
    ended, error = terminal_time(one.record.status), error_of(one.record)
    when = f"ended {ago(ended, now)}"
    if error is not None and one.record.phase is not ActionPhase.ABORTED:
        return f"{when} with [{error.code}] {error.message}"
    lineage = one.record.metadata.lineage
    if lineage is not None and one.record.phase is ActionPhase.RECOVERED:
        return f"was taken over from {lineage.source} {ago(ended, now)}; nothing runs."
    deletion = one.record.metadata.deletion
    return f"{when}: {deletion.reason}, said {deletion.actor or 'unknown'}" if deletion else f"{when}."


def why_document(one: Described) -> Document:
    """Tell why an action has not ended; its three texts are null when it has."""
    why = one.why
    return {
        "action": str(one.record.id),
        "phase": str(one.record.phase),
        "reason": str(why.reason) if why else None,
        "why": why.text if why else None,
        "until": iso(why.until) if why else None,
        "waits_for": (why.other or None) if why else None,
        "never_asked_for": list(one.record.status.unasked),
    }
