"""Finds the module with a user's tasks, however it is named, and tries to import it before all else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.api.errors import ReconcilerError
from reconciler.cli.local import OUR_ROOT

_TRY = """
import importlib, json, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
from reconciler.core.functions import registry
print()
print(json.dumps(registry.names()))
"""
_TRY_TIMEOUT = 60.0
_SHOWN_LINES = 20


class Application(NamedTuple):
    """A module with tasks: its name, and the folder Python has to look into to find it."""

    module: str
    folder: Path


def find(text: str) -> Application:
    """The application somebody means by `photos.tasks`, `photos/tasks.py` or `photos/`.

    A file is imported under the name it has in its package, seen from the outermost folder of that.

    Raises:
        ReconcilerError: there is no such file.
    """
    path = Path(text)
    if not (text.endswith(".py") or os.sep in text or path.is_dir()):
        return Application(text, Path.cwd())
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise ReconcilerError(
            f"--app {text}: there is no file {file}. Give a file with tasks, or the name of a module."
        )
    file = file.resolve()
    parts = [] if file.name == "__init__.py" else [file.name.removesuffix(".py")]
    folder = file.parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return Application(".".join(parts), folder)


def task_names(applications: Sequence[Application], env: Mapping[str, str]) -> list[str]:
    """Import the applications in a process of its own, as a worker would; the names of their tasks.

    Args:
        applications: what to import.
        env: the environment of the workers.

    Raises:
        ReconcilerError: they cannot be imported; with the end of the traceback.
    """
    modules = [application.module for application in applications]
    command = [sys.executable, "-c", _TRY, *modules]
    try:
        tried = subprocess.run(  # noqa: S603  # our own interpreter; the modules are the caller's own code
            command,
            env=env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRY_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ReconcilerError(
            f"importing {' and '.join(modules)} takes longer than {_TRY_TIMEOUT:g} s; "
            "move slow work from the top level of the module into functions."
        ) from error
    if tried.returncode:
        end = "\n".join(tried.stderr.splitlines()[-_SHOWN_LINES:])
        raise ReconcilerError(f"{' and '.join(modules)} cannot be imported; correct this first:\n{end}")
    names: list[str] = json.loads(tried.stdout.splitlines()[-1])
    return names


def python_path(applications: Sequence[Application]) -> str:
    """`PYTHONPATH` of the workers: our package, then the folders of the applications, then the user's own."""
    inherited = os.environ.get("PYTHONPATH")
    folders = dict.fromkeys(str(application.folder) for application in applications)
    return os.pathsep.join([str(OUR_ROOT), *folders, *([inherited] if inherited else [])])
