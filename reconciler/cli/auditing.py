"""`reconciler doctor --audit`: keys in Redis and objects in S3 that belong to nothing any more."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing

import msgspec

from reconciler.api.errors import ReconcilerError
from reconciler.cli.exits import sentence_of
from reconciler.cli.finding import Finding
from reconciler.cli.format import size
from reconciler.core.counted import counted
from reconciler.settings import Settings
from reconciler.stores.owner import foreign_problem
from reconciler.stores.redis.auditing import REMOVABLE, KeyReport, Why
from reconciler.stores.redis.store import RedisStore
from reconciler.stores.s3 import S3Blobs
from reconciler.sweeps.audit import ObjectReport, audit_objects, remove_orphans

_SHOWN = 3


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `reconciler doctor --audit`.

    Attributes:
        fix: whether what has no owner is removed.
        limit: most keys, and most objects, to look at.
        older: seconds for which objects count as new.
    """

    fix: bool
    limit: int
    older: float


def audit(settings: Settings, request: AuditRequest) -> list[Finding]:
    """Look at keys, then at objects; the keys show which objects the catalog serves."""
    try:
        with closing(RedisStore(settings)) as store:
            keys = store.keys_without_owner(request.limit)
            findings = [_keys(store, keys, request)]
            try:
                findings.append(_objects(store, keys, settings, request))
            except ReconcilerError as error:
                findings.append(Finding(name="objects", problems=(sentence_of(error),)))
            return findings
    except ReconcilerError as error:
        return [Finding(name="keys", problems=(sentence_of(error),))]


def _keys(store: RedisStore, report: KeyReport, request: AuditRequest) -> Finding:
    removed = store.remove_lost(report.lost.items()) if request.fix else 0
    left = {key: why for key, why in report.lost.items() if not (request.fix and why in REMOVABLE)}
    problems = []
    for why, count in sorted(Counter(left.values()).items()):
        examples = [key for key, found in left.items() if found is why][:_SHOWN]
        problems.append(
            f"{counted(count, 'key: it', 'keys: each')} {why.value}, as {', '.join(map(repr, examples))}: {_REMEDIES[why]}"
        )
    detail = f"{_looked(report.looked, 'keys', complete=report.complete)}; removed {removed}"
    return Finding(name="keys", detail=detail, problems=tuple(problems), garbage=True)


_REMEDIES = {
    **dict.fromkeys(REMOVABLE, "`--fix` removes them"),
    Why.UNLISTED: "somebody deleted the list of runs, or it is a fault of ours: look with `reconciler get`, and report it",
    Why.NO_LINE: "somebody deleted the list of lines, or it is a fault of ours: look with `reconciler queue`, and report it",
    Why.NO_SHARD: "set RECONCILER_SHARDS back, or delete them if the data set was begun anew",
    Why.FOREIGN: "another program uses our key prefix: give it, or this installation, another one",
}


def _objects(store: RedisStore, keys: KeyReport, settings: Settings, request: AuditRequest) -> Finding:
    blobs = S3Blobs(settings)
    if problem := foreign_problem(store, blobs):
        return Finding(name="objects", problems=(f"nothing is looked at or removed: {problem}",))
    report = audit_objects(
        store,
        blobs,
        prefix=settings.s3_prefix,
        cited=keys.cited,
        limit=request.limit,
        before=time.time() - request.older,
    )
    detail = _told(report)
    if not report.orphans:
        return Finding(name="objects", detail=detail)
    if request.fix and not keys.complete:
        why = "nothing is removed while not all keys were looked at, since the catalog may serve them: raise --limit"
        return Finding(name="objects", problems=(f"{detail}; {why}",), garbage=True)
    if request.fix:
        return Finding(
            name="objects",
            detail=f"{detail}; removed {counted(remove_orphans(store, blobs, report.orphans), 'object')}",
        )
    if not settings.collect_objects:
        why = "as RECONCILER_COLLECT_OBJECTS is off; a rule of the bucket or `--fix` removes them"
        return Finding(name="objects", detail=f"{detail}, {why}")
    return Finding(name="objects", problems=(f"{detail}: `--fix` removes them",), garbage=True)


def _told(report: ObjectReport) -> str:
    folders = report.orphans
    count = sum(folder.count for folder in folders.values())
    total = size(sum(folder.size for folder in folders.values()))
    examples = f", as {', '.join(sorted(folders)[:_SHOWN])}" if folders else ""
    looked = _looked(report.looked, "objects", complete=report.complete)
    return (
        f"{looked}, {report.other} of them not in folders of ours; "
        f"without a record: {counted(count, 'object')} ({total}) of {counted(len(folders), 'action')}{examples}"
    )


def _looked(count: int, what: str, *, complete: bool) -> str:
    return (
        f"looked at all {count} {what}"
        if complete
        else f"looked at {count} {what}, there are more: raise --limit"
    )
