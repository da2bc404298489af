"""Find out what the children of a worker can run, in a real child: the same boot code, environment and import path.

A worker asks before it takes its first message, so that what cannot be imported costs no action anything. `reconciler
doctor` and `reconciler dev` ask by a process of this module.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from reconciler.api.errors import FunctionsNotLoaded
from reconciler.plugins.secrets import ENVIRONMENT_PREFIX
from reconciler.settings import Settings
from worker.runner.runner import NotStarted, Runner, Stopped

_LOG_LIMIT: Final = 1024 * 1024
_SHOWN_LINES: Final = 20
"""Lines of a traceback that are shown: the last one tells most."""


def make_runner(
    imports: Sequence[str], start_timeout: timedelta, result_limit: int = 1 << 20, memory_limit: int = 0
) -> Runner:
    """Make a runner of these modules in the environment of this process, without what only the worker may see."""
    return Runner(
        imports,
        environment={k: v for k, v in os.environ.items() if not k.startswith(ENVIRONMENT_PREFIX)},
        log_limit=_LOG_LIMIT,
        result_limit=result_limit,
        start_timeout=start_timeout.total_seconds(),
        memory_limit=memory_limit,
    )


def runner_for(settings: Settings, *, memory_limit: int = 0) -> Runner:
    """Make the runner of a worker, see `Runner` for the limit."""
    return make_runner(settings.imports, settings.import_timeout, settings.max_object_size, memory_limit)


def functions_of(runner: Runner) -> Mapping[str, str]:
    """Return what the child of a runner can run: name → digest of the interface. Then close the runner.

    Raises:
        FunctionsNotLoaded: it cannot be started, or a module cannot be imported; with the end of the traceback.
    """
    with runner:
        found = runner.functions()
    if isinstance(found, NotStarted):
        trace = "\n".join(found.traceback.splitlines()[-_SHOWN_LINES:])
        raise FunctionsNotLoaded(found.message.splitlines(), trace)
    assert not isinstance(found, Stopped), found
    return found


def main() -> None:
    """Run as a process: seconds the imports may take, then names of modules; answers with one line of JSON."""
    seconds, *modules = sys.argv[1:]
    try:
        runner = make_runner(modules, timedelta(seconds=float(seconds)))
        answer: dict[str, object] = {"functions": dict(functions_of(runner)), "needs": dict(runner.needs)}
    except FunctionsNotLoaded as error:
        answer = {"problems": error.problems, "traceback": error.traceback}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
