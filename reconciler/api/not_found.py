"""The sentence of `ActionNotFound`: what is not there, why it may not be, and where to look."""

from __future__ import annotations


def not_found_text(action: str, used_again: bool, half_stored: str, incarnation: str) -> str:  # noqa: FBT001  # told by one caller
    """Say that an action, or a run, is not stored; for the arguments see `ActionNotFound`."""
    if half_stored:
        return f"no action {action} is stored yet: {half_stored}."
    if incarnation or used_again:
        return _no_such_life(action, incarnation, used_again)
    what = "action" if action.count("/") == 3 else "run"
    return (
        f"no {what} {action} is stored: it was never accepted, it was deleted, or its retention has passed. "
        "`reconciler list` and `reconciler history` show what is there, `reconciler history deleted` what was deleted. "
        "Of a run that `history` alone shows, the object in the archive is gone."
    )


def _no_such_life(action: str, incarnation: str, used_again: bool) -> str:  # noqa: FBT001  # told by one caller
    """Say that a name was not, or is no longer, used by the run that is meant."""
    project, _, rest = action.partition("/")
    name = rest.partition("/")[2].partition("/")[0] or action
    which = f"has the incarnation {incarnation}" if incarnation else "is the one that was meant"
    later = ", and a later run has its name" if used_again else ""
    return (
        f"no run {'/'.join(action.split('/')[:3])} {which}: there was none, it was deleted, or its retention has "
        f"passed{later}. `reconciler history --name {name} --project {project}` shows those that are remembered; of one "
        "that it alone shows, the object in the archive is gone."
    )
