"""Time limits in the task path: they end the action in TIMED_OUT (R34), and say when to look again."""

from __future__ import annotations

from reconciler.api.action import Result
from reconciler.api.template import template_or_none
from reconciler.api.transition import ExecutionError
from reconciler.controller import cleanup, ending
from reconciler.controller.round import Round
from reconciler.core.deadlines import expired, limits_of, next_deadline


def overdue(round: Round, at: int = 0) -> ExecutionError | None:
    """Return the time limit that has passed now, or had passed at a time (ms since the epoch); None when none has."""
    return expired(round.record, limits_of(template_or_none(round.record)), at or round.now)


def time_out(round: Round, error: ExecutionError) -> Result:
    """Stop what runs, then end the action in TIMED_OUT: a time limit of the action has passed (R34)."""
    wait = cleanup.stop(round)
    return round.later(wait) if wait else ending.fail(round, error)


def until(round: Round, at: int) -> Result:
    """Look again at that time (ms), or at the next time limit if that is earlier."""
    deadline = next_deadline(round.record, limits_of(template_or_none(round.record)))
    return Result(max(0, (min(at, deadline) if deadline else at) - round.now))


def bounded(round: Round, result: Result) -> Result:
    """Return the same result, but not later than the next time limit."""
    if round.record.is_terminal or result.requeue_after is None:
        return result
    deadline = next_deadline(round.record, limits_of(template_or_none(round.record)))
    ahead = deadline - round.now
    return Result(min(result.requeue_after, ahead)) if ahead > 0 else result
