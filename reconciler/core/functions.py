"""The functions this process can run, by name. Importing a module that declares some fills the registry."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from reconciler.api.errors import InvalidSettings, InvalidSpec
from reconciler.api.template import SecretRef
from reconciler.core.signature import Signature


class Needs(NamedTuple):
    """The needs of a function's action beside a worker that knows it, for `reconciler doctor`.

    Attributes:
        queue: where its launches wait; empty: the default queue.
        resource: of which quota; empty: none.
    """

    queue: str = ""
    resource: str = ""


_NO_NEEDS = Needs()


@dataclass(frozen=True, slots=True)
class RegisteredFunction:
    """A function under its name.

    Attributes:
        name: what actions call it by.
        function: the callable, plain or `async def`.
        signature: how its arguments and its result are written.
        secrets: what it declares to need; a call gets no others, whatever its template asks for.
        needs: what its actions need.
    """

    name: str
    function: Callable[..., object]
    signature: Signature
    secrets: tuple[SecretRef, ...] = ()
    needs: Needs = _NO_NEEDS

    @property
    def place(self) -> str:
        """Tell where it is defined, for people: `package.module.function (file:line)`."""
        function, code = self.function, self.function.__code__
        return f"{function.__module__}.{function.__qualname__} ({code.co_filename}:{code.co_firstlineno})"

    @property
    def digest(self) -> str:
        """Digest of its interface."""
        interface = self.signature.interface
        return interface_digest(interface["inputs"], interface["outputs"], self.secrets)


class FunctionRegistry:
    """Name → function. Filled while modules are imported, read afterwards."""

    def __init__(self) -> None:
        self._functions: dict[str, RegisteredFunction] = {}
        self._documents: dict[str, Callable[[], bytes]] = {}

    def publish(self, name: str, document: Callable[[], bytes]) -> None:
        """Set how the document about a function is made (`reconciler.core.published`): once, before publishing."""
        self._documents[name] = document

    def published(self, largest: int) -> dict[str, bytes]:
        """Write what is published of each function, by name; nothing for a document that is too long."""
        made = {name: self._documents[name]() for name in sorted(self._documents)}
        return {name: document for name, document in made.items() if len(document) <= largest}

    def register(
        self,
        name: str,
        function: Callable[..., object],
        secrets: tuple[SecretRef, ...] = (),
        needs: Needs = _NO_NEEDS,
        signature: Signature | None = None,
    ) -> RegisteredFunction:
        """Add a function. The same function again, as after a re-import of its module, replaces itself.

        Without a `signature` its type hints say how its arguments and its result are written.

        Raises:
            InvalidSpec: the name belongs to another function, or the function cannot be described.
        """
        new = RegisteredFunction(name, function, signature or Signature.of(function), secrets, needs)
        old = self._functions.get(name)
        if old is not None and not _is_same(old.function, function):
            raise InvalidSpec(
                f"two functions are named {name!r}: {old.place} and {new.place}. Give one another name."
            )
        self._functions[name] = new
        return new

    def get(self, name: str) -> RegisteredFunction | None:
        """Find the function of this name, or None."""
        return self._functions.get(name)

    def names(self) -> tuple[str, ...]:
        """List all names, sorted."""
        return tuple(sorted(self._functions))

    def digests(self) -> dict[str, str]:
        """List all names, sorted, each with the digest of its interface."""
        return {name: self._functions[name].digest for name in self.names()}

    def secrets(self) -> dict[str, tuple[SecretRef, ...]]:
        """Return the secrets that each function declares, by its name."""
        return {name: function.secrets for name, function in self._functions.items()}

    def needs(self) -> dict[str, Needs]:
        """Return the needs of each function's actions, by its name."""
        return {name: function.needs for name, function in self._functions.items()}

    def load(self, imports: Iterable[str], begin: Callable[[str], None] = lambda _: None) -> None:
        """Import the modules that declare functions.

        Args:
            imports: module names, as in `RECONCILER_IMPORTS`.
            begin: told each name before that module is imported.

        Raises:
            InvalidSettings: lists each module that cannot be imported, and why.
        """
        problems: list[str] = []
        cause: BaseException | None = None
        for module in imports:
            begin(module)
            try:
                importlib.import_module(module)
            except BaseException as error:  # noqa: BLE001  # a module's top level can raise anything
                cause = cause or error
                problems.append(
                    f"module {module!r} cannot be imported: {type(error).__name__}: {error}. Correct it, or "
                    "the list in RECONCILER_IMPORTS; `python -c 'import ...'` from the same folder shows more"
                )
        if problems:
            raise InvalidSettings(problems) from cause


def interface_digest(
    inputs: Mapping[str, str], outputs: Mapping[str, str], secrets: Sequence[SecretRef] = ()
) -> str:
    """Digest what a function takes, returns and needs of secrets, by the names of the types: equal in every process.

    A release that declares another secret is another interface: a worker of the release before would refuse the value.

    Returns:
        16 hexadecimal digits.
    """
    parts = (inputs, outputs, secrets) if secrets else (inputs, outputs)
    document = msgspec.json.encode(parts, order="deterministic")
    return hashlib.sha256(document).hexdigest()[:16]


def _is_same(one: Callable[..., object], other: Callable[..., object]) -> bool:
    """Tell whether both are loads of one definition; a script is loaded as `__main__` and under its own name."""
    return one.__qualname__ == other.__qualname__ and (
        one.__module__ == other.__module__ or one.__code__.co_filename == other.__code__.co_filename
    )


registry = FunctionRegistry()
"""The functions of this process. A module-level object because decorators run while modules are imported."""
