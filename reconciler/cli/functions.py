"""Load the modules that declare functions: here, or in a process of their own as a worker does."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from reconciler.api.errors import FunctionsNotLoaded
from reconciler.cli.local import asking
from reconciler.core.functions import Needs, registry

_SLACK = 30.0
"""Seconds the process may take besides the imports."""


def load_functions(modules: Iterable[str], folders: Iterable[Path] = ()) -> None:
    """Import modules; those in the working folder are found too, as Celery finds them, then those in `folders`.

    What they print while they are imported goes to stderr: stdout holds the answer of the command alone.

    Raises:
        InvalidSettings: lists each module that cannot be imported, and why.
    """
    wanted = dict.fromkeys(map(str, (Path.cwd(), *folders)))
    sys.path[:0] = [folder for folder in wanted if folder not in sys.path]
    with contextlib.redirect_stdout(sys.stderr):
        registry.load(modules)


def functions_in_child(
    modules: Iterable[str], limit: timedelta, env: Mapping[str, str] | None = None
) -> dict[str, Needs]:
    """Import modules as the function's process of a worker does: with its boot code and import path.

    Args:
        modules: what to import.
        limit: how long that may take.
        env: the environment of the worker; that of this process when not given.

    Returns:
        The functions a worker started here could run, each with what its actions need.

    Raises:
        FunctionsNotLoaded: lists each module that cannot be imported.
    """
    seconds = limit.total_seconds()
    command = asking("worker.runner.functions", f"{seconds:g}", *modules)
    try:
        asked = subprocess.run(  # noqa: S603  # our own interpreter and module
            command,
            env=env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + _SLACK,
            check=True,
        )
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or "").strip()
        text = f"the process that imports the functions cannot be started: {error}. {said}".strip()
        raise FunctionsNotLoaded([text]) from error
    answer: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    if "problems" in answer:
        raise FunctionsNotLoaded(answer["problems"], answer["traceback"])
    return {name: Needs(*answer["needs"][name]) for name in answer["functions"]}
