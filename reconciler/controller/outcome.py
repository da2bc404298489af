"""Write the phase of a round into the record: status, event, and the end or the next look (R6, R7, R19)."""

from __future__ import annotations

from reconciler.api.action import Result
from reconciler.api.transition import PhaseInfo
from reconciler.controller import ending
from reconciler.controller.limits import until
from reconciler.controller.round import Round
from reconciler.core.again import told_in_event, told_in_history, why_again
from reconciler.core.events import observed_cache_status
from reconciler.core.progress import progress
from reconciler.core.status_conditions import map_phase


def store(round: Round, info: PhaseInfo, *, asked: bool = True) -> Result:
    """Write what a phase changes, and say when to look again.

    Args:
        round: one with a context.
        info: the phase.
        asked: whether the plugin was asked; False when the cache answered in its place.
    """
    record, ctx = round.record, round.context
    changes = progress(record.status, info, round.now, asked=asked)
    data, version, written = ctx.state.new_state()
    if written:
        changes.update(plugin_state=data, plugin_state_version=version)
    _observe(round, info, changes)
    if ctx.launch_request is not None:
        round.write.launch = ctx.launch_request
    why = why_again(round.original, info) if asked else ""
    if why:
        record.status, info = told_in_history(record.status, why), told_in_event(info, why)
    if record.is_terminal:
        return ending.finish(round, info)
    round.save_status(info)
    round.write.refill_at = info.refill_at
    return _look_again(round, info)


def store_queued(round: Round, info: PhaseInfo) -> Result:
    """Write that another attempt waits; it begins after its back-off."""
    _observe(round, info, {})
    round.save_status(info)
    not_before = round.record.status.not_before
    return until(round, not_before) if not_before else _look_again(round, info)


def _observe(round: Round, info: PhaseInfo, changes: dict[str, object]) -> None:
    record = round.record
    record.status = map_phase(record.status, info, round.now)
    record.set_status(
        state_at=round.now,
        plugin_phase=info.phase.label,
        plugin_phase_version=info.version,
        attempts=max(record.status.attempts, 1),
        cache_status=observed_cache_status(info.info),
        **changes,
    )


def _look_again(round: Round, info: PhaseInfo) -> Result:
    """Choose when to look again: the plugin's exact time; else the requeue duration, and at once after a change (R3)."""
    if info.requeue_at:
        return until(round, info.requeue_at)
    old, new = round.original.status, round.record.status
    changed = old.plugin_phase != new.plugin_phase or old.attempts not in {0, new.attempts}
    look = until(round, round.now + round.deps.requeue_duration)
    return Result(look.requeue_after, woken=changed)
