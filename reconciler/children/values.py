"""Keep the values of one launch: results of its steps, ends of its sleeps, and the waits it has given up."""

from __future__ import annotations

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.errors import InvalidInput, Superseded
from reconciler.children import requests as ask
from reconciler.children.starting_over import times_over
from reconciler.client.client import Client
from reconciler.core.events import observed_attempts
from reconciler.core.layout import steps_folder
from reconciler.stores.blobs import digest_of
from reconciler.stores.placing import default_base

_INLINE = 16 * 1024
"""Largest value that is kept in the record server, bytes; what is larger lies in S3."""
_VALUE, _REFERENCE = b"v", b"r"


class Values:
    """The values of one action.

    Args:
        client: of the installation.
        record: the action, as it was drawn.
        owner: who holds the launch.
    """

    def __init__(self, client: Client, record: TaskAction, owner: str) -> None:
        self._client = client
        self._record = record
        self._owner = owner
        over = times_over(record)
        self._begin = f"{over}/" if over else ""
        self._waits = f"wait/{observed_attempts(record)}/"  # a new attempt may wait for them again
        self._steps: dict[str, bytes] | None = None

    def keep(self, request: ask.Keep) -> ask.Kept:
        """Keep a value, or return the one that is kept already.

        Raises:
            InvalidInput: it is too large.
            Superseded: another launch has taken over.
            Unavailable: a server does not answer.
        """
        most = self._client.settings.max_object_size
        if 0 < most < len(request.value or b""):
            raise InvalidInput(
                f"it has {len(request.value or b'')} bytes, {most} are allowed. Store large data yourself and keep where it "
                "lies, or raise RECONCILER_MAX_OBJECT_SIZE"
            )
        now = self._client.store.now()
        name = self._begin + request.name
        value = b"%d" % (now + request.wait) if request.wait >= 0 else request.value
        kept = self._known().get(name) if value is None else self._kept(name, value)
        return ask.Kept(request.number, None if kept is None else self._read(kept), now)

    def give_up(self, wait: str, told: int) -> None:
        """Record under a name that a wait was given up, and the time (ms) up to which the function had been told of ends.

        Raises:
            Superseded: another launch has taken over.
            Unavailable: a server does not answer.
        """
        self._kept(f"{self._begin}{self._waits}{wait}", b"%d" % told)

    def given_up(self) -> dict[str, int]:
        """Return the waits that passes of this attempt have given up, with the time (ms) up to which ends had been reported.

        Raises:
            Unavailable: a server does not answer.
        """
        begin = self._begin + self._waits
        return {
            name.removeprefix(begin): int(self._read(value))
            for name, value in self._known().items()
            if name.startswith(begin)
        }

    def _known(self) -> dict[str, bytes]:
        if self._steps is None:
            self._steps = self._client.store.steps(self._record.id)  # once: only this launch adds to them
        return self._steps

    def _kept(self, name: str, value: bytes) -> bytes:
        if self._begin and any(not known.startswith(self._begin) for known in self._known()):
            # what was kept before it started over is for nobody any more
            self._steps = {self._begin: self._store(self._begin, _VALUE, alone=True)}
        kept = self._store(name, self._put(value))
        if self._steps is not None:
            self._steps[name] = kept
        return kept

    def _store(self, name: str, value: bytes, *, alone: bool = False) -> bytes:
        record = self._record
        kept = self._client.store.keep_step(
            record.id,
            record.attempt.launch,
            owner=self._owner,
            name=name,
            value=value,
            alone=alone,
            incarnation=record.metadata.incarnation,
        )
        if kept is None:
            raise Superseded(
                "another launch of the action has taken over, and nothing more is kept for this one: let it end"
            )
        return kept

    def _put(self, value: bytes) -> bytes:
        if len(value) <= _INLINE:
            return _VALUE + value
        digest = digest_of(value)
        own = default_base(self._client.blobs, self._record.id.run_id, self._record.metadata.incarnation)
        uri = f"{steps_folder(own, self._record.id.action)}/{digest}"
        self._client.blobs.put(uri, value)
        return _REFERENCE + msgspec.json.encode([uri, digest])

    def _read(self, kept: bytes) -> bytes:
        if kept[:1] == _VALUE:
            return kept[1:]
        uri, digest = msgspec.json.decode(kept[1:], type=tuple[str, str])
        return self._client.blobs.get(uri, sha256=digest)
