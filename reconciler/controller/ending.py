"""End an action: by failure, by an abort, and what is owed after any end (R35, R37, R38, R40)."""

from __future__ import annotations

from reconciler.api.action import DONE, FINALIZER, Deletion, Result
from reconciler.api.phase import PluginPhase
from reconciler.api.transition import ExecutionError, PhaseInfo, TaskInfo, aborted, failed
from reconciler.controller import cache, cleanup
from reconciler.controller.overruns import check_rounds
from reconciler.controller.round import Round
from reconciler.core.status_conditions import failure_reason, map_phase
from reconciler.plugins.base import owes_finalize
from reconciler.plugins.registry import PluginNotFound


def fail(round: Round, error: ExecutionError, info: TaskInfo | None = None) -> Result:
    """End the action by failure: conditions, history, error state, FAILED event, labels, in one write (R35).

    Raises:
        InvalidInput: the event could not be placed.
    """
    round.write.status = True
    info = info or TaskInfo(occurred_at=round.now)
    phase = failed(PluginPhase.PERMANENT_FAILURE, error, info, failed_as=failure_reason(error))
    record = round.record
    record.status = map_phase(record.status, phase, round.now)
    record.set_status(plugin_phase=phase.phase.label, plugin_phase_version=0)
    return finish(round, phase)


def finish(round: Round, info: PhaseInfo) -> Result:
    """Write the end of a task: event, labels, no reservation, and no finalizer unless the plugin is owed a call (R37)."""
    round.save_status(info)
    round.end()
    cache.settle(round)
    if not _owed(round):
        round.drop_finalizer()
        status = round.record.status
        if (
            status.plugin_state or status.plugin_state_version
        ):  # nobody will ask for it any more; else finalize still needs it
            round.record.set_status(plugin_state=b"", plugin_state_version=0)
    return DONE


def _owed(round: Round) -> bool:
    try:
        return owes_finalize(round.deps.plugin_registry.resolve(round.record.spec.task_type))
    except PluginNotFound:  # nothing can be owed to it
        return False


# -- an end that was asked for (R38) -----------------------------------------------------------------------------------
def abort(round: Round) -> Result:
    """Stop and clean up an action whose deletion was asked for, and end it in ABORTED.

    Order: plugin abort, plugin finalize, reservation release, then in one write the ABORTED event with reason and actor,
    the status and the removal of the finalizer. A failing step is tried again, a bounded number of times; then the action
    ends all the same and says `cleanup failed` (R41). A terminal action is only finalized: no second end, no event (R39).
    """
    if round.record.is_terminal:
        return finalize(round)
    if FINALIZER in round.record.metadata.finalizers:
        if not _untouched(round) and cleanup.find_plugin(round):
            wait = cleanup.stop(round)
            if wait:
                return round.later(wait)
        _release(round)
    return _end_aborted(round)


def _untouched(round: Round) -> bool:
    """Tell whether the plugin was never called, so that there is nothing to stop.

    A record no earlier step has written is not enough: a step that claimed it and died may have called the plugin.
    """
    status, earlier_claims = round.record.status, round.record.token - (not round.merely_read)
    written = status.attempts or status.plugin_phase or status.total_system_failures
    return earlier_claims <= 0 and not written


def _release(round: Round) -> None:
    """Release the reservation, held or waited for; an abort does not wait for it."""
    try:
        # clean-up was given up: a catalog may be what takes too long
        check_rounds(round.record, round.deps.settings.step_lease)
        cache.release_all(round)
    except Exception as error:  # noqa: BLE001  # a catalog may raise anything
        round.audit("ReservationNotReleased", "FinalizingTaskAction", str(error))


def _end_aborted(round: Round) -> Result:
    record = round.record
    deletion = record.metadata.deletion or Deletion()
    info = aborted(round.now, 0, deletion.reason or "aborted")
    round.write.status = True
    record.status = map_phase(record.status, info, round.now)
    record.set_status(
        plugin_phase=info.phase.label, plugin_phase_version=0, plugin_state=b"", plugin_state_version=0
    )
    round.publish(info, actor=deletion.actor, updated_time=deletion.at or round.now)
    round.end()
    round.drop_finalizer()
    return DONE


# -- after the end -----------------------------------------------------------------------------------------------------
def finalize(round: Round) -> Result:
    """Do what is owed after the end: open children, finalize, labels; then remove the finalizer (R37, R40)."""
    record = round.record
    before = record.status
    if record.children.open:
        reason = Deletion(reason=f"parent {record.id.action} has ended")
        incarnation = record.metadata.incarnation
        round.deps.store.request_abort(record.id, reason, quiet=True, incarnation=incarnation)
    if FINALIZER in record.metadata.finalizers:
        wait = cleanup.finalize(round) if cleanup.find_plugin(round) else 0
        if wait:
            return round.later(wait)
        if record.status.plugin_state:
            record.set_status(plugin_state=b"", plugin_state_version=0)
    if record.status is not before:
        round.write.status = True
    round.end()
    round.drop_finalizer()
    return DONE
