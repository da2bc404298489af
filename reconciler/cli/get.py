"""`reconciler get`: all that is known of one action."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from reconciler.api.action import Metadata, RunId, TaskAction
from reconciler.api.approval import read_condition
from reconciler.api.audit import Who
from reconciler.api.event import ActionEvent
from reconciler.api.phase import ActionPhase
from reconciler.api.schedule import DEFAULT_PRIORITY
from reconciler.cli.commands import Command
from reconciler.cli.documents import NOT_SEEN, action_document, log_uri, waiting_text
from reconciler.cli.format import ago, one_line, size, stamp
from reconciler.cli.output import emit, phase_text, say, show_pairs, show_table
from reconciler.cli.session import ONE, Place, common_options, connected
from reconciler.cli.terminal import styled, write
from reconciler.client.describing import why_waiting
from reconciler.core.attempts import AttemptView, PhaseSpan, attempts_of
from reconciler.core.counted import counted
from reconciler.core.events import observed_attempts
from reconciler.core.progress import begun
from reconciler.core.redaction import EVERY, redaction_of
from reconciler.core.status_conditions import terminal_time
from reconciler.core.times import span
from reconciler.core.why import Why
from reconciler.stores.holds import RunLife

Pairs = list[tuple[str, str]]


@click.command(cls=Command)
@click.argument("action", metavar=ONE)
@common_options
def get(*, action: str, project: str, domain: str, as_json: bool) -> None:
    """Show one action: where it is, why it waits or failed, its history, and where outputs and log lie.

    Of several runs that had the name, the last one, or that of INCARNATION, as `reconciler history` shows it.
    """
    place = Place(project, domain)
    target = place.one(action)
    with connected(place) as client:
        reader = target.reader(client)
        record = reader.get(target.action)
        events = reader.events(target.action)
        life = RunLife(record.id.run_id, record.metadata.incarnation)
        made = client.made_into(life) if not record.spec.parent_action_name else []
        by = reader.submitter(record)
        record.set_metadata(submitted=by)
        why = why_waiting(client, record)
        if as_json:
            emit(action_document(record, events, made, why))
            return
        _show(record, events, client.store.now(), made, why)


def _show(
    record: TaskAction,
    events: list[ActionEvent],
    now: int,
    made: Sequence[RunId] = (),
    why: Why | None = None,
) -> None:
    write(f"{styled(str(record.id), bold=True)}  {phase_text(record.phase)}")
    show_pairs(
        _what(record)
        + _came(record, made)
        + _when(record, now)
        + _why(record, now, why)
        + _where(record, events)
    )
    if record.status.conditions:
        say("\nConditions")
        show_table(
            ("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"),
            [
                (c.type, c.status, c.reason, stamp(c.last_transition_time), one_line(c.message))
                for c in record.status.conditions
            ],
        )
    if record.status.phase_history:
        say("\nHistory")
        show_table(
            ("PHASE", "AT", "MESSAGE"),
            [(h.phase, stamp(h.occurred_at), one_line(h.message)) for h in record.status.phase_history],
        )
    _show_attempts(attempts_of(events), now)


def _show_attempts(attempts: list[AttemptView], now: int) -> None:
    """Show the attempts if there were several; a single one is covered by the rest of the page."""
    if len(attempts) < 2:
        return
    say("\nAttempts")
    show_table(
        ("NUMBER", "PHASE", "STARTED", "TOOK", "PHASES", "ERROR"),
        [
            (
                str(a.attempt),
                str(a.phase),
                stamp(a.start),
                span((a.end or now) - a.start),
                ", ".join(_phase_told(a, p, now) for p in a.phases if p.end != p.start),
                f"[{a.error.code}] {one_line(a.error.message)}" if a.error else "",
            )
            for a in attempts
        ],
    )


def _phase_told(attempt: AttemptView, part: PhaseSpan, now: int) -> str:
    """Write how long an attempt was in a phase; while it is suspended it runs, and keeps no worker."""
    text = f"{part.phase} {span((part.end or now) - part.start)}"
    away = attempt.suspended if part.phase is ActionPhase.RUNNING else 0
    return f"{text} (suspended {span(away)} of it)" if away else text


def _what(record: TaskAction) -> Pairs:
    task, children = record.spec.task_type or record.spec.action_type, record.children
    named = record.spec.short_name and record.spec.short_name != task
    return [
        ("incarnation", record.metadata.incarnation),
        ("task", f"{task} {record.spec.short_name}" if named else task),
        ("asks", _question(record)),
        ("parent", record.spec.parent_action_name or ""),
        (
            "archived",
            "read from the archive in S3; its run ended, and Redis has forgotten it"
            if record.archived
            else "",
        ),
        ("attempts", _attempts(record)),
        (
            "children",
            f"{children.total}, {children.open} open, {children.failed} failed" if children.total else "",
        ),
        ("not asked for", never_asked_for(record)),
        ("progress", _progress(record)),
    ]


def _progress(record: TaskAction) -> str:
    said = record.attempt.progress
    if said is None:
        return ""
    return f"{said.state} {one_line(msgspec.json.encode(said.meta).decode())}, said {stamp(said.at)}"


def never_asked_for(record: TaskAction) -> str:
    """List the children that an earlier pass of the function started and the last one did not ask for."""
    names = record.status.unasked
    return f"{', '.join(names)}: an earlier pass started them, and the last one did not" if names else ""


def _came(record: TaskAction, made: Sequence[RunId]) -> Pairs:
    """Show which run this one was made of, and which runs were made of it."""
    lineage = record.metadata.lineage
    how = f"{lineage.verb} of {lineage.source}{', changed' if lineage.changed else ''}" if lineage else ""
    by = record.metadata.submitted
    return [
        ("submitted by", str(by) if by else ""),
        ("made by", how),
        ("made into", "\n".join(map(str, made))),
    ]


def _question(record: TaskAction) -> str:
    spec = read_condition(record.spec.condition_spec) if record.spec.condition_spec else None
    return f"{one_line(spec.prompt or spec.name)} ({spec.asks_for})" if spec else ""


def _attempts(record: TaskAction) -> str:
    status = record.status
    more = []
    over = status.start_over.number if status.start_over is not None else 0
    if over:
        more.append(f"started over {counted(over, 'time')}")
    if status.launches > status.resumes:
        more.append(f"relaunched {counted(status.launches - status.resumes, 'time')}")
    if status.total_system_failures:
        more.append(f"{counted(status.total_system_failures, 'system failure')} in all")
    number = str(observed_attempts(record))
    return f"{number} ({', '.join(more)})" if more else number


def _when(record: TaskAction, now: int) -> Pairs:
    created, ended = record.metadata.creation_timestamp, terminal_time(record.status)
    return [
        ("created", ago(created, now) if created else ""),
        *_plan(record, now),
        ("ended", f"{ago(ended, now)}, after {span(ended - created)}" if ended else ""),
    ]


def _plan(record: TaskAction, now: int) -> Pairs:
    """Write when and in which order it runs, as far as that was chosen and still matters."""
    metadata = record.metadata
    waits = not (record.phase.is_terminal() or begun(record))
    return [
        ("may begin", ago(metadata.not_before, now) if metadata.not_before else ""),
        (
            "expires",
            f"{ago(metadata.expires_at, now)} unless it has begun" if metadata.expires_at and waits else "",
        ),
        ("priority", _priority(metadata)),
        ("fair key", metadata.fair_key),
    ]


def _priority(metadata: Metadata) -> str:
    by = metadata.prioritized
    if metadata.priority == DEFAULT_PRIORITY and by is None:
        return ""
    if by is None:
        return str(metadata.priority)
    given = [
        f"{one.what.split()[-1]} by {Who(one.actor, one.door)}, {stamp(one.at)}"
        for one in reversed(metadata.priorities)
    ]
    return "\n".join(
        [
            f"{metadata.priority}, by {Who(by.actor, by.door)}, {stamp(by.at)}",
            *(f"before: {one}" for one in given[1:]),
        ]
    )


def _why(record: TaskAction, now: int, why: Why | None) -> Pairs:
    status, deletion, attempt = record.status, record.metadata.deletion, record.attempt
    error, waiting = status.error_state, waiting_text(record, why, now)
    decided = record.phase in {ActionPhase.FAILED, ActionPhase.TIMED_OUT}
    kind = f" {error.kind}" if error and error.kind else ""
    return [
        (
            "waiting",
            waiting if waiting != NOT_SEEN else f"{waiting}: `reconciler doctor` tells whether one is alive",
        ),
        ("not before", ago(status.not_before, now) if status.not_before > now else ""),
        ("worker", _worker(record, now) if attempt.owner and not record.phase.is_terminal() else ""),
        ("error" if decided else "last error", f"[{error.code}]{kind}: {error.message}" if error else ""),
        (
            "abort",
            f"{ago(deletion.at, now)} by {Who(deletion.actor, deletion.door)}: {deletion.reason}"
            if deletion
            else "",
        ),
        (
            "signal",
            f"{record.signal.value!r} by {Who(record.signal.by, record.signal.door)}"
            if record.signal
            else "",
        ),
        ("cleanup failed", status.cleanup_error),
    ]


def _worker(record: TaskAction, now: int) -> str:
    if record.attempt.suspended:
        return "none: its function is suspended, and is called again when what it waits for has ended"
    left = record.attempt.lease_until - now
    lease = f"lease for {span(left)} more" if left > 0 else f"silent: its lease ran out {span(-left)} ago"
    return f"{record.attempt.owner} since {stamp(record.attempt.started_at)} ({lease})"


def _redacted(record: TaskAction) -> str:
    redaction = redaction_of(record)
    inputs = ", ".join("all inputs" if name == EVERY else name for name in redaction.inputs)
    return ", ".join(part for part in (inputs, "outputs" if redaction.outputs else "") if part)


def _where(record: TaskAction, events: list[ActionEvent]) -> Pairs:
    ref = record.status.outputs
    return [
        ("outputs", f"{ref.uri} ({size(ref.size)})" if ref else ""),
        ("redacted", _redacted(record)),
        ("log", log_uri(record, events)),
        ("labels", "\n".join(f"{name}={value}" for name, value in sorted(record.labels.items()))),
    ]
