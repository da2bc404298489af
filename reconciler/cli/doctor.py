"""`reconciler doctor`: check the installation, and print the remedy for each problem."""

from __future__ import annotations

from contextlib import closing

import click

from reconciler.cli.commands import Command
from reconciler.cli.durations import duration
from reconciler.cli.exits import ExitCode
from reconciler.cli.finding import Finding, skipped
from reconciler.cli.format import scrub
from reconciler.cli.output import emit, note, say
from reconciler.cli.terminal import styled, write
from reconciler.core.visible import visible
from reconciler.settings import Settings
from reconciler.stores.redis.connect import explained
from reconciler.stores.redis.store import RedisStore

_MARKS = {"ok": styled("✓", fg="green"), "problem": styled("✗", fg="red"), "skipped": "-"}


@click.command(cls=Command)
@click.option(
    "--worker", metavar="NODENAME", help="Only tell whether this worker is alive, as attempts@host."
)
@click.option(
    "--imports",
    is_flag=True,
    help="Only import functions and plugins, as a build of an image does: no server.",
)
@click.option("--probe", is_flag=True, help="Also run an action that does nothing in each queue in use.")
@click.option(
    "--within", type=duration, default="30s", show_default=True, help="With --probe: longest wait for them."
)
@click.option(
    "--audit", is_flag=True, help="Look for keys and objects without an owner, and at nothing else."
)
@click.option("--fix", is_flag=True, help="With --audit: remove what has no owner.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="With --audit: most keys, and most objects, to look at.",
)
@click.option(
    "--older",
    type=duration,
    default="1d",
    show_default=True,
    help="With --audit: what was written since is left out.",
)
@click.option(
    "--adopt",
    is_flag=True,
    help="First make what lies in S3 this installation's: after Redis was lost or begun anew.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer with JSON, for programs.")
def doctor(
    *,
    worker: str | None,
    imports: bool,
    probe: bool,
    within: float,
    audit: bool,
    fix: bool,
    limit: int,
    older: float,
    adopt: bool,
    as_json: bool,
) -> int:
    """Tell whether an action submitted now would run; name each check, and each problem with its remedy.

    Exits with 0 when all is well, with 9 when there are problems, with 8 when the only one is that a probe did not end in
    time, with 10 when an audit found what nobody owns. Like a worker that starts, it fixes the number of shards of an empty
    Redis, and marks an unmarked place in S3 as this installation's.
    """
    _check_options(worker, imports=imports, probe=probe, audit=audit, fix=fix)
    if adopt:
        if worker is not None or imports:
            raise click.UsageError("--adopt changes what lies in S3: not with --worker or --imports.")
        _adopt(Settings.from_env())
    if audit:
        from reconciler.cli.auditing import AuditRequest  # noqa: PLC0415  # slow to import; health checks run often
        from reconciler.cli.auditing import audit as audited  # noqa: PLC0415  # as above

        found = audited(Settings.from_env(), AuditRequest(fix=fix, limit=limit, older=older))
        _show(found, as_json=as_json)
        return _code(found)
    if worker is not None:
        return _one_worker(worker, as_json=as_json)
    if imports:
        from reconciler.cli.check_local import examine_imports  # noqa: PLC0415  # as above

        found = examine_imports(Settings.from_env())
        _show(found, as_json=as_json)
        return _code(found)
    from reconciler.cli.checks import examine  # noqa: PLC0415  # slow to import; health checks run often

    findings = examine()
    if probe:
        findings += _probes(findings, within)
    _show(findings, as_json=as_json)
    return _code(findings)


def _adopt(settings: Settings) -> None:
    from reconciler.stores.owner import adopt  # noqa: PLC0415  # slow to import; health checks run often
    from reconciler.stores.s3 import S3Blobs  # noqa: PLC0415  # as above

    with closing(RedisStore(settings)) as store:
        adopt(store, S3Blobs(settings))


def _check_options(worker: str | None, *, imports: bool, probe: bool, audit: bool, fix: bool) -> None:
    if (worker is not None) + imports + probe + audit > 1:
        raise click.UsageError(
            "--worker, --imports, --probe and --audit are different looks: give one of them."
        )
    if fix and not audit:
        raise click.UsageError("--fix is for --audit.")


def _probes(findings: list[Finding], within: float) -> list[Finding]:
    from reconciler.cli.probing import probes  # noqa: PLC0415  # as above

    if any(finding.problems for finding in findings if finding.name in {"settings", "redis"}):
        return [skipped("probe", "nothing is submitted while settings or Redis are not well")]
    return probes(Settings.from_env(), within)


def _show(findings: list[Finding], *, as_json: bool) -> None:
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
        return
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        for text in finding.problems or (finding.detail,):
            write(f"{_MARKS[finding.state]} {visible(f'{finding.name:<{width}} {scrub(text)}')}")
    say("All is well." if not problems else f"{problems} problem{'s' if problems > 1 else ''} found.")


def _code(findings: list[Finding]) -> ExitCode:
    wrong = [finding for finding in findings if finding.problems]
    if not wrong:
        return ExitCode.SUCCEEDED
    if all(finding.garbage for finding in wrong):
        return ExitCode.GARBAGE
    return ExitCode.STILL_RUNNING if all(finding.late for finding in wrong) else ExitCode.NOT_READY


def _one_worker(name: str, *, as_json: bool) -> int:
    """Look at one liveness key only: containers ask every few seconds."""
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
