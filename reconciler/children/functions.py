"""`step`, `sleep` and `ask`: what a function may do once for all its passes. In an `async def`, await them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, cast, get_type_hints

import msgspec

from reconciler.api.approval import TYPES
from reconciler.api.bounds import LONGEST
from reconciler.api.errors import InvalidInput, InvalidSpec, OutsideOfTask, ValueNotKept
from reconciler.api.texts import check_text
from reconciler.children import requests as ask_
from reconciler.children.checks import check_callable
from reconciler.children.current import current_parent
from reconciler.children.errors import ended_error_of
from reconciler.children.parent import Parent
from reconciler.core.children import digest_of_call
from reconciler.core.declaration import read_duration
from reconciler.core.signature import Signature

T = TypeVar("T")
_LONGEST_NAME = 200


def step(name: str, function: Callable[..., T], *args: Any, key: str = "", **kwargs: Any) -> T:  # noqa: ANN401  # arguments of the function
    """Call a function once and keep what it returns: each later pass, launch and attempt gets the same value.

    If the process dies after the call and before the value is kept, it is called again.

    Args:
        name: names the value within the action, with `key`; the n-th call of a name gets the n-th value.
        function: plain or `async def`; its result must have a JSON form, or that of its return annotation.
        *args: its positional arguments.
        key: tells steps apart that have the same name and run at the same time.
        **kwargs: its keyword arguments.

    Returns:
        The value; in an `async def` an awaitable of it.

    Raises:
        OutsideOfTask: no task runs here.
        InvalidSpec: the name or the return hint is not allowed, or two steps of one name are under way; nothing was called.
        InvalidArguments: it is no function.
        ValueNotKept: what it returned has no JSON form, does not fit its return hint, or is too large; no retry follows.
    """
    parent = _parent("step")
    name = _checked(name, key)
    check_callable(name, function)
    if _in_loop():
        return cast("T", _step_async(parent, name, function, args, kwargs))
    with parent.in_flight(name):
        slot, signature = f"step/{name}/{parent.asked(name)}", _signature(function)
        kept = _kept(parent, slot)
        if kept is not None:
            return cast("T", signature.decode_result(kept))
        number = parent.number()  # for its value: who may not ask for more is told before anything is done
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            raise InvalidSpec(
                f"the step {name!r} calls an async def: use it in one, as in `await step({name!r}, …)`"
            )
        return cast("T", _keep(parent, number, slot, signature, result))


async def _step_async(
    parent: Parent, name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> object:
    with parent.in_flight(name):
        slot, signature = f"step/{name}/{parent.asked(name)}", _signature(function)
        kept = _kept(parent, slot)
        if kept is not None:
            return signature.decode_result(kept)
        number = parent.number()
        with parent.given_up.on_cancel(slot):
            await parent.given_up.again(slot)
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        return _keep(parent, number, slot, signature, result)


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:  # noqa: ANN401  # arguments of the function
    """End this call and let the task be called again with other arguments, as if nothing had been asked for before.

    It stays the same action; its result is that of the last call. What it has started and not awaited goes on, and ends
    with the action. `finally` and `with` clean up, as in a suspension.

    Args:
        *args: positional arguments of the task.
        **kwargs: its keyword arguments.

    Raises:
        OutsideOfTask: no task runs here.
        InvalidArguments: they do not fit the task.
    """
    _parent("continue_as_new").start_over(args, kwargs)


def sleep(duration: float | timedelta) -> Any:  # noqa: ANN401  # None, or an awaitable of it
    """Wait, by the store's clock; a long wait holds no worker, and goes on wherever it was when processes die.

    Args:
        duration: seconds, or a timedelta.

    Raises:
        OutsideOfTask: no task runs here.
        InvalidSpec: it is no duration, negative, or too long.
    """
    parent = _parent("sleep")
    wait = read_duration("the duration of a sleep", duration)
    if not timedelta(0) <= wait <= LONGEST:
        raise InvalidSpec(
            f"the duration of a sleep must be from 0 seconds to {LONGEST.days} days, got {duration!r:.100}"
        )
    number = parent.number()
    name = f"sleep/{parent.asked('sleep')}"
    parent.post(ask_.Keep(number=number, name=name, wait=round(wait.total_seconds() * 1000)))
    if _in_loop():
        return _sleep_async(parent, number, name)
    parent.sleep(number, _time(parent, number))
    return None


async def _sleep_async(parent: Parent, number: int, name: str) -> None:
    await parent.sleep_async(number, _time(parent, number), name)


def ask(
    name: str,
    type: type[T] = bool,  # type: ignore[assignment]  # noqa: A002  # the word of the field
    *,
    prompt: str = "",
    description: str = "",
    timeout: float | timedelta | None = None,
    key: str = "",
) -> T:
    """Ask a person, and wait for the answer, for days if need be, without a worker.

    The question is a condition below this action: `reconciler signal` and `Client.signal` answer it.

    Args:
        name: what is asked about.
        type: of the answer: bool, int, float or str.
        prompt: the question, up to 4096 characters.
        description: more about it.
        timeout: how long to wait for the answer, a timedelta or seconds; None waits without a limit.
        key: tells questions apart that are otherwise equal and wait at the same time; it is not shown.

    Returns:
        The answer; in an `async def` an awaitable of it.

    Raises:
        OutsideOfTask: no task runs here.
        InvalidSpec: it cannot be asked like that, or the same question waits already.
        ActionTimedOut, ActionAborted: nobody answered in time, or the question was withdrawn.
    """
    parent = _parent("ask")
    kind = next((text for text, known in TYPES.items() if known is type), "")
    if not kind:
        raise InvalidSpec(
            f"the type of an answer is one of {', '.join(TYPES)}, as in ask({name!r:.100}, str), got {type!r:.100}"
        )
    limit = None if timeout is None else read_duration("timeout", timeout).total_seconds()
    texts = {"name": name, "type": kind, "prompt": prompt, "description": description}
    for what, text in [*texts.items(), ("key", key)]:
        check_text(f"the {what} of a question", text)
    if not name:
        raise InvalidSpec("a question needs a name, as in ask('publish', bool)")
    digest = digest_of_call(b"ask", *(text.encode() for text in (*texts.values(), key)))
    try:
        parent.in_flight.begin(
            f"ask/{digest}", f"two questions {name!r} with the same texts", "ask(name, key=…)"
        )
    except InvalidSpec as refused:
        if _in_loop():
            return cast("T", _refused(refused))
        raise
    number = parent.number()
    parent.post(ask_.Question(number=number, texts=texts, asked=parent.asked(digest), timeout=limit, key=key))
    if _in_loop():
        return cast("T", _answer_async(parent, number, digest))
    try:
        return cast("T", _answered(parent.wait(number)))
    finally:
        parent.in_flight.end(f"ask/{digest}")


async def _refused(error: InvalidSpec) -> NoReturn:
    """Refuse a request where it is awaited, so that no unawaited coroutine is left over."""
    raise error


async def _answer_async(parent: Parent, number: int, digest: str) -> object:
    try:
        return _answered(await parent.wait_async(number))
    finally:
        parent.in_flight.end(f"ask/{digest}")


def _answered(end: ask_.End) -> object:
    error = ended_error_of(end)
    if error is not None:
        raise error
    return msgspec.json.decode(end.document or b"{}")["o0"]


def _parent(what: str) -> Parent:
    parent = current_parent()
    if parent is None:
        raise OutsideOfTask(what)
    parent.check()
    return parent


def _in_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None  # noqa: SLF001  # the one that raises needs asyncio imported


def _checked(name: str, key: str) -> str:
    check_text("the name of a step", name)
    check_text("the key of a step", key)
    full = f"{name}[{key}]" if key else name
    if not name or len(full) > _LONGEST_NAME:
        raise InvalidSpec(f"name and key of a step have 1 to {_LONGEST_NAME} characters, got {len(full)}")
    return full


def _kept(parent: Parent, slot: str) -> bytes | None:
    number = parent.post(ask_.Keep(number=parent.number(), name=slot))
    return cast("ask_.Kept", parent.answer(number)).value


def _time(parent: Parent, number: int) -> int:
    return int(cast("ask_.Kept", parent.answer(number)).value or 0)


def _keep(parent: Parent, number: int, slot: str, signature: Signature, result: object) -> object:
    """Keep a value, and return it in the form in which later passes will get it."""
    try:
        value = signature.encode_result(result)
        parent.post(ask_.Keep(number=number, name=slot, value=value))
        kept = cast("ask_.Kept", parent.answer(number)).value
    except (InvalidInput, TypeError, ValueError, RecursionError) as error:
        raise ValueNotKept(slot.partition("/")[2].rpartition("/")[0], str(error)) from error
    return signature.decode_result(kept or b"null")


def _signature(function: Callable[..., Any]) -> Signature:
    """Choose how the values of a step are written: by the return hint of its function, if it has a usable one."""

    def value() -> None: ...

    hints: dict[str, Any] = {}
    with suppress(Exception):  # a hint that cannot be resolved says nothing
        hints = get_type_hints(inspect.unwrap(function))
    value.__annotations__ = {"return": hints["return"]} if "return" in hints else {}
    value.__name__ = value.__qualname__ = getattr(function, "__name__", "the step")
    return Signature.of(value)
