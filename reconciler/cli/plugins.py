"""Load the plugins of a worker in a process of its own, which can be ended when one of them hangs."""

from __future__ import annotations

import json
import subprocess

from reconciler.cli.local import asking
from reconciler.settings import Settings

_SLACK = 30.0
"""Seconds the process may take besides."""


def plugin_problems(settings: Settings) -> list[str]:
    """Load the plugins of the settings as a worker does; say what is wrong with them, sentences with a remedy."""
    limit = settings.import_timeout.total_seconds()
    asked = [list(settings.plugins), list(settings.plugin_routes), limit]
    command = asking("worker.plugins_asked", json.dumps(asked))
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and module
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=2 * limit * len(settings.plugins) + _SLACK,
            check=False,
        )
        found: list[str] | None = json.loads(done.stdout.splitlines()[-1])
        if found is not None:
            return found
        why, said = f"their process ended with {done.returncode}", done.stderr.strip()
    except (subprocess.SubprocessError, json.JSONDecodeError, IndexError) as error:
        why, said = str(error), (getattr(error, "stderr", "") or "").strip()
    named = ", ".join(settings.plugins)
    return [f"the plugins of RECONCILER_PLUGINS ({named}) cannot be loaded: {why}. {said}".strip()]
