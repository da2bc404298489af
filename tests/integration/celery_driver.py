"""Calls the tasks of `celery_app` one after the other, by Celery or durably, and writes how each ended."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from celery.result import AsyncResult
from celery_app import app
from celery_durable import TASKS

from reconciler.api.errors import ActionEnded

PATH = "<a file of this side>"
WHEN, KEY = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), uuid.UUID(int=7)
CALLS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "add": ("shop.add", [1], {}),
    "add by name": ("shop.add", [1], {"y": 4}),
    "types": ("shop.types", [WHEN, Decimal("1.5"), KEY, (1, 2)], {}),
    "gathers": ("shop.gathers", [1, 2, 3], {"last": 4, "z": 5}),
    "bound": ("shop.bound", [7], {}),
    "bound by name": ("shop.bound", [], {"x": 7}),
    "retries": ("shop.retries", [0], {}),
    "retries by name": ("shop.retries", [], {"x": 1, "log": "-"}),
    "exhausts": ("shop.exhausts", [], {}),
    "too often": ("shop.too_often", [], {}),
    "again": ("shop.again", [PATH], {}),
    "expected": ("shop.expected", ["k"], {}),
    "fails": ("shop.fails", [], {}),
    "ignores": ("shop.ignores", [], {}),
    "marks": ("shop.marks", [], {}),
    "rejects": ("shop.rejects", [], {}),
    "requeues": ("shop.requeues", [PATH], {}),
    "softly": ("shop.softly", [], {}),
    "progress": ("shop.progress", [2], {}),
    "hooked": ("shop.hooked", [2], {"y": 3}),
    "hooked fails": ("shop.hooked", [0], {}),
    "hooked retry": ("shop.hooked_retry", [3], {}),
    "area": ("shop.area", [{"width": 2}], {"scale": 3}),
    "area fails": ("shop.area", [{"width": "wide"}], {}),
    "forgets": ("shop.forgets", [], {}),
    "unwritable": ("shop.unwritable", [], {}),
    "routed": ("shop.routed", [], {}),
    "shared": ("shop.shared", [4], {}),
    "by class": ("shop.by_class", [1], {}),
    "overruns": ("shop.overruns", [], {}),
}
SILENT = {"ignores", "rejects", "forgets", "marks"}
"""Calls of which Celery's result does not say that they have ended."""
KILLED = {"overruns"}
"""Calls that say nothing at their end."""
Outcome = tuple[str, str, str]
"""State, result or name of the error, message of the error."""


def failed(error: BaseException) -> Outcome:
    """The outcome of an error that Celery's result has."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return "failed", name, str(error)


def plainly(call: str, args: list[Any]) -> Outcome:
    """By a worker of Celery."""
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
    """By our workers."""
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
    """The side effects so far, less those of the Django example, which runs at the same time."""
    file = Path(os.environ["SHOP_NOTES"])
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line for line in lines if "shop.ship" not in line]


def main(run: Callable[[str, list[Any]], Outcome]) -> None:
    """One call after the other, each with its side effects."""
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
