"""Find where the log of an attempt lies, complete or as far as it is written."""

from __future__ import annotations

from typing import NamedTuple

from reconciler.api.action import TaskAction
from reconciler.api.errors import BlobNotFound
from reconciler.api.event import ActionEvent
from reconciler.client.actions import Actions
from reconciler.core.events import observed_attempts, prefix_of
from reconciler.core.paths import LOG_FILE


class LogPlace(NamedTuple):
    """One log.

    Attributes:
        attempt: whose, from 1.
        folder: that of the launch; another launch of the attempt begins another log.
        sha256: of the whole log; empty while it grows, and where an earlier release stored none.
        whole: whether the attempt has said that this is all.
    """

    attempt: int
    folder: str
    sha256: str = ""
    whole: bool = False

    @property
    def uri(self) -> str:
        """Return where the log lies, or will lie."""
        return f"{self.folder}/{LOG_FILE}"


def place_of(record: TaskAction, events: list[ActionEvent], attempt: int) -> LogPlace | None:
    """Find where to look for the log of an attempt; None when it can have none."""
    current = attempt == observed_attempts(record)
    now = prefix_of(record) if current else ""
    for place in _told(record, events, attempt):
        if record.phase.is_terminal() or not current or place.folder == now:
            return place
    folder = now or next((e.output_prefix for e in reversed(events) if e.attempt == attempt), "")
    return LogPlace(attempt, folder) if folder else None


def read_log(client: Actions, place: LogPlace, limit: int) -> bytes:
    """Read what lies there; nothing when nothing does.

    Raises:
        BlobNotFound: the whole log was stored, and is gone.
        BlobCorrupt, BlobUnavailable: it is not what was stored, or S3 does not answer.
    """
    try:
        return client.blobs.get(place.uri, sha256=place.sha256, limit=limit)
    except BlobNotFound:
        if place.whole:
            raise
        return b""


def _told(record: TaskAction, events: list[ActionEvent], attempt: int) -> list[LogPlace]:
    """Find the finished logs that an attempt has stored, the newest first: each of its launches may have one."""
    found = []
    outcome = record.attempt.outcome
    if outcome is not None and outcome.log_uri and attempt == observed_attempts(record):
        found.append(_whole(attempt, outcome.log_uri, outcome.log_sha256))
    for event in reversed(events):
        if event.attempt == attempt:
            found += [_whole(attempt, link.uri, link.sha256) for link in reversed(event.log_info)]
    return found


def _whole(attempt: int, uri: str, sha256: str) -> LogPlace:
    return LogPlace(attempt, uri.removesuffix(f"/{LOG_FILE}"), sha256, whole=True)
