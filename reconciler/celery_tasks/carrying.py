"""Carry arguments and results of a Celery task as Celery's own JSON, so it finds what a worker of Celery gives it.

Type hints say nothing: Celery does not look at them. `datetime`, `Decimal`, `UUID` come back as they are, tuples as lists.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from celery import Task
from kombu.utils import json as celery_json

from reconciler.api.errors import InvalidArguments
from reconciler.core.signature import RESULT, Signature

_POSITIONAL: Final = "*"
"""Key of the number of parameters that were passed by position; no parameter can have that name."""
_REMEDY: Final = (
    "pass what JSON can carry, with datetime, date, time, Decimal and UUID, or the key of where it lies"
)
_dumps: Callable[..., Any] = celery_json.dumps
_loads: Callable[..., Any] = celery_json.loads
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def to_json(value: object) -> str:
    """Write a value as a worker of Celery would find it.

    Raises:
        TypeError, ValueError: JSON cannot carry it.
    """
    try:
        return str(_dumps(value, default_kwargs={"allow_nan": False}))
    except RecursionError as error:
        raise ValueError("it holds itself") from error


def from_json(text: str | bytes) -> Any:  # any value
    """Read what `to_json` wrote."""
    return _loads(text)


class CarriedSignature(Signature):
    """Binds arguments as a call of the task would; the document says which were given, and how."""

    __slots__ = ("_given", "_task")

    def __init__(self, task: Task) -> None:
        given = inspect.signature(task.run)
        bare = [p.replace(default=p.empty, annotation=p.empty) for p in given.parameters.values()]
        super().__init__(type(task).run, inspect.Signature(sorted(bare, key=lambda p: p.kind)), {})
        self._task = task
        self._given = given
        self.name = str(task.name)

    def encode_arguments(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
        """Write the given arguments. See `Signature.encode_arguments`."""
        args, kwargs = dumped(self._task, args, kwargs)
        try:
            bound = self._given.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(
                f"{self.name}: {error}. Pass what its signature takes, {self.name}{self._given}, also with typing=False"
            ) from None
        document: dict[str, object] = dict(bound.arguments)
        places = sum(p.kind in _BY_PLACE for p in self._given.parameters.values())
        if args:
            document[_POSITIONAL] = min(len(args), places)
        try:
            return to_json(document).encode()
        except (TypeError, ValueError) as error:
            raise InvalidArguments(self._blamed(document, error)) from error

    def decode_arguments(self, data: bytes) -> dict[str, Any]:
        """Read the document. See `Signature.decode_arguments`."""
        try:
            found = from_json(data)
        except ValueError as error:
            raise InvalidArguments(
                f"the stored inputs of {self.name} cannot be read: {error}. Submit one JSON object of parameters"
            ) from error
        unknown = sorted(found.keys() - self._given.parameters.keys() - {_POSITIONAL})
        if unknown:
            raise InvalidArguments(
                f"{self.name} has no parameter {', '.join(unknown)}. Its signature is {self.name}{self._given}; keep a "
                "parameter while actions use it."
            )
        return dict(found)

    def call_form(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Rebuild the call that was encoded: positional arguments are positional again."""
        left = int(arguments.get(_POSITIONAL, 0))
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, parameter in self._given.parameters.items():
            by_place = parameter.kind is parameter.POSITIONAL_ONLY or left > 0
            left -= 1
            if name not in arguments:
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(arguments[name])
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(arguments[name])
            elif by_place and parameter.kind is not parameter.KEYWORD_ONLY:
                args.append(arguments[name])
            else:
                kwargs[name] = arguments[name]
        return tuple(args), kwargs

    def encode_result(self, value: object, limit: int = 0) -> bytes:
        """Write the result. See `Signature.encode_result`; there are no arrays."""
        del limit
        try:
            return to_json({RESULT: value}).encode()
        except (TypeError, ValueError) as error:
            raise InvalidArguments(unwritable(self.name, error)) from error

    def decode_result(self, data: bytes) -> Any:  # any value
        """Read the result. See `Signature.decode_result`."""
        try:
            return from_json(data)[RESULT]
        except (ValueError, KeyError) as error:
            raise InvalidArguments(
                f"the stored result of {self.name} cannot be read: {error}. Read it with the release that wrote it"
            ) from error

    def _blamed(self, document: Mapping[str, object], error: Exception) -> str:
        for name, value in document.items():
            try:
                to_json(value)
            except (TypeError, ValueError) as found:
                return f"{self.name}: parameter {name} has no JSON form: {found}; {_REMEDY}."
        return f"{self.name}: the arguments have no JSON form: {error}; {_REMEDY}."


def unwritable(name: str, error: Exception) -> str:
    """Say that a result cannot be written, and what to do."""
    return f"the result of {name} has no JSON form: {error}; return what JSON can carry, or set ignore_result=True"


def dumped(
    task: Task, args: Sequence[object], kwargs: Mapping[str, object]
) -> tuple[Sequence[object], Mapping[str, object]]:
    """Write models of a task with `pydantic=True` as Celery does before it sends them."""
    dump = getattr(task, "_dump_pydantic_arguments", None)
    return dump(tuple(args), dict(kwargs)) if dump is not None else (args, kwargs)
