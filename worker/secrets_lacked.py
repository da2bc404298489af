"""Find out which secrets this worker lacks for the functions it knows, so that launches go to workers that have them (R71).

Names alone are told, never values. Only what a submission without a project gets is looked up: a secret may be held for one
project alone, so the attempt itself has the last word.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from reconciler.api.errors import InvalidInput, SecretUnavailable
from reconciler.api.template import SecretRef
from reconciler.plugins.managers import SecretManager
from reconciler.stores.secrets import SecretId

_AGAIN = 600.0
"""Seconds until a secret that was there is looked up again: some places take money for each look."""
_SOON = 30.0
"""The same for one that was not."""
_FIRST = 2.0
"""Seconds a start waits for the first look: places on this machine have answered by then."""


class LackedSecrets(threading.Thread):
    """Looks up what functions declare, in a thread of its own: a place that hangs must not stop the signs of life.

    Args:
        manager: of the worker.
        declared: secrets by function.
        project, domain: of a submission that names none.
    """

    def __init__(
        self, manager: SecretManager, declared: Mapping[str, Sequence[SecretRef]], project: str, domain: str
    ) -> None:
        super().__init__(name="reconciler-secrets", daemon=True)
        self._manager, self._project, self._domain = manager, project, domain
        self._declared = {
            function: [SecretId(key=secret.key, group=secret.group) for secret in secrets]
            for function, secrets in declared.items()
            if secrets
        }
        self._due = dict.fromkeys((secret for secrets in self._declared.values() for secret in secrets), 0.0)
        self._lacking: frozenset[SecretId] = frozenset()
        self._looked, self._ends = threading.Event(), threading.Event()

    def begin(self) -> None:
        """Start, if there is anything to look up, and wait a moment for the first answers."""
        if self._due:
            self.start()
            self._looked.wait(_FIRST)

    def run(self) -> None:
        """Look until the worker ends."""
        while not self._ends.is_set():
            self.look(time.monotonic())
            self._looked.set()
            self._ends.wait(max(min(self._due.values()) - time.monotonic(), 1.0))

    def look(self, now: float) -> None:
        """Look up what is due."""
        for secret, due in self._due.items():
            if due > now:
                continue
            self._due[secret] = now + _SOON
            with suppress(Exception):  # whatever a place does, nothing is known then
                if self._has(secret):
                    self._lacking -= {secret}
                    self._due[secret] = now + _AGAIN
                else:
                    self._lacking |= {secret}

    def _has(self, secret: SecretId) -> bool:
        """Tell whether the worker has a secret.

        Raises:
            SecretUnavailable: a place does not answer.
        """
        try:
            self._manager.get(secret.key, group=secret.group, project=self._project, domain=self._domain)
        except SecretUnavailable as error:
            if error.retryable:
                raise
            return False
        except InvalidInput:
            return True  # no name of a secret: its action fails for that
        return True

    def of(self, function: str) -> list[str]:
        """Name the secrets that a function would lack here."""
        lacking = self._lacking
        return sorted({secret.name for secret in self._declared.get(function, ()) if secret in lacking})

    def end(self) -> None:
        """End the thread."""
        self._ends.set()
