"""Define what a page may do to an action, in one table. A new button is a new row; page and API do not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from reconciler.api.action import CONDITION, ActionId, TaskAction
from reconciler.api.approval import read_condition
from reconciler.api.audit import Door
from reconciler.api.errors import InvalidInput, NotACondition
from reconciler.api.phase import ActionPhase
from reconciler.client import Client
from reconciler.client.run import Run
from reconciler.core.children import GROUPS
from reconciler.core.counted import counted
from reconciler.core.documents import Document
from reconciler.core.visible import visible
from reconciler.stores.base import AbortOutcome, SignalOutcome
from worker.dashboard.remembered import reader
from worker.dashboard.typed_inputs import Field, inputs_field

Values = Mapping[str, Any]
ANYBODY: Final = "somebody without a login"
"""Who presses where Flower has no login, as histories show it: not the user whose process Flower is."""


class Asked(msgspec.Struct, frozen=True):
    """The person who presses a button, and what it is pressed for.

    Attributes:
        client: of the installation.
        action: which one.
        values: of the form.
        by: who presses; empty = Flower has no login.
        incarnation: of several runs of the name this one; empty = the last one.
    """

    client: Client
    action: ActionId
    values: Values
    by: str
    incarnation: str = ""


class Done(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of a press: as the verb names it, as a sentence, and the new run."""

    outcome: str
    told: str
    run: str = ""


class Button(msgspec.Struct, frozen=True):
    """A verb that a person may apply to an action.

    Attributes:
        name: in the address of the request.
        label: what a person reads.
        explains: what it does, in a sentence.
        fits: whether it makes sense for an action as it is.
        fields: of its form, for an action.
        act: does it, in the name of a person.
        values: names of the values it reads.
        danger: whether it ends something.
    """

    name: str
    label: str
    explains: str
    fits: Callable[[TaskAction], bool]
    fields: Callable[[TaskAction], list[Field]]
    act: Callable[[Asked], Done]
    values: tuple[str, ...] = ()
    danger: bool = False


def buttons_of(record: TaskAction) -> list[Document]:
    """Choose the buttons that fit an action, as the page gets them."""
    return [
        {
            "name": button.name,
            "label": button.label,
            "explains": button.explains,
            "fields": [msgspec.to_builtins(field) for field in button.fields(record)],
            "danger": button.danger,
        }
        for button in BUTTONS.values()
        if button.fits(record)
    ]


def press(name: str, asked: Asked) -> Document:
    """Do what a button says.

    Raises:
        InvalidInput: there is no such button, or a value is missing or of another type.
        ReconcilerError: as the verb of `Client` behind it.
    """
    button = BUTTONS.get(name)
    if button is None:
        raise InvalidInput(f"there is no button {name[:40]!r}; there are: {', '.join(BUTTONS)}")
    check_values(name, asked.values, button.values)
    by = asked.by or ANYBODY
    done = button.act(msgspec.structs.replace(asked, client=speaking(asked.client, by), by=by))
    return {"action": str(asked.action), "button": name, "by": by, **msgspec.structs.asdict(done)}


def check_values(name: str, values: Values, known: tuple[str, ...]) -> None:
    """Refuse values that a button does not read: who sends them expects something of them.

    Raises:
        InvalidInput: there are such.
    """
    strange = ", ".join(visible(one[:80]) for one in sorted(values.keys() - known))
    if strange:
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise InvalidInput(f"{name} knows no value {strange}, so leave it out: {takes}")


@lru_cache(maxsize=64)
def speaking(own: Client, by: str) -> Client:
    """Make a client that notes who presses with every change; one for each person, since a client is meant to be kept."""
    client = Client(own.store, own.blobs, own.messenger, own.settings)
    client.door, client.actor = Door.FLOWER, by
    return client


_ABORTED = {
    AbortOutcome.REQUESTED: "It is being aborted, with all below it.",
    AbortOutcome.ALREADY: "It was being aborted already; the first reason stands.",
    AbortOutcome.ENDED: "It had ended before, so nothing was changed.",
}
_SIGNALLED = {
    SignalOutcome.STORED: "The answer is stored, and the run goes on.",
    SignalOutcome.SAME: "The same answer was stored before.",
}


_EMPTY = "`reconciler signal`"


def _live(record: TaskAction) -> bool:
    return not record.phase.is_terminal() and record.metadata.deletion is None


def _takes_turns(record: TaskAction) -> bool:
    """Tell whether a priority means something for an action: a question waits for a person, and has nothing below it."""
    return _live(record) and record.spec.action_type != CONDITION


def _asks(record: TaskAction) -> bool:
    return _live(record) and record.spec.action_type == CONDITION and record.signal is None


def _ended_root(record: TaskAction) -> bool:
    return record.phase.is_terminal() and not record.spec.parent_action_name and not record.children.open


def _forkable(record: TaskAction) -> bool:
    own = record.spec.task_type not in {"", *GROUPS}  # inputs of a group are those of its members
    return (
        record.phase.is_terminal() and record.spec.action_type != CONDITION and own and takes_inputs(record)
    )


def takes_inputs(record: TaskAction) -> bool:
    """Tell whether an action was given inputs; a question, for one, was not."""
    return record.spec.inputs is not None or bool(record.spec.input_uri)


def _none(record: TaskAction) -> list[Field]:
    del record
    return []


def _value(values: Values, name: str, kind: Any) -> Any:  # noqa: ANN401  # a type, and a value of it
    try:
        return msgspec.convert(values.get(name), kind, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{name} cannot be read: {error}") from error


def reason_of(values: Values) -> str:
    """Read why something is aborted.

    Raises:
        InvalidInput: no reason is given.
    """
    reason = values.get("reason")
    if not (isinstance(reason, str) and reason.strip()):
        raise InvalidInput("an abort needs a reason: it is stored, and told to the actions")
    return reason


def _abort(asked: Asked) -> Done:
    read = reader(asked.client, asked.action.run_id, asked.incarnation)
    outcome = read.abort(asked.action, reason_of(asked.values), asked.by)
    return Done(outcome.value, _ABORTED[outcome])


def _prioritize(asked: Asked) -> Done:
    read = reader(asked.client, asked.action.run_id, asked.incarnation)
    changed = read.prioritize(asked.action, _value(asked.values, "priority", int))
    words = f"{counted(changed, 'live action has', 'live actions have')} this priority"
    return Done(words, f"{words} now.")


def _signal(asked: Asked) -> Done:
    client, action, life = asked.client, asked.action, asked.incarnation
    spec = read_condition(reader(client, action.run_id, life).get(action).spec.condition_spec)
    if spec is None:
        raise NotACondition(f"{action} is no condition, so it waits for no signal: name one that is paused")
    value = _value(asked.values, "value", bool | int | float | str)
    if isinstance(value, str) and not value.strip():
        raise InvalidInput(
            f"the answer is empty, and it would stand: write one, or store an empty one with {_EMPTY}"
        )
    outcome = client.signal(action, value, asked.by, incarnation=life)
    return Done(outcome.value, _SIGNALLED[outcome])


def _rerun(asked: Asked) -> Done:
    return _made(asked.client.rerun(asked.action.run_id, incarnation=asked.incarnation))


def _recover(asked: Asked) -> Done:
    return _made(asked.client.recover(asked.action.run_id, incarnation=asked.incarnation))


def _fork(asked: Asked) -> Done:
    inputs = {asked.action.action: _value(asked.values, "inputs", dict[str, Any])}
    return _made(asked.client.fork(asked.action.run_id, inputs=inputs, incarnation=asked.incarnation))


def _made(run: Run[Any]) -> Done:
    return Done("made a new run", f"{run.id} was made.", str(run.id))


def _answer(record: TaskAction) -> list[Field]:
    spec = read_condition(record.spec.condition_spec)
    kind = spec.type if spec and spec.type != "str" else "text"
    return [Field("value", "Answer", kind, hint=spec.headline if spec else "")]


BUTTONS = {
    button.name: button
    for button in (
        Button(
            name="signal",
            label="Answer",
            explains="The first answer stands, and the run goes on.",
            fits=_asks,
            fields=_answer,
            act=_signal,
            values=("value",),
        ),
        Button(
            name="prioritize",
            label="Prioritize",
            explains="0 (last) to 9 (first), for it and all below it; what waits changes its turn at once.",
            fits=_takes_turns,
            fields=lambda record: [Field("priority", "Priority", "int", record.metadata.priority)],
            act=_prioritize,
            values=("priority",),
        ),
        Button(
            name="recover",
            label="Recover",
            explains="Makes a new run that takes over what succeeded; the rest runs again.",
            fits=lambda record: _ended_root(record) and record.phase is not ActionPhase.SUCCEEDED,
            fields=_none,
            act=_recover,
        ),
        Button(
            name="rerun",
            label="Rerun",
            explains="Makes a new run with the same inputs, in which everything runs again.",
            fits=_ended_root,
            fields=_none,
            act=_rerun,
        ),
        Button(
            name="fork",
            label="Fork",
            explains="Makes a new run in which these inputs are changed: one that is left out keeps its value. What else "
            "succeeded is taken over.",
            fits=_forkable,
            fields=lambda record: [inputs_field(record)],
            act=_fork,
            values=("inputs",),
        ),
        Button(
            name="abort",
            label="Abort",
            explains="Stops it and all below it; the reason stays in its history.",
            fits=_live,
            fields=lambda _: [Field("reason", "Reason")],
            act=_abort,
            values=("reason",),
            danger=True,
        ),
    )
}
"""All buttons by name, in the order of the page."""
