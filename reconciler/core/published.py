"""Describe what a worker publishes of a function: enough to submit it from a process without its code.

The document holds the task's template, its parameters with their types and defaults, and whose turn its calls are. A
submission made of it is the one `.delay()` makes: the same bytes, so the same cache key.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from reconciler.api.errors import InvalidSpec
from reconciler.api.reading import read_json
from reconciler.api.template import TaskTemplate
from reconciler.core.published_types import TypeDocument, read_type, read_value, write_type
from reconciler.core.signature import Signature

LARGEST: Final = 256 * 1024
"""Longest document that is published or read, in bytes."""
_RAW: Final = msgspec.Raw(b"")
_KINDS: Final = {
    kind.name.lower(): kind
    for kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    )
}
_REST: Final = {"var_positional": 0, "var_keyword": 1}
"""Which part of the type of `*args` and of `**kwargs` is that of one of them."""


class ParameterDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One parameter: name, kind (as `keyword_only`), type, and default as JSON; required when there is none."""

    name: str
    kind: str
    type: TypeDocument
    default: msgspec.Raw = _RAW


class Published(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The document of one function. Its template names no project and no domain: those are the submitter's.

    Attributes:
        template: as its submissions have it.
        parameters: in order.
        priority: of its submissions, unless they say another one; None: the installation's.
        fair_by: the parameter whose value is the fair key; empty: none is.
    """

    template: TaskTemplate
    parameters: tuple[ParameterDocument, ...] = ()
    priority: int | None = None
    fair_by: str = ""


class Declared(Protocol):
    """A task, as far as its document describes it."""

    signature: Signature
    template: TaskTemplate
    priority: int | None
    fair_by: str


def document_of(task: Declared) -> bytes:
    """Write the document of a function, the same bytes in every process."""
    parameters = tuple(
        ParameterDocument(
            name=parameter.name,
            kind=parameter.kind.name.lower(),
            type=_type_of(parameter, field.hint),
            default=_RAW
            if parameter.default is parameter.empty
            else msgspec.Raw(field.written(field.default)),
        )
        for parameter, field in task.signature.parameters()
    )
    document = Published(
        template=task.template, parameters=parameters, priority=task.priority, fair_by=task.fair_by
    )
    return msgspec.json.encode(document, order="deterministic")


def _type_of(parameter: inspect.Parameter, hint: Any) -> TypeDocument:  # noqa: ANN401  # a type hint
    found = write_type(hint)
    rest = _REST.get(parameter.kind.name.lower())
    return found if rest is None else found.of[rest]


def release_of(documents: Mapping[str, bytes]) -> str:
    """Digest everything a worker publishes: workers of one release have the same digest."""
    digest = hashlib.sha256()
    for name in sorted(documents):
        digest.update(b"%d %b %d %b" % (len(name), name.encode(), len(documents[name]), documents[name]))
    return digest.hexdigest()[:32]


def read_published(name: str, data: bytes) -> tuple[Published, Signature]:
    """Read what a worker published of a function; it is checked, whatever it says.

    Raises:
        InvalidSpec: it is no such document, is too long, or is not about this function.
    """
    try:
        found = _read(name, data)
        return found, _signature(name, found)
    except Exception as error:  # types are made of it, and that can raise anything
        raise InvalidSpec(
            f"what workers publish of the function {name} cannot be used: {error}. Start its workers again, all with the "
            "release of this client, or submit with its code (`--app`, or the task's own `delay`)."
        ) from error


def _read(name: str, data: bytes) -> Published:
    if len(data) > LARGEST:
        raise ValueError(f"it has {len(data)} bytes, at most {LARGEST} are allowed")
    found = read_json(data, Published)
    if found.template.custom.get("function") != name:
        raise ValueError(f"it is about {found.template.custom.get('function')!r:.100}")
    return found


def _signature(name: str, published: Published) -> Signature:
    hints = {p.name: read_type(p.type) for p in published.parameters}
    parameters = [
        inspect.Parameter(
            p.name,
            _KINDS[p.kind],
            default=read_value(p.default, hints[p.name]) if p.default else inspect.Parameter.empty,
        )
        for p in published.parameters
    ]
    if published.fair_by and published.fair_by not in hints:
        raise ValueError(f"fair_by names {published.fair_by!r:.100}, which is no parameter")

    def stand_in() -> None:
        """Take the place of the function; only its name is used."""

    stand_in.__qualname__ = name
    return Signature(stand_in, inspect.Signature(parameters), {**hints, "return": Any})
