"""Check the arguments of the verbs of children, so that each mistake is reported where it is made."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

from reconciler.api.errors import InvalidArguments, InvalidSpec


def check_callable(name: str, function: object) -> Callable[..., Any]:
    """Check the function of a step, and return it.

    Raises:
        InvalidArguments: it cannot be called.
    """
    if callable(function):
        return function
    if inspect.iscoroutine(function):
        function.close()  # or Python would complain that nobody has awaited it
        raise InvalidArguments(
            f"the step {name!r} was given a call instead of a function: write step({name!r}, function, …), without calling "
            "it"
        )
    raise InvalidArguments(
        f"the step {name!r} needs a function to call, as in step({name!r}, function, …), got {function!r:.100}"
    )


def check_thread(own: int) -> None:
    """Check that a call is ended from its own thread, which has this number.

    Raises:
        InvalidSpec: it is another one.
    """
    if threading.get_ident() != own:
        raise InvalidSpec(
            "continue_as_new ends the call, which no other thread can: call it in the function itself"
        )
