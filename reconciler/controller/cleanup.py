"""Stop what a plugin has launched, with a bounded number of tries (R29, R37, R41)."""

from __future__ import annotations

from datetime import timedelta

import structlog

from reconciler.api.status_conditions import cut
from reconciler.controller.overruns import RoundsAbandoned, check_rounds
from reconciler.controller.round import Round
from reconciler.core import retries
from reconciler.core.counted import counted
from reconciler.core.progress import next_launch
from reconciler.core.times import span
from reconciler.plugins.base import StillStopping

log = structlog.get_logger(__name__)

_ASK_AGAIN = 500
"""Shortest time until a plugin is asked again whether what it stops has stopped, ms."""


def reset(round: Round) -> int:
    """Stop what the plugin launched and forget its state, in memory; persists nothing itself (R29).

    The launch number rises, so that the next launch shares no name and no path with this one. Nothing is forgotten before
    the abort succeeded or its tries are used up (R31).

    Returns:
        0 when it is reset; else when to call again (ms since the epoch): abort is not through yet.
    """
    wait = stop(round)
    if not wait:
        round.record.status = next_launch(round.record.status, round.record.attempt, round.now)
    return wait


def stop(round: Round) -> int:
    """Call abort and finalize, with bounded tries; return 0 when done or given up, else when to try again (ms)."""
    try:
        check_rounds(round.record, round.deps.settings.step_lease)
        round.plugin.abort(round.context)
        round.plugin.finalize(round.context)
    except Exception as error:  # noqa: BLE001  # a plugin may raise anything; tries are counted
        wait = _again(round, error)
        if wait:
            return wait
        if not isinstance(error, RoundsAbandoned):  # else this round would not end either
            _finalize_anyway(round)
    round.record.set_status(cleanup_tries=0, stopping_since=0, quota_leases=())
    return 0


def finalize(round: Round) -> int:
    """Call finalize alone, as after an end; return 0 when done or given up, else when to try again (ms)."""
    try:
        check_rounds(round.record, round.deps.settings.step_lease)
        round.plugin.finalize(round.context)
    except Exception as error:  # noqa: BLE001  # a plugin may raise anything; tries are counted
        return _again(round, error)
    return 0


def find_plugin(round: Round) -> bool:
    """Find plugin and context for a clean-up; if that fails, the record and an audit entry say so."""
    try:
        round.plugin = round.deps.plugin_registry.resolve(round.record.spec.task_type)
        round.open_context()
    except Exception as error:  # noqa: BLE001  # no end waits for what can never be built
        text = f"clean-up was skipped: {error}"
        round.audit("FinalizationSkipped", "FinalizingTaskAction", text)
        round.record.set_status(cleanup_error=text[:1024])
        return False
    return True


def _again(round: Round, error: Exception) -> int:
    """Return when to call abort or finalize again after it raised; 0 when it is given up, which the record then says."""
    settings = round.deps.settings
    if isinstance(error, StillStopping):
        wait = _still_stopping(round, error)
        why = f"after {span(settings.cleanup_patience // timedelta(milliseconds=1))}"
    else:
        wait = _failed_again(round)
        why = f"after {counted(settings.max_cleanup_tries, 'try', 'tries')}"
    if not wait:
        text = f'plugin "{round.plugin.id}" could not clean up: {type(error).__name__}: {error}'
        round.audit("CleanupFailed", "CleaningUp", f"{text}; given up {why}")
        round.record.set_status(cleanup_tries=0, stopping_since=0, cleanup_error=cut(text, 1024))
    return wait


def _still_stopping(round: Round, waiting: StillStopping) -> int:
    """Return when to ask again: not within half a second, whatever the plugin wants, and not for ever (R41)."""
    since = round.record.status.stopping_since or round.now
    ends = since + int(round.deps.settings.cleanup_patience.total_seconds() * 1000)
    if round.now >= ends:
        return 0
    round.record.set_status(stopping_since=since)
    return min(max(waiting.retry_at, round.now + _ASK_AGAIN), ends)


def _failed_again(round: Round) -> int:
    tries = round.record.status.cleanup_tries + 1
    round.record.set_status(cleanup_tries=tries)
    if tries >= round.deps.settings.max_cleanup_tries:
        return 0
    return round.now + retries.system_delay(round.deps.requeue_duration, tries, round.deps.rng)


def _finalize_anyway(round: Round) -> None:
    """Finalize what could not be stopped, to release what it holds: nobody will come again."""
    try:
        round.plugin.finalize(round.context)
    except Exception as error:  # noqa: BLE001  # clean-up was given up and said so
        log.warning("finalize.failed", action=str(round.record.id), plugin=round.plugin.id, error=str(error))
