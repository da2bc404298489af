"""End attempts and take the step that follows in one call: nobody has to claim what has not changed since it was drawn.

The worker has the record of each launch it drew, so it plays the round on what a claim would give it once the outcome is
recorded. The store takes outcome and decision together, or, where anything has changed, the outcome alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from msgspec.structs import replace

from reconciler import metrics
from reconciler.api.action import SUSPENDED, TaskAction
from reconciler.api.errors import Unavailable
from reconciler.api.tokens import FencingToken
from reconciler.controller.launches import followed
from reconciler.controller.step import Stepper
from reconciler.stores.base import Finished, Store, Write
from reconciler.stores.concluding import Concluded, ConcludeReport, Ending

log = structlog.get_logger(__name__)
_OWN_ENDS = frozenset({"returned", "raised", SUSPENDED})


class Ended(NamedTuple):
    """A launch that has ended.

    Attributes:
        record: the action, as it was drawn.
        finished: how its launch ended.
        now: the store's time as far as it is known, ms.
    """

    record: TaskAction
    finished: Finished
    now: int


def conclude(
    stepper: Stepper,
    shard: int,
    owner: str,
    ended: Sequence[Ended],
    tell: Callable[[Callable[[], ConcludeReport]], ConcludeReport],
) -> tuple[Ending, ...]:
    """Report how launches ended, with their steps where these wait for nothing; those only recorded are to be driven.

    Args:
        stepper: of this process; what it does after a commit follows here, too.
        shard: of the actions.
        owner: of the launches.
        ended: the launches.
        tell: makes the call, again if it has to: it may be repeated.
    """
    room = stepper.slots.take(len(ended), 0)
    try:
        ends = [_concluded(stepper, one) for one in ended[:room]]
    finally:
        stepper.slots.give(room)  # nothing is claimed, and the store may be away for minutes
    ends += [Concluded(one.finished) for one in ended[room:]]
    with followed([one.write for one in ends if one.write is not None], stepper.followers):
        report = tell(lambda: _sent(stepper.store, shard, owner, ends))
        _follow(stepper, shard, ends, report)
    return report.endings


def _concluded(stepper: Stepper, one: Ended) -> Concluded:
    """Play the round of a launch that has ended, if it is one that needs no claim."""
    write = None
    try:
        if not _needs_claim(one) and stepper.is_inline(one.record):
            write = _played(stepper, one)
    except Exception as error:  # noqa: BLE001  # the step that is left to do meets it again, and deals with it
        log.warning("attempt.step_not_taken", count=1, error=str(error) or repr(error))
    return Concluded(one.finished, write)


def _needs_claim(one: Ended) -> bool:
    """Tell whether a claim may show more than what was drawn: children have ended since, or steps died with it.

    Or whether the round does more than decide, which must not be done for a decision that may not be taken: it writes a
    warning for an end that is not the function's own, and renews units of quotas or asks for those of the next launch.
    """
    drawn, ended = one.record, one.finished.outcome.ended
    beside = ended not in _OWN_ENDS or bool(drawn.status.quota_leases)
    return beside or drawn.children.total > 0 or drawn.abandoned > 0


def _played(stepper: Stepper, one: Ended) -> Write | None:
    """Play a round on what a claim would give; None when it does not decide anything."""
    action, outcome = one.record.copy(), replace(one.finished.outcome, at=one.now)
    action.token, action.now = FencingToken(action.token + 1), one.now
    action.attempt = replace(action.attempt, outcome=outcome, lease_until=0)
    _, write = stepper.reconciler.round(action)
    return write if write.status else None


def _sent(store: Store, shard: int, owner: str, ends: Sequence[Concluded]) -> ConcludeReport:
    if any(one.write is not None for one in ends):
        try:
            return store.conclude(shard, owner, ends)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  # as above; most likely one cannot be encoded, and nothing was sent
            log.warning("attempt.step_not_taken", count=len(ends), error=str(error) or repr(error))
    taken = store.finish_attempts(shard, owner, [one.finished for one in ends])
    return ConcludeReport(tuple(Ending.RECORDED if one else Ending.SUPERSEDED for one in taken))


def _follow(stepper: Stepper, shard: int, ends: Sequence[Concluded], report: ConcludeReport) -> None:
    """Do what follows a commit. Never raises: all is stored, and the resync sweep finds what was not sent."""
    commit = report.commit
    if commit is None:
        return
    metrics.stepped()
    pairs = zip(ends, report.endings, strict=True)
    written = [one.write for one, ending in pairs if ending is Ending.WRITTEN and one.write is not None]
    try:
        stepper.accept(shard, written, commit)
        if 0 < commit.next_due <= commit.now and set(report.endings) == {Ending.WRITTEN}:
            stepper.wakes.wake_overdue(shard)
    except Exception as error:  # noqa: BLE001  # as above
        log.warning("attempt.step_left_to_others", count=len(written), error=str(error) or repr(error))
