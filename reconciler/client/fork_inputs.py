"""Check the inputs that a fork changes, as those of a submission are checked: before anything is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.errors import BadTaskSpecification, InvalidArguments, InvalidSpec
from reconciler.api.template import TaskTemplate, template_or_none
from reconciler.core.functions import interface_digest
from reconciler.core.published import read_published
from reconciler.core.signature import Signature
from reconciler.plugins.function_config import TASK_TYPE, config_of
from reconciler.stores.base import Store

_PLAIN: Final[dict[str, Any]] = {
    "bool": bool, "int": int, "float": float, "str": str, "bytes": bytes, "None": type(None), "UUID": UUID,
    "datetime": datetime, "date": date, "time": time, "Decimal": Decimal, "list": list, "dict": dict,
}  # fmt: skip
"""Types by the names a template gives them."""


def check_changed(store: Store, record: TaskAction, document: bytes, values: Mapping[str, Any]) -> None:
    """Refuse inputs that do not fit the function of an action.

    What workers publish of it says what fits; where none does, or another interface, the plain types in its template.

    Args:
        store: where workers publish.
        record: the action.
        document: all its inputs, with the changed ones.
        values: those that were changed.

    Raises:
        InvalidArguments: one does not fit; it names input and type.
    """
    template = template_or_none(record)
    if template is None:
        return
    declared = template.interface.inputs if template.interface else {}
    signature = _published(store, record, template)
    problem = signature.problem_of(document) if signature else _plain_problem(declared, values)
    if problem:
        types = ", ".join(f"{name}: {declared[name]}" for name in values if name in declared)
        raise InvalidArguments(
            f"the new inputs of {record.id} do not fit: {problem}. Give what fits{f' ({types})' if types else ''}; other "
            "code is given in Python: `Client.fork` with `specs`"
        )


def _published(store: Store, record: TaskAction, template: TaskTemplate) -> Signature | None:
    """Find how workers read the inputs of an action; None when no worker publishes its function with this interface."""
    if record.spec.task_type != TASK_TYPE:
        return None
    try:
        name = config_of(template.custom).function
        found = store.find_published(name)
        if not found.document:
            return None
        published, signature = read_published(name, found.document)
    except (BadTaskSpecification, InvalidSpec):
        return None
    return signature if _digest(published.template) == _digest(template) else None


def _digest(template: TaskTemplate) -> str:
    interface = template.interface
    return interface_digest(interface.inputs, interface.outputs, template.secrets) if interface else ""


def _plain_problem(declared: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Find the first value that does not have the plain type of the template; other types are left to the worker."""
    for name, value in values.items():
        kinds = [_PLAIN.get(kind.strip().partition("[")[0]) for kind in declared.get(name, "").split("|")]
        if None in kinds:
            continue
        problems = [_misfit(value, kind) for kind in kinds]
        if all(problems):
            return f"{problems[0]} - at `$.{name}`"
    return ""


def _misfit(value: object, kind: Any) -> str:  # noqa: ANN401  # a type
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""
