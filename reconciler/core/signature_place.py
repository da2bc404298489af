"""Decide which functions can be tasks: those a worker finds when it imports the module, and can call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from reconciler.api.errors import InvalidSpec


def require_function(function: object, name: str = "given") -> None:
    """Refuse anything but a plain function with one result.

    Args:
        function: what is to be a task.
        name: what it is to be called instead of its own name; empty: that.

    Raises:
        InvalidSpec: it is a class, a method, a partial, a builtin, a generator, or anything else.
    """
    if not inspect.isfunction(function):
        raise InvalidSpec(
            f"{function!r:.200} is not a function. Write `def` or `async def` and decorate that."
        )
    if function.__name__ == "<lambda>" and not name:
        raise InvalidSpec(
            "a lambda has no name of its own. Write `def`, or give it one: env.task(name=…)(lambda …)"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidSpec(
            f"{function.__qualname__} yields. Return a list: an action has one result, at its end."
        )
    if next(iter(inspect.signature(function).parameters), "") in {"self", "cls"}:
        raise InvalidSpec(
            f"{function.__qualname__} is a method: a worker would have no object to call it on. Move it out of its class."
        )


def hidden_from_workers(function: Callable[..., Any]) -> str:
    """Say why no worker will know the function that is being declared now; empty when one will.

    A function inside another one is declared when that one is called. A worker only imports modules, so it has to be called
    by one at its top level, as a factory of tasks is.
    """
    if "<locals>" not in function.__qualname__:
        return ""
    if any(module is function.__globals__ or _imported(module) for module in _modules_at_work()):
        return ""
    return (
        f"{function.__qualname__} is declared inside another function, so no worker that imports {function.__module__} "
        "knows it: declare it at the top level of a module"
    )


def _modules_at_work() -> Iterator[Mapping[str, Any]]:
    """Collect the globals of each module whose top level is running."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            yield frame.f_globals
        frame = frame.f_back


def _imported(module: Mapping[str, Any]) -> bool:
    """Tell whether a worker would run this top level too: a module or a user's script, but not a tool."""
    spec = module.get("__spec__")
    if module.get("__name__") == "__main__":
        return spec is None and str(module.get("__file__", "")).endswith(".py")
    return spec is not None
