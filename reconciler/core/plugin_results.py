"""Check what plugins return: it is stored, so it must be of the types it claims to be (R20, R59).

Nothing checks types when a record is written; it would be found out by every later reader of the record, too late.
"""

from __future__ import annotations

import msgspec

from reconciler.api.errors import ReconcilerError
from reconciler.api.transition import ErrorKind, ExecutionError, PhaseInfo, TaskInfo

_LATEST = 2**53
"""Times and versions are stored as decimals and read by scripts as doubles."""


_KINDS = frozenset(ErrorKind)


class MistypedResult(ReconcilerError):
    """A plugin returned a value of another type than can be stored."""


def check_types(info: PhaseInfo) -> None:
    """Check the types of everything in a `handle` result that is stored.

    Raises:
        MistypedResult: names the first value that does not fit.
    """
    at = info.info.occurred_at if info.info is not None else 0
    for name, value in (("version", info.version), ("requeue_at", info.requeue_at), ("occurred_at", at)):
        if type(value) is not int or not 0 <= value < _LATEST:
            raise MistypedResult(f"handle returned {name} {value!r:.100}, an int from 0 on is needed")
    if type(info.reason) is not str:
        raise MistypedResult(f"handle returned the reason {info.reason!r:.100}, a str is needed")
    if info.err is not None:
        _check_error(info.err)
    if info.info is not None and info.info != TaskInfo(occurred_at=info.info.occurred_at):
        _check_details(info.info)


def _check_error(error: ExecutionError) -> None:
    texts = (error.code, error.message)
    if (
        any(type(text) is not str for text in texts)
        or not isinstance(error.kind, str)
        or error.kind not in _KINDS
    ):
        raise MistypedResult(
            f"handle returned the error {error!r:.200}: code and message are str, kind an ErrorKind"
        )


def _check_details(details: TaskInfo) -> None:
    stored = msgspec.structs.replace(details, custom_info={})  # that is for the plugin's own use
    try:
        msgspec.json.decode(msgspec.json.encode(stored), type=TaskInfo)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise MistypedResult(f"handle returned details that cannot be stored: {error}") from error
