"""Find the module with a user's tasks, by module name or file, and try to import it before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.api.errors import FunctionsNotLoaded, InvalidSpec, ReconcilerError
from reconciler.cli.functions import functions_in_child
from reconciler.core.probe import PROBE
from reconciler.settings import Settings


class Application(NamedTuple):
    """A module with tasks: its name, and the folder Python has to look into to find it."""

    module: str
    folder: Path


def find(text: str) -> Application:
    """Find the application somebody means by `photos.tasks`, `photos/tasks.py` or `photos/`.

    A file is imported under the name it has in its package, seen from the outermost folder of that.

    Raises:
        InvalidSpec: there is no such file.
    """
    path = Path(text)
    if not (text.endswith(".py") or os.sep in text or path.is_dir()):
        return Application(text, Path.cwd())
    file = path / "__init__.py" if path.is_dir() else path
    if not file.is_file():
        raise InvalidSpec(
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
        ReconcilerError: they cannot be imported, with the end of the traceback; or a setting is wrong.
    """
    modules = [application.module for application in applications]
    try:
        return sorted(
            functions_in_child(modules, Settings.from_env(env).import_timeout, env).keys() - {PROBE}
        )
    except FunctionsNotLoaded as error:
        why = "\n".join([*error.problems, error.traceback])
        raise ReconcilerError(
            f"{' and '.join(modules)} cannot be imported; correct this first:\n{why}"
        ) from error


def path_variable(applications: Sequence[Application]) -> dict[str, str]:
    """Set `PYTHONPATH` of the workers if applications lie outside the working folder, where nothing else finds them."""
    folders = dict.fromkeys(app.folder for app in applications if app.folder != Path.cwd())
    if not folders:
        return {}
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([*map(str, folders), *([inherited] if inherited else [])])}
