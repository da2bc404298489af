"""What may be done to an action from a page: one table. A new button is a new row, and neither page nor API changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from reconciler.api.action import CONDITION, ActionId, TaskAction
from reconciler.api.condition import read_condition
from reconciler.api.errors import InvalidInput, NotACondition
from reconciler.client import Client
from reconciler.core.documents import Document

Values = Mapping[str, Any]


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of the form behind a button.

    Attributes:
        name: of the value in the request.
        label: what a person reads.
        type: one of str, text (long), int, float, bool.
        value: what stands there before.
    """

    name: str
    label: str
    type: str = "str"
    value: bool | int | float | str | None = None


class Button(msgspec.Struct, frozen=True):
    """Something a person may do to an action.

    Attributes:
        name: in the address of the request.
        label: what a person reads.
        explains: what it does, in a sentence.
        fits: whether it makes sense for an action as it is.
        fields: of its form, for an action.
        act: does it, in the name of a person; returns what became of it, in words.
        danger: whether it ends something.
    """

    name: str
    label: str
    explains: str
    fits: Callable[[TaskAction], bool]
    fields: Callable[[TaskAction], list[Field]]
    act: Callable[[Client, ActionId, Values, str], str]
    danger: bool = False


def buttons_of(record: TaskAction) -> list[Document]:
    """The buttons that fit an action, as the page gets them."""
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


def press(client: Client, name: str, action: ActionId, values: Values, by: str) -> Document:
    """Do what a button says.

    Raises:
        InvalidInput: there is no such button, or a value is missing or of another type.
        ReconcilerError: as the verb of `Client` behind it.
    """
    button = BUTTONS.get(name)
    if button is None:
        raise InvalidInput(f"there is no button {name[:40]!r}; there are: {', '.join(BUTTONS)}")
    return {
        "action": str(action),
        "button": name,
        "outcome": button.act(client, action, values, by),
        "by": by,
    }


def _live(record: TaskAction) -> bool:
    return not record.phase.is_terminal() and record.metadata.deletion is None


def _asks(record: TaskAction) -> bool:
    return _live(record) and record.spec.action_type == CONDITION and record.signal is None


def _value(values: Values, name: str, kind: Any) -> Any:  # noqa: ANN401  # a type, and a value of it
    try:
        return msgspec.convert(values.get(name), kind, strict=True)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{name} cannot be read: {error}") from error


def _abort(client: Client, action: ActionId, values: Values, by: str) -> str:
    return client.abort(action, _value(values, "reason", str), by).value


def _prioritize(client: Client, action: ActionId, values: Values, by: str) -> str:
    del by
    changed = client.prioritize(action, _value(values, "priority", int))
    return f"{changed} live actions have this priority"


def _signal(client: Client, action: ActionId, values: Values, by: str) -> str:
    spec = read_condition(client.get(action).spec.condition_spec)
    if spec is None:
        raise NotACondition(f"{action} is no condition, so it waits for no signal: name one that is paused")
    return client.signal(action, _value(values, "value", bool | int | float | str), by).value


def _answer(record: TaskAction) -> list[Field]:
    spec = read_condition(record.spec.condition_spec)
    return [Field("value", "Answer", spec.type if spec else "str")]


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
        ),
        Button(
            name="prioritize",
            label="Prioritize",
            explains="0 (last) to 9 (first), for it and all below it; what waits changes its turn at once.",
            fits=_live,
            fields=lambda record: [Field("priority", "Priority", "int", record.metadata.priority)],
            act=_prioritize,
        ),
        Button(
            name="abort",
            label="Abort",
            explains="Stops it and all below it; the reason stays in its history.",
            fits=_live,
            fields=lambda _: [Field("reason", "Reason")],
            act=_abort,
            danger=True,
        ),
    )
}
"""By name, in the order of the page."""
