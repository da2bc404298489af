"""Describe a user's function: its arguments and its result as JSON, checked against its type hints.

`Signature.of(function)` looks at the function once, where it is declared. What cannot work is refused there;
what a caller gets wrong is refused when it calls. All that is accepted comes back, on another machine, as the
type the hint names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn, get_type_hints

import msgspec

from reconciler.api.errors import InvalidArguments, InvalidSpec
from reconciler.core.results import plain
from reconciler.core.signature_arrays import largest
from reconciler.core.signature_document import Document, Field, Refused
from reconciler.core.signature_place import require_function

RESULT: Final = "o0"
"""Name of the one output of a function."""

_REMEDY: Final = (
    "Use types JSON can carry: numbers, str, bytes, bool, None, datetimes, enums, UUID, Decimal, Path, "
    "dataclasses, msgspec Structs, pydantic models, TypedDict, NamedTuple, numpy arrays, pandas and polars frames, and "
    "lists, tuples, sets, dicts and unions of them; docs/types.md lists what goes where"
)


class Signature:
    """The inputs and the output of one function.

    Attributes:
        name: the function's qualified name, for messages.
        interface: `{"inputs": {parameter: type name}, "outputs": {"o0": type name}}`; equal in every process.
    """

    __slots__ = (
        "_inputs", "_inspected", "_names", "_outputs", "_positional", "_required", "_simple",
        "interface", "name",
    )  # fmt: skip

    def __init__(
        self, function: Callable[..., object], inspected: inspect.Signature, hints: Mapping[str, Any]
    ) -> None:
        self.name: str = function.__qualname__
        self._inspected = inspected
        parameters = inspected.parameters.values()
        self._inputs = Document(self.name, [self._field(p, hints.get(p.name, Any)) for p in parameters])
        self._outputs = Document(self.name, [_result_field(self.name, hints.get("return", Any))])
        self.interface: dict[str, dict[str, str]] = {
            "inputs": self._inputs.type_names(),
            "outputs": self._outputs.type_names(),
        }
        self._simple = all(p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY} for p in parameters)
        self._positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._names = frozenset(inspected.parameters)
        self._required = frozenset(p.name for p in parameters if p.default is p.empty)

    @classmethod
    def of(cls, function: Callable[..., object]) -> Signature:
        """Describe a function, plain or `async def`.

        Raises:
            InvalidSpec: it is no function, or a hint or a default cannot be carried; names the parameter.
        """
        require_function(function)
        return cls(function, inspect.signature(function), _resolve_hints(function))

    def parameters(self) -> list[tuple[inspect.Parameter, Field]]:
        """List each parameter, in order, with how its values are written."""
        fields = self._inputs.fields()
        return [(parameter, fields[name]) for name, parameter in self._inspected.parameters.items()]

    def bound(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, Any]:
        """Map each parameter to its argument as it was given, or to the default.

        Raises:
            InvalidArguments: they do not fit the signature; types are not looked at.
        """
        defaults = {
            name: p.default for name, p in self._inspected.parameters.items() if p.default is not p.empty
        }
        return {**defaults, **self._bind(args, kwargs)}

    def encode_arguments(self, args: Sequence[object], kwargs: Mapping[str, object]) -> bytes:
        """Bind arguments as a call would, and write them as one JSON object in the order of the signature.

        Args:
            args: positional arguments.
            kwargs: keyword arguments. Parameters that are not given get their defaults.

        Raises:
            InvalidArguments: they do not fit the signature or the hints, or would not come back as they are.
        """
        values = self._bind(args, kwargs)
        try:
            return self._inputs.write(values)
        except Refused as refused:
            raise InvalidArguments(
                f"{self.name}: parameter {refused.field} {refused.problem}. "
                f"Pass a value that fits {refused.type_name}, or change the hint of {refused.field}."
            ) from refused.__cause__

    def decode_arguments(self, data: bytes) -> dict[str, Any]:
        """Read arguments: parameter name → value of the hinted type, in the order of the signature.

        `*args` and `**kwargs` are entries of their own; `call_form` makes a call out of them.

        Raises:
            InvalidArguments: the document is not one of this signature.
        """
        try:
            return self._inputs.read(data)
        except Refused as refused:
            raise InvalidArguments(
                f"the stored inputs do not fit {self.name}: {refused.problem}. The function was probably "
                "changed after the action was accepted: give new parameters a default, and keep the old ones "
                "while actions use them."
            ) from refused.__cause__

    def problem_of(self, data: bytes) -> str:
        """Say why a document does not fit this signature; empty when it does."""
        try:
            self._inputs.read(data)
        except Refused as refused:
            return str(refused.problem)
        return ""

    def call_form(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Split decoded arguments into `(args, kwargs)`: `function(*args, **kwargs)` is the call that was encoded."""
        if self._simple:
            return (), arguments
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        has_rest = any(p.kind is p.VAR_POSITIONAL for p in self._inspected.parameters.values())
        for name, parameter in self._inspected.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(arguments[name])
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs.update(arguments[name])
            elif parameter.kind is parameter.KEYWORD_ONLY or (
                parameter.name in self._positional and not has_rest
            ):
                kwargs[name] = arguments[name]
            else:
                args.append(arguments[name])
        return tuple(args), kwargs

    def encode_result(self, value: object, limit: int = 0) -> bytes:
        """Write a result as `{"o0": value}`.

        Args:
            value: what the function has returned.
            limit: bytes an array may have, before it is copied for writing; 0: as many as there are.

        Raises:
            InvalidArguments: it does not fit the return hint, or would not come back as it is.
        """
        token = largest.set(limit)
        try:
            return self._outputs.write({RESULT: plain(value)})
        except Refused as refused:
            raise InvalidArguments(
                f"the result of {self.name} {refused.problem}. Return {_remedy(refused.type_name)}"
            ) from refused.__cause__
        finally:
            largest.reset(token)

    def decode_result(self, data: bytes) -> Any:  # noqa: ANN401  # whatever the return hint says
        """Read a result back as the type of the return hint.

        Raises:
            InvalidArguments: the document is not a result of this signature.
        """
        try:
            return self._outputs.read(data)[RESULT]
        except Refused as refused:
            raise InvalidArguments(
                f"the stored result does not fit the return hint of {self.name}: {refused.problem}. "
                "Read it with the version of the function that wrote it."
            ) from refused.__cause__

    def _bind(self, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
        """Map parameters to given values. `inspect` is slow and used only where the quick way is unsure."""
        if self._simple and len(args) <= len(self._positional):
            values = dict(zip(self._positional, args, strict=False))
            values.update(kwargs)
            if len(values) == len(args) + len(kwargs) and self._required <= values.keys() <= self._names:
                return values
        try:
            return dict(self._inspected.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise InvalidArguments(
                f"{self.name}: {error}. Its signature is {self.name}{self._inspected}."
            ) from None

    def _field(self, parameter: inspect.Parameter, hint: Any) -> Field:  # noqa: ANN401  # a type hint
        if parameter.kind is parameter.VAR_POSITIONAL:
            return self._checked(parameter.name, tuple[hint, ...], ())
        if parameter.kind is parameter.VAR_KEYWORD:
            return self._checked(parameter.name, dict[str, hint], {})
        default = msgspec.NODEFAULT if parameter.default is parameter.empty else parameter.default
        return self._checked(parameter.name, hint, default)

    def _checked(self, name: str, hint: Any, default: object) -> Field:  # noqa: ANN401  # a type hint
        try:
            field = Field.of(name, hint, default)
        except (TypeError, NameError, AttributeError) as error:
            raise InvalidSpec(
                f"{self.name}: the hint of parameter {name} cannot be used: {error}. {_REMEDY}."
            ) from error
        except Refused as refused:
            raise InvalidSpec(
                f"{self.name}: the default of parameter {name} {refused.problem}. "
                f"Write one that fits {refused.type_name}, or widen the hint, as `{name}: ... | None = None`."
            ) from refused.__cause__
        return field


def _remedy(hint: str) -> str:
    """Say what to do about a result; `Any` also stands for a missing hint, and fits everything."""
    if hint == "Any":
        return "plain values, or give the function a return hint that says what it is."
    return f"a value that fits {hint}, or change the return hint."


def too_large(function: str, size: int, limit: int) -> str:
    """Write what the caller of a function is told when its result has more bytes than allowed."""
    return (
        f"the result of {function} has {size} bytes, {limit} are allowed. Store large data yourself and return where it "
        "lies, or raise RECONCILER_MAX_OBJECT_SIZE"
    )


def _result_field(function: str, hint: Any) -> Field:  # noqa: ANN401  # a type hint
    try:
        return Field.of(RESULT, type(None) if hint is NoReturn else hint, msgspec.NODEFAULT)
    except (TypeError, NameError, AttributeError) as error:
        raise InvalidSpec(f"{function}: the return hint cannot be used: {error}. {_REMEDY}.") from error


def _resolve_hints(function: Callable[..., object]) -> dict[str, Any]:
    """Resolve the hints to types, also when they are written as strings (`from __future__ import annotations`)."""
    target = inspect.unwrap(function)
    try:
        return get_type_hints(target, localns=_locals_around(target), include_extras=True)
    except Exception as error:
        # a hint is any expression, so reading it can raise anything
        raise InvalidSpec(
            f"{function.__qualname__}: a type hint cannot be resolved: {error}. Define or import its type "
            "above the function and outside `if TYPE_CHECKING:`; hints are read where it is decorated."
        ) from error


def _locals_around(function: Callable[..., Any]) -> dict[str, Any] | None:
    """Collect names that a nested function sees where it is being defined: string hints may name classes of that scope."""
    if "<locals>" not in function.__qualname__:
        return None
    found: dict[str, Any] = {}
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is function.__globals__ and frame.f_locals is not frame.f_globals:
            found = {**frame.f_locals, **found}
        frame = frame.f_back
    return found
