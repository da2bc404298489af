"""Load plugins as a worker does, in a process of its own that `reconciler doctor` asks."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from typing import NoReturn

from reconciler.api.errors import InvalidSettings
from reconciler.plugins.loading import load_watch
from reconciler.plugins.registry import PluginRegistry, load_entries
from reconciler.settings import Settings
from reconciler.wiring import builtin_plugins
from worker.import_path import look_here_last


def main() -> None:
    """Run as a process: modules, routes and seconds as JSON; the last line it writes is all problems, or what ended it."""
    modules, routes, limit = json.loads(sys.argv[1])
    out = os.dup(1)
    os.dup2(2, 1)  # what a plugin prints is no answer

    def say(problems: list[str] | None) -> None:
        os.write(out, json.dumps(problems).encode() + b"\n")

    def answer(problems: list[str]) -> NoReturn:
        say(problems)
        os._exit(0)

    look_here_last()
    load_watch.listen(lambda problem: say([problem] if problem else None))
    load_watch.arm(timedelta(seconds=limit), lambda problem: answer([problem]))
    try:
        settings = Settings()
        mapped = dict(text.split("=", 1) for text in routes)
        PluginRegistry(
            (*builtin_plugins(settings), *load_entries(modules, builtin_plugins(settings))), routes=mapped
        )
    except InvalidSettings as error:
        answer(list(error.problems))
    answer([])
