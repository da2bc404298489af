"""Calls the tasks of `celery_app` one after the other, by Celery or durably, and writes how each ended."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.result import AsyncResult
from celery_app import app
from celery_calls import CALLS, KILLED, PATH, SILENT
from celery_durable import TASKS

from reconciler.api.errors import ActionEnded

Outcome = tuple[str, str, str]
"""State, result or name of the error, message of the error."""


def failed(error: BaseException) -> Outcome:
    """Return the outcome of an error that Celery's result has."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return "failed", name, str(error)


def plainly(call: str, args: list[Any]) -> Outcome:
    """Run a call by a worker of Celery."""
    name, _, kwargs = CALLS[call]
    result: AsyncResult = app.tasks[name].apply_async(args, kwargs)
    if call in SILENT:
        settled()
        return result.state, "", ""
    try:
        return "succeeded", repr(result.get(timeout=30)), ""
    except Exception as error:  # noqa: BLE001  # what the task raised
        return failed(error)


def durably(call: str, args: list[Any]) -> Outcome:
    """Run a call by our workers."""
    name, _, kwargs = CALLS[call]
    try:
        return "succeeded", repr(TASKS[name].delay(*args, **kwargs).result(timeout=30)), ""
    except ActionEnded as error:
        return "failed", error.code, error.message


def settled() -> None:
    """Wait until the last word of a task is there."""
    ends = time.monotonic() + 30
    while not notes() or not notes()[-1].startswith("postrun") or notes()[-1].endswith("RETRY"):
        if time.monotonic() > ends:
            raise TimeoutError(notes())
        threading.Event().wait(0.01)


def notes() -> list[str]:
    """Return the side effects so far, less those of the Django example, which runs at the same time."""
    file = Path(os.environ["SHOP_NOTES"])
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line for line in lines if "shop.ship" not in line]


def main(run: Callable[[str, list[Any]], Outcome]) -> None:
    """Make one call after the other, and note the side effects of each."""
    folder = Path(os.environ["SHOP_NOTES"]).parent
    found = {}
    for number, (call, (_, args, _)) in enumerate(CALLS.items()):
        given = [str(folder / f"file{number}") if arg == PATH else arg for arg in args]
        state, value, message = run(call, given)
        if call not in KILLED:
            settled()
        told = [line.replace(str(folder), "") for line in notes()]
        Path(os.environ["SHOP_NOTES"]).unlink()
        found[call] = {"state": state, "value": value, "message": message, "notes": told}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main({"plain": plainly, "durable": durably}[sys.argv[1]])
