"""`reconciler doctor`: is everything as it must be, and if not, what to do."""

from __future__ import annotations

from contextlib import closing

import click

from reconciler.cli.exits import ExitCode
from reconciler.cli.format import scrub, visible
from reconciler.cli.output import emit, note, say
from reconciler.cli.terminal import styled, write
from reconciler.settings import Settings
from reconciler.stores.redis.connect import explained
from reconciler.stores.redis.store import RedisStore

_MARKS = {"ok": styled("✓", fg="green"), "problem": styled("✗", fg="red"), "skipped": "-"}


@click.command()
@click.option(
    "--worker", metavar="NODENAME", help="Only tell whether this worker is alive, as attempts@host."
)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON, for programs.")
def doctor(*, worker: str | None, as_json: bool) -> int:
    """Check settings, servers, workers and imports; tell all problems at once, each with its remedy.

    Exits with 0 when there are none, else with 9. Like a worker that starts, it fixes the number of shards of
    an empty Redis.
    """
    if worker is not None:
        return _one_worker(worker, as_json=as_json)
    from reconciler.cli.checks import examine  # noqa: PLC0415  # slow to import; health checks run often

    findings = examine()
    problems = sum(len(finding.problems) for finding in findings)
    if as_json:
        listed = [
            {
                "name": finding.name,
                "state": finding.state,
                "detail": scrub(finding.detail) or None,
                "problems": [scrub(problem) for problem in finding.problems],
            }
            for finding in findings
        ]
        emit({"ok": not problems, "checks": listed})
    else:
        for finding in findings:
            for text in finding.problems or (finding.detail,):
                write(f"{_MARKS[finding.state]} {finding.name:<19} {visible(scrub(text))}")
        say("All is well." if not problems else f"{problems} problem{'s' if problems > 1 else ''} found.")
    return ExitCode.NOT_READY if problems else ExitCode.SUCCEEDED


def _one_worker(name: str, *, as_json: bool) -> int:
    """Look at one liveness key, and at nothing else: containers ask every few seconds."""
    settings = Settings.from_env()
    with closing(RedisStore(settings)) as store, explained(store.url):
        alive = bool(store.client.exists(store.keys.worker(name)))
    if as_json:
        emit({"worker": name, "alive": alive})
    elif alive:
        say(f"{name} is alive.")
    else:
        note(f"{name} does not say that it is alive: look at its log, or restart it.")
    return ExitCode.SUCCEEDED if alive else ExitCode.NOT_READY
