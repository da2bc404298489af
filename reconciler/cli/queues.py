"""`reconciler queue` and `reconciler prioritize`: what waits, and in which order it runs."""

from __future__ import annotations

import click
import msgspec

from reconciler.cli.commands import Command, Group
from reconciler.cli.output import emit, note, say, show_table
from reconciler.cli.session import ONE, Place, common_options, connected
from reconciler.client import Client, QueueFacts
from reconciler.core.counted import counted
from reconciler.core.times import iso

_json = click.option("--json", "as_json", is_flag=True, help="Answer with JSON, for programs.")


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def queue(context: click.Context) -> None:
    """Look at the queues of attempts, and decide what happens to waiting launches."""
    if context.invoked_subcommand is None:
        context.invoke(listing)


@queue.command("list", short_help="Show what waits in each queue.")
@click.argument("names", metavar="[QUEUE]...", nargs=-1)
@_json
def listing(*, names: tuple[str, ...] = (), as_json: bool = False) -> None:
    """Show how much waits in each queue, whether it is paused, and its limit; with --json also who changed that.

    Without a name: the default queue, and all in which launches wait.
    """
    with connected(Place("", "")) as client:
        found = client.queues(*names)
    if as_json:
        emit({"queues": [_document(facts) for facts in found]})
        return
    show_table(
        ("QUEUE", "WAITING", "STATE", "LIMIT"),
        [
            (
                facts.name,
                str(facts.waiting),
                "paused" if facts.paused else "open",
                "none" if facts.limit is None else str(facts.limit),
            )
            for facts in found
        ],
    )


@queue.command(short_help="Start nothing of a queue any more.")
@click.argument("name", metavar="QUEUE")
@_json
def pause(*, name: str, as_json: bool) -> None:
    """Start nothing of a queue any more; what runs goes on, what is submitted waits."""
    with connected(Place("", "")) as client:
        client.pause_queue(name)
        _tell(
            {"queue": name, "paused": True},
            f"queue {name} is paused; `reconciler queue resume {name}` lets it go on.",
            as_json=as_json,
        )
        _remark(client, name)


@queue.command(short_help="Let a paused queue go on.")
@click.argument("name", metavar="QUEUE")
@_json
def resume(*, name: str, as_json: bool) -> None:
    """Let a paused queue go on."""
    with connected(Place("", "")) as client:
        client.resume_queue(name)
        _tell({"queue": name, "paused": False}, f"queue {name} goes on.", as_json=as_json)
        _remark(client, name)


@queue.command(short_help="Move what waits in a queue to another one.")
@click.argument("name", metavar="QUEUE")
@click.argument("to", metavar="TO")
@_json
def move(*, name: str, to: str, as_json: bool) -> None:
    """Move what waits in QUEUE now to the queue TO. Later submissions go where their tasks say."""
    with connected(Place("", "")) as client:
        moved = client.move_queue(name, to)
        _tell(
            {"queue": name, "to": to, "moved": moved}, f"{moved} moved from {name} to {to}.", as_json=as_json
        )
        _remark(client, to)


@queue.command(short_help="Refuse submissions while so much waits.")
@click.argument("name", metavar="QUEUE")
@click.argument("most", metavar="MOST|none")
@_json
def limit(*, name: str, most: str, as_json: bool) -> None:
    """Refuse submissions of functions while MOST launches wait in a queue; `none` takes the limit away."""
    wanted = None if most == "none" else _number(most)
    with connected(Place("", "")) as client:
        client.limit_queue(name, wanted)
        text = (
            f"queue {name} takes any number."
            if wanted is None
            else f"queue {name} takes {wanted} at most; what waits already stays."
        )
        _tell({"queue": name, "limit": wanted}, text, as_json=as_json)
        _remark(client, name)


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@click.argument("priority", type=click.IntRange(0, 9))
@common_options
def prioritize(*, action: str, priority: int, project: str, domain: str, as_json: bool) -> None:
    """Give an action and all below it another priority, 0 (last) to 9 (first); RUN alone the whole run.

    What waits changes its turn at once. What runs or has ended is not concerned; a later attempt of it is.
    """
    place = Place(project, domain)
    one = place.one(action)
    target = one.action
    with connected(place) as client:
        changed = one.reader(client).prioritize(target, priority)
        _tell(
            {"action": str(target), "priority": priority, "changed": changed},
            f"{target}: {counted(changed, 'live action has', 'live actions have')} priority {priority}."
            if changed
            else f"{target} has ended, and so has all below it: no priority was changed.",
            as_json=as_json,
        )


def _document(facts: QueueFacts) -> dict[str, object]:
    """Write the rules of a queue, and who made them."""
    told = msgspec.structs.asdict(facts)
    ruled = [{**msgspec.structs.asdict(one), "at": iso(one.at)} for one in told.pop("ruled")]
    return {**told, "ruled": ruled} if ruled else told


def _remark(client: Client, queue: str) -> None:
    """Say that nobody consumes a queue: its name may be mistyped, and then what was meant goes on as before."""
    if client.store.find_function(queue, "").workers == 0:
        note(f"No living worker consumes the queue {queue}: if that is its name, start one.")


def _tell(document: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        emit(document)
    else:
        say(text)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise click.BadParameter(
            f"{text!r} is no number of launches; write one as 1000, or none.", param_hint="MOST"
        )
    return int(text)
