"""`reconciler abort`: the durable request to stop."""

from __future__ import annotations

import click

from reconciler.api.action import ActionId
from reconciler.cli.commands import Command
from reconciler.cli.exits import GivenUp
from reconciler.cli.output import emit, say
from reconciler.cli.session import ONE, Place, common_options, connected
from reconciler.client.actions import Actions
from reconciler.stores.base import AbortOutcome


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@click.option("--reason", required=True, help="Why; stored, and told to the action and in its events.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common_options
def abort(*, action: str, reason: str, yes: bool, project: str, domain: str, as_json: bool) -> None:
    """Stop an action and all its descendants; RUN alone stops the whole run.

    Returns once the request is stored. The action ends in `aborted` when its attempt has stopped; `watch`
    follows that. What has ended stays as it ended.
    """
    if as_json and not yes:
        raise click.UsageError("--json asks no questions: add --yes.")
    if not reason.strip():
        raise click.UsageError("--reason must not be empty.")
    place = Place(project, domain)
    one = place.one(action)
    target = one.action
    with connected(place) as connection:
        client = one.reader(connection)
        if not yes:
            _ask(client, target)
        outcome = client.abort(target, reason)
        if as_json:
            emit({"action": str(target), "outcome": outcome.value, "reason": reason})
        else:
            say(_sentence(client, target, outcome))


def _ask(client: Actions, action: ActionId) -> None:
    """Ask for a yes.

    Raises:
        GivenUp: the answer is another one, or there is nobody to answer.
    """
    record = client.get(action)
    if record.phase.is_terminal():
        return
    below = f" and {record.children.open} open children" if record.children.open else ""
    try:
        agreed = click.confirm(f"Abort {action} ({record.phase}){below}?", err=True)
    except click.Abort:
        raise GivenUp("nobody answered, so nothing was aborted; add --yes to be not asked.") from None
    if not agreed:
        raise GivenUp("nothing was aborted.")


def _sentence(client: Actions, action: ActionId, outcome: AbortOutcome) -> str:
    match outcome:
        case AbortOutcome.REQUESTED:
            return f"{action} is being aborted."
        case AbortOutcome.ALREADY:
            return f"{action} is being aborted already; the first reason stands."
        case AbortOutcome.ENDED:
            return f"{action} has ended before: {client.get(action).phase}."
        case AbortOutcome.MISSING:
            raise AssertionError(action)  # told by an exception
