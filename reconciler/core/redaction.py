"""Find which parts of inputs and outputs are shown to nobody, as the template says (`@env.task(redact=…)`).

Redaction is for screens: pages, their API, the command, errors and logs. Values stay where a program needs them, in the
record and in S3, and whoever may read those reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import msgspec

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.errors import InvalidSpec
from reconciler.api.template import Redaction, shared_template
from reconciler.core.members import ITEMS
from reconciler.core.redaction_texts import forms_of

REDACTED: Final = "[redacted]"
"""What stands where a value is not shown."""
EVERY: Final = "*"
"""All inputs, also such as the interface does not name."""
RETURN: Final = "return"
"""The name of what a function returns; no parameter can be called like that."""
_MOST_TEXTS: Final = 200
"""Redacted values that are looked for in an error or a log; each of their forms costs a search."""
_NOTHING: Final = Redaction()
_ALL: Final = Redaction(inputs=(EVERY,), outputs=True)

_values = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_redaction(given: object, parameters: Collection[str]) -> Redaction | None:
    """Read `redact=…` for a function; None when it hides nothing.

    Args:
        given: True: all; names of parameters, or `return`, alone or several.
        parameters: of the function.

    Raises:
        InvalidSpec: it is of another type, or names no parameter.
    """
    if given is None or given is False or given == ():
        return None
    if given is True:
        return _ALL
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    unknown = [name for name in names if name != RETURN and name not in parameters]
    if unknown:
        known = ", ".join([*parameters, RETURN])
        raise InvalidSpec(
            f"redact must be True, or name parameters or the return value ({known}), got {unknown[0]!r:.100}"
        )
    return Redaction(inputs=tuple(name for name in names if name != RETURN), outputs=RETURN in names)


def redaction_of(record: TaskAction) -> Redaction:
    """Return what is not shown of an action. If its template cannot be read, nothing is shown: it may ask for redaction."""
    return _redaction_in(record.spec)


def redaction_of_group(spec: ActionSpec) -> Redaction | None:
    """Return what is not shown of a group with the inputs of its members: all of them if any is hidden; or None."""
    return Redaction(inputs=(ITEMS,)) if _redaction_in(spec).inputs else None


def _redaction_in(spec: ActionSpec) -> Redaction:
    if not spec.task_template:
        return _NOTHING
    try:
        return shared_template(spec.task_template).redact or _NOTHING
    except msgspec.DecodeError:
        return _ALL


def hides(redaction: Redaction, name: str) -> bool:
    """Tell whether an input is not shown."""
    return name in redaction.inputs or EVERY in redaction.inputs


def shown_inputs(redaction: Redaction, data: bytes) -> bytes:
    """Put `[redacted]` into the inputs document for each hidden value; the others stay byte for byte."""
    if not redaction.inputs:
        return data
    try:
        values = _values.decode(data)
    except msgspec.DecodeError:
        return msgspec.json.encode(REDACTED)
    mark = msgspec.Raw(msgspec.json.encode(REDACTED))
    return msgspec.json.encode({n: mark if hides(redaction, n) else value for n, value in values.items()})


def open_inputs(redaction: Redaction, data: bytes) -> bytes:
    """Leave hidden values out of the inputs document."""
    if not redaction.inputs:
        return data
    values = _values.decode(data)
    return msgspec.json.encode({n: value for n, value in values.items() if not hides(redaction, n)})


def texts_of(redaction: Redaction, data: bytes, *, outputs: bool = False) -> list[str]:
    """List the texts that stand for hidden values of a document, as an error or a log may contain them.

    A value is looked for in the forms a function may give it: a date as `str` and `repr` write it, a number with marks
    between its thousands (`core.redaction_texts`).

    Args:
        redaction: of the action.
        data: its inputs, or its outputs.
        outputs: whether they are its outputs.
    """
    if not (redaction.outputs if outputs else redaction.inputs):
        return []
    try:
        values = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        return []
    hidden = [value for name, value in values.items() if outputs or hides(redaction, name)]
    leaves = {one: None for value in hidden for one in _leaves(value)}
    longest = sorted(leaves, key=lambda one: len(str(one)), reverse=True)[:_MOST_TEXTS]
    texts = {text: None for one in longest for text in forms_of(one)}
    return sorted(texts, key=len, reverse=True)


def _leaves(value: object) -> Iterator[str | int | float]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield str(name)
            yield from _leaves(one)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value
