"""`reconciler rerun`, `recover` and `fork`: a new run made of an ended one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, TypeVar

import click
import msgspec

from reconciler.api.action import RunId
from reconciler.api.phase import ActionPhase
from reconciler.cli.commands import Command
from reconciler.cli.output import emit, note, say
from reconciler.cli.session import ONE_RUN, Place, common_options, connected, read_text
from reconciler.client import Run
from reconciler.core.counted import counted
from reconciler.stores.counts import RunCounts

F = TypeVar("F", bound=Callable[..., Any])


def making_options(command: F) -> F:
    """Add `--name`, `--idempotency-key`, and what all commands have."""
    for option in (
        common_options,
        click.option(
            "--idempotency-key",
            "--key",
            default="",
            help="Names this call: the same again gives the first run.",
        ),
        click.option("--name", "--run", default="", help="Name of the new run.  [default: a new one]"),
    ):
        command = option(command)
    return command


@click.command(cls=Command)
@click.argument("run", metavar=ONE_RUN)
@making_options
def rerun(*, run: str, name: str, idempotency_key: str, project: str, domain: str, as_json: bool) -> None:
    """Run all of an ended RUN again, with the same inputs, as a new run."""
    _remake("rerun", Place(project, domain), run, name, idempotency_key, as_json=as_json)


@click.command(cls=Command)
@click.argument("run", metavar=ONE_RUN)
@making_options
def recover(*, run: str, name: str, idempotency_key: str, project: str, domain: str, as_json: bool) -> None:
    """Go on from what succeeded of an ended RUN: a new run with those outputs, in which only the rest runs."""
    _remake("recover", Place(project, domain), run, name, idempotency_key, as_json=as_json)


@click.command(cls=Command)
@click.argument("run", metavar=ONE_RUN)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="ACTION=JSON|@FILE",
    help="Inputs of an action that change, a JSON object. May be given for several actions.",
)
@click.option(
    "--again",
    multiple=True,
    metavar="ACTION",
    help="An action that runs again although it succeeded. May be given several times.",
)
@making_options
def fork(
    *,
    run: str,
    inputs: tuple[str, ...],
    again: tuple[str, ...],
    name: str,
    idempotency_key: str,
    project: str,
    domain: str,
    as_json: bool,
) -> None:
    """Recover an ended RUN with changes: named actions run again, with other inputs if you like.

    What else succeeded is taken over; what waits for a named action runs again, too. After a function was mended
    name what it computed with --again.
    """
    if not inputs and not again:
        raise click.UsageError("name what changes: --input ACTION=JSON, or --again ACTION; or use `recover`.")
    changes = {"inputs": _inputs(inputs), "again": again}
    _remake("fork", Place(project, domain), run, name, idempotency_key, as_json=as_json, **changes)


def _remake(
    verb: Literal["rerun", "recover", "fork"],
    place: Place,
    run: str,
    name: str,
    key: str,
    *,
    as_json: bool,
    **changes: Any,  # noqa: ANN401  # of a fork
) -> None:
    one = place.one_run(run)
    source = one.action.run_id
    with connected(place) as client:
        if not (name or key):
            client.before_storing.append(partial(_announce, verb))
        make = getattr(client, verb)
        made: Run[Any] = make(source, name=name, idempotency_key=key, incarnation=one.incarnation, **changes)
        _tell(verb, client.counts(made.id), source, made, as_json=as_json)


def _announce(verb: str, made: RunId) -> None:
    """Tell the name of the new run before it is stored: after an interruption it is needed."""
    note(
        f"The new run is to be {made.run}: after an interruption the same `reconciler {verb}` with --name {made.run} "
        "goes on."
    )


def _inputs(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        action, changed = _input(text)
        if action in found:
            raise click.UsageError(
                f"--input names {action} twice: write all its changes in one, {action}={{…, …}}."
            )
        found[action] = changed
    return found


def _input(text: str) -> tuple[str, dict[str, Any]]:
    action, found, document = text.partition("=")
    if not found:
        raise click.BadParameter(f"{text[:80]!r} must be ACTION={{…}}.", param_hint="--input")
    try:
        return action, _once(read_text("--input", document))
    except msgspec.DecodeError as error:
        raise click.BadParameter(
            f"{text[:80]!r} must be ACTION={{…}}, a JSON object: {error}.", param_hint="--input"
        ) from error


def _once(document: bytes) -> dict[str, Any]:
    """Read a JSON object in which no name stands twice: of two values one would be dropped, in silence.

    Raises:
        DecodeError: it is none.
        BadParameter: a name stands twice in it, or in an object in it.
    """
    found: dict[str, Any] = msgspec.json.decode(document, type=dict[str, Any])
    json.loads(document, object_pairs_hook=_unlike)
    return found


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counted_names = Counter(name for name, _ in pairs)
    for name, times in counted_names.items():
        if times > 1:
            raise click.BadParameter(
                f"{name!r:.80} stands {times} times in one object: name it once.", param_hint="--input"
            )
    return dict(pairs)


def _tell(verb: str, counts: RunCounts, source: RunId, made: Run[Any], *, as_json: bool) -> None:
    """Say what was made. How much runs is not told: functions start children meanwhile."""
    reused = counts.phases.get(ActionPhase.RECOVERED, 0)
    document = {
        "run": str(made.id),
        "action": str(made.action),
        "source": str(source),
        "reused": reused,
    }
    if as_json:
        emit(document)
        return
    taken = (
        "everything runs again"
        if verb == "rerun"
        else f"{counted(reused, 'action is', 'actions are')} taken over, the rest runs"
    )
    say(f"{made.id} was made of {source}: {taken}.")
    say(f"`reconciler watch {made.id}` follows it.")
