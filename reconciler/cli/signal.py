"""`reconciler signal`: the answer to a condition."""

from __future__ import annotations

import click
import msgspec

from reconciler.api.approval import TYPES, Value
from reconciler.cli.commands import Command
from reconciler.cli.output import emit, say
from reconciler.cli.session import ONE, One, Place, common_options, connected, read_text
from reconciler.client.submission import whoami
from reconciler.stores.base import SignalOutcome


@click.command(cls=Command)
@click.argument("words", metavar=f"[{ONE}] VALUE", nargs=-1, required=True)
@click.option(
    "--token",
    metavar="TOKEN|@FILE",
    help="Callback token of a webhook, instead of a name; @- reads stdin.",
)
@click.option(
    "--type", "kind", type=click.Choice(list(TYPES)), help="Read VALUE as this; str takes it as it is."
)
@common_options
def signal(
    *, words: tuple[str, ...], token: str | None, kind: str | None, project: str, domain: str, as_json: bool
) -> None:
    """Answer a condition, in your name. The first answer stands.

    VALUE is JSON: true, 7, 0.5 or '"a text"'; with --type str, a text as it is. Write -- before a negative
    number. `list RUN --phase paused` shows what waits.
    """
    if len(words) != (1 if token else 2):
        wanted = "only VALUE beside --token" if token else f"{ONE} and VALUE, or --token and VALUE"
        raise click.UsageError(f"Give {wanted}.")
    answer = read_value(words[-1], kind)
    given = read_text("--token", token).decode(errors="replace").strip() if token else ""
    place = Place(project, domain)
    by = whoami()
    with connected(place) as client:
        target, incarnation = One(client.action_of_token(given)) if given else place.one(words[0])
        outcome = client.signal(target, answer, by, incarnation=incarnation)
        if as_json:
            emit({"action": str(target), "outcome": outcome.value, "value": answer, "by": by})
        elif outcome is SignalOutcome.SAME:
            say(f"{target} was signalled with this value before.")
        else:
            say(f"{target} is signalled.")


def read_value(text: str, kind: str | None) -> Value:
    """Read the value of a text.

    Args:
        text: JSON; for the type str, the value itself.
        kind: name of the wanted type; None takes that of the JSON value.

    Raises:
        BadParameter: it is no JSON scalar, or of another type.
    """
    if kind == "str":
        return text
    try:
        value: Value = msgspec.json.decode(text, type=Value if kind is None else TYPES[kind])
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        wanted = (
            f"JSON value of type {kind}"
            if kind
            else "JSON value: write true, 7, 0.5, or add --type str for a text"
        )
        raise click.BadParameter(f"{text!r} is no {wanted}.", param_hint="VALUE") from error
    return value
