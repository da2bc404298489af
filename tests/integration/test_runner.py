"""Users' functions in a process of their own: results and errors."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from runner_support import FUNCTIONS, LOG_LIMIT, value

from reconciler.children.requests import End, Hurry
from reconciler.core.current import CurrentAttempt
from worker.runner.runner import Call, Ended, Raised, Runner, Unfit, Unknown


def test_a_result_comes_back(run: Callable[..., Ended]) -> None:
    """A function gets its arguments, defaults included, and its result comes back."""
    assert value(run("add", a=1)) == 3


def test_a_coroutine_is_run(run: Callable[..., Ended]) -> None:
    """An `async def` function is run to its end."""
    assert value(run("add_async", a=1, b=5)) == 6


def test_the_child_is_used_again(run: Callable[..., Ended]) -> None:
    """Calls that return or raise share one process."""
    first = value(run("pid"))
    assert isinstance(run("fail", text=""), Raised)
    assert isinstance(run("nothing"), Unknown)
    assert value(run("pid")) == first != os.getpid()


@pytest.mark.parametrize("size", [1, 4 * 1024 * 1024])
def test_an_answer_to_a_call_that_has_ended_is_for_nobody(
    run: Callable[..., Ended], runner: Runner, size: int
) -> None:
    """The end of a child may be told while its parent is being suspended: the process serves the next call all the same."""
    first = value(run("pid"))
    child = runner._child
    assert child is not None
    # so much that the socket does not take it at once: the next call has to wait behind it
    child.answer([End(number=1, action="p/d/r/a", phase=5, document=b"x" * size), Hurry()])
    assert value(run("pid")) == first
    assert value(run("add", a=1)) == 3


def test_large_values_pass(run: Callable[..., Ended]) -> None:
    """Inputs and outputs of 20 MB pass."""
    size = 20 * 1024 * 1024
    assert value(run("measure", text="x" * size)) == size
    assert len(value(run("big", size=size))) == size


def test_a_result_beyond_the_limit_is_an_error(log: Path) -> None:
    """A result larger than allowed is a user error that names the setting; the next call is served."""
    with Runner([FUNCTIONS], log_limit=LOG_LIMIT, result_limit=1000) as runner:
        options: dict[str, Any] = {
            "stop": lambda: None,
            "poll": 1.0,
            "timeout": 60.0,
            "grace": 1.0,
            "log": log,
        }
        ended = runner.run(Call("big", b'{"size":1001}', {}, {}), **options)
        assert isinstance(ended, Raised)
        assert ended.code == "InvalidResult"
        assert "RECONCILER_MAX_OBJECT_SIZE" in ended.message
        assert len(value(runner.run(Call("big", b'{"size":900}', {}, {}), **options))) == 900


def test_an_unknown_function_is_told(run: Callable[..., Ended]) -> None:
    """A name that no module declares gives the names there are."""
    ended = run("nothing")
    assert isinstance(ended, Unknown)
    assert ended.function == "nothing"
    assert {"add", "pid"} <= set(ended.known)


def test_the_attempt_is_known_inside(run: Callable[..., Ended]) -> None:
    """`current_attempt` tells plain and async functions what they run in; without a context there is none."""
    now = dt.datetime.now(dt.UTC)
    attempt = CurrentAttempt(
        project="p", domain="d", run="r", action="a", attempt=3, launch="3-1", started=now
    )
    seen = value(run("where_am_i", context=attempt.to_context()))
    assert seen == {"path": "p/d/r/a", "attempt": 3, "launch": "3-1"}
    assert value(run("where_am_i_async", context=attempt.to_context())) == "p/d/r/a"
    assert value(run("where_am_i")) == {}


def test_an_exception_is_described(run: Callable[..., Ended]) -> None:
    """An exception gives its class, its message, and a traceback that begins in the user's code."""
    ended = run("fail", text="too bad")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message, ended.retryable) == ("ValueError", "too bad", True)
    assert ended.traceback.count("Traceback (most recent call last)") == 2
    assert "ZeroDivisionError: division by zero" in ended.traceback
    files = [line for line in ended.traceback.splitlines() if line.startswith("  File")]
    assert files
    assert all("runner_functions.py" in line for line in files)


def test_an_exception_of_a_coroutine_is_described(run: Callable[..., Ended]) -> None:
    """The traceback of an async function shows neither our frames nor those of asyncio before the user's."""
    ended = run("fail_async")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message) == ("LookupError", "lost")
    assert "runner_functions.py" in ended.traceback.splitlines()[1]


def test_an_exception_can_forbid_retries(run: Callable[..., Ended]) -> None:
    """An exception with `retryable = False` is told apart, and named with its module."""
    ended = run("fail_for_good")
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message, ended.retryable) == ("runner_functions.OddError", "no way", False)


def test_long_texts_are_cut(run: Callable[..., Ended]) -> None:
    """A message of 1 MB arrives as 8 KiB, its traceback as 32 KiB, both with their ends."""
    ended = run("fail", text="<" + "é" * 500_000 + ">")
    assert isinstance(ended, Raised)
    assert 8000 < len(ended.message.encode()) <= 8192
    assert 32000 < len(ended.traceback.encode()) <= 32768
    assert ended.message.startswith("<")
    assert ended.message.endswith(">")
    assert "[... cut ...]" in ended.message


def test_an_exception_that_cannot_be_printed_is_described(run: Callable[..., Ended]) -> None:
    """An exception whose `__str__` raises SystemExit is still an ordinary error."""
    ended = run("fail_unprintably")
    assert isinstance(ended, Raised)
    assert ended.code == "runner_functions.Unprintable"
    assert ended.message == "(this exception cannot be printed)"


@pytest.mark.parametrize(
    ("how", "code", "message"), [("exit", "SystemExit", "7"), ("", "KeyboardInterrupt", "")]
)
def test_leaving_is_an_error(run: Callable[..., Ended], how: str, code: str, message: str) -> None:
    """`sys.exit` and KeyboardInterrupt in a function are errors of the user, not deaths."""
    before = value(run("pid"))
    ended = run("leave", how=how)
    assert isinstance(ended, Raised)
    assert (ended.code, ended.message, ended.retryable) == (code, message, True)
    assert value(run("pid")) == before


@pytest.mark.parametrize("function", ["wrong_result", "unhinted_result"])
def test_a_result_that_does_not_fit_is_an_error(run: Callable[..., Ended], function: str) -> None:
    """A result that does not fit the return hint, or JSON, is an error no retry can help."""
    ended = run(function)
    assert isinstance(ended, Raised)
    assert (ended.code, ended.retryable) == ("InvalidResult", False)
    assert f"the result of {function}" in ended.message


def test_arguments_that_do_not_fit_are_an_error(run: Callable[..., Ended]) -> None:
    """Stored inputs that do not fit the function are an error no retry can help."""
    ended = run("add", a="one")
    assert isinstance(ended, Unfit)
    assert "the stored inputs do not fit add" in ended.message
