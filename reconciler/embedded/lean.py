"""`python -m reconciler.embedded.lean …`: `celery …` without importing the commands that are not used.

Celery imports all its commands and those of others before it looks which one is wanted: Flower with its web server, and a
prompt with its toolkit, are 12 MB in each process. What it and redis-py import where it happens to be installed, colours for
a terminal, YAML, samples of memory, a parser of C, and metrics of OpenTelemetry, is 6 MB more, and what redis-py has for
asyncio 3 MB. Those that the embedded stack starts use none of it.
"""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from reconciler.embedded.later import put_off

_PROMPT = "click_repl"
_OPTIONAL = ("pygments", "cffi", "opentelemetry", "psutil", "yaml")
"""Found missing by Celery and redis-py. Whoever imports them later finds them."""


def spare_commands() -> None:
    """Import Celery's command line and redis-py without the prompt, commands of other packages, and what is optional."""
    prompt = ModuleType(_PROMPT)
    prompt.__dict__["register_repl"] = lambda *_, **__: None
    found = importlib.metadata.entry_points

    def without_commands(**wanted: Any) -> Any:  # noqa: ANN401  # as the function it stands for
        return () if wanted.get("group") == "celery.commands" else found(**wanted)

    importlib.metadata.entry_points = without_commands
    sys.modules.setdefault(_PROMPT, prompt)
    missing = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # Python's way to say that there is none
    put_off("redis.asyncio")
    try:
        import_module("celery.bin.celery")
        import_module("celery.utils.debug")
        import_module("redis")
    finally:
        importlib.metadata.entry_points = found
        for name in missing:
            del sys.modules[name]
        if sys.modules[_PROMPT] is prompt:
            del sys.modules[_PROMPT]


def beat_in_a_thread() -> None:
    """Have `celery worker -B` run beat in a thread: in a process of its own, which Celery would fork, it takes 20 MB."""
    beat: Any = import_module("celery.beat")
    beat._Process = None  # noqa: SLF001  # what Celery has it be where no processes can be forked


def main() -> None:
    """Run it."""
    spare_commands()
    beat_in_a_thread()
    runpy.run_module("celery", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
