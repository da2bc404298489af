"""The secrets of one attempt: resolved for its call alone, and masked in all that is stored of it (R71)."""

from __future__ import annotations

import html
import json
import socket
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from urllib.parse import quote, quote_plus

import msgspec

from reconciler.api.action import TaskAction
from reconciler.api.errors import InvalidInput, SecretUnavailable
from reconciler.api.secret import variable_of
from reconciler.api.template import SecretRef, template_or_none
from reconciler.plugins.managers import SecretManager
from reconciler.stores.secrets import SecretId
from worker.attempts.fitness import CannotRun
from worker.runner.runner import Died, Ended, Raised, Runner, Stopped, Unfit

MASK = "**"
_SHORTEST = 4
"""Shorter values are not masked: that would blacken half a log, and they are no secrets."""
_SHORTEST_LINE = 12
"""A line of a longer secret counts as secret from this length on, so that a key printed line by line is masked too."""
_SHORTEST_CODED = 6
"""Bytes of a value that is looked for in base64: 8 letters."""
_MOST_FORMS = 500
"""Values, in each of the ways they may be written, that a child may have seen: each costs a search of every later log."""
_CUTS = (b"\n[... cut ...]\n", b"\n[cut: the log was longer than ")
"""What the runner writes where it left something out; a secret may have been cut in two there."""


_NONE: frozenset[bytes] = frozenset()


class AttemptSecrets:
    """Values by environment variable. Never printed.

    Attributes:
        env: environment variables of the call.
        forms: how its values may appear in a text.
    """

    def __init__(
        self, env: dict[str, str], earlier: AbstractSet[bytes] = frozenset(), texts: Iterable[str] = ()
    ) -> None:
        """Take this attempt's values, the `forms` of those its process had `earlier`, and other texts to mask."""
        self.env = env
        values = (*env.values(), *texts)
        self.forms = frozenset(form for value in values for form in _forms(value)) if values else _NONE
        self._forms = sorted(self.forms | earlier, key=len, reverse=True) if values or earlier else []

    def with_texts(self, texts: Iterable[str]) -> AttemptSecrets:
        """Add other texts to mask in this call alone: those of redacted values."""
        texts = tuple(texts)
        return AttemptSecrets(self.env, frozenset(self._forms), texts) if texts else self

    def mask(self, data: bytes) -> bytes:
        """Replace each value in a text, also where it is escaped (JSON, `repr`, an address), in base64, or cut in two."""
        for form in self._forms:
            data = data.replace(form, MASK.encode())
        for cut in _CUTS if self._forms else ():
            head, found, tail = data.partition(cut)
            if found:
                data = self._without_start(head) + found + self._without_end(tail)
        return data

    def mask_so_far(self, data: bytes) -> bytes:
        """Mask an unfinished text as `mask` does, and hold back an end that may be the beginning of a value.

        So what is given later begins with what is given now.
        """
        data = self.mask(data)
        sizes = (n for form in self._forms for n in range(1, len(form)) if data.endswith(form[:n]))
        return data[: len(data) - max(sizes, default=0)]

    def mask_text(self, text: str) -> str:
        """Mask a text as `mask` does."""
        return (
            self.mask(text.encode(errors="surrogatepass")).decode(errors="replace") if self._forms else text
        )

    def mask_end(self, ended: Ended) -> Ended:
        """Mask the texts of a call's end. Keeping results clean is up to the function."""
        if isinstance(ended, Raised):
            code, message = self.mask_text(ended.code), self.mask_text(ended.message)
            trace = self.mask_text(ended.traceback)
            return msgspec.structs.replace(ended, code=code, message=message, traceback=trace)
        if isinstance(ended, Died | Unfit):
            return msgspec.structs.replace(ended, message=self.mask_text(ended.message))
        if isinstance(ended, Stopped):
            return msgspec.structs.replace(ended, reason=self.mask_text(ended.reason))
        return ended

    def _without_start(self, head: bytes) -> bytes:
        """Remove from text before a cut the beginning of a value at its end."""
        sizes = (
            n
            for form in self._forms
            for n in range(len(form) - 1, _SHORTEST - 1, -1)
            if head.endswith(form[:n])
        )
        longest = max(sizes, default=0)
        return head[: len(head) - longest] + MASK.encode() if longest else head

    def _without_end(self, tail: bytes) -> bytes:
        """Remove from text after a cut the end of a value at its beginning."""
        sizes = (
            n
            for form in self._forms
            for n in range(len(form) - 1, _SHORTEST - 1, -1)
            if tail.startswith(form[-n:])
        )
        longest = max(sizes, default=0)
        return MASK.encode() + tail[longest:] if longest else tail


NO_SECRETS = AttemptSecrets({})
"""Those of an attempt that has none."""


class ChildSecrets:
    """The values that calls of one child have had. They are masked in what its later calls write, too.

    A module may have kept one, in a client or in a cache of errors. They are forgotten with the child; and before they
    become too many, the child goes.
    """

    def __init__(self) -> None:
        self._child = 0
        self._forms: frozenset[bytes] = frozenset()
        self._last: frozenset[bytes] = frozenset()

    def begin(self, runner: Runner, secrets: AttemptSecrets) -> AttemptSecrets:
        """Take the secrets of the next call of this runner, with those of earlier calls of its child."""
        if runner.children != self._child:
            self._forms = self._last  # the child was replaced after the last call, or in its beginning
        if secrets.forms - self._forms and len(self._forms) + len(secrets.forms) > _MOST_FORMS:
            runner.renew()
            self._forms = frozenset()
        self._child = runner.children
        if secrets is NO_SECRETS and not self._forms:
            self._last = secrets.forms
            return secrets
        together = AttemptSecrets(secrets.env, self._forms)
        self._forms |= secrets.forms
        self._last = secrets.forms
        return together


def _forms(value: str) -> Iterable[bytes]:
    """List the forms in which a value may appear in a text."""
    parts = [value, *(line for line in value.splitlines() if len(line) >= _SHORTEST_LINE)]
    for part in parts:
        if len(part) >= _SHORTEST:
            for form in (
                part,
                repr(part)[1:-1],
                ascii(part)[1:-1],
                json.dumps(part)[1:-1],
                html.escape(part),
            ):
                yield form.encode(errors="surrogatepass")
            yield from _carried(part.encode(errors="surrogatepass"))


def _carried(part: bytes) -> Iterable[bytes]:
    """List how a value appears in an address, and in base64 without its last letters, which depend on what follows."""
    yield quote(part).encode()
    yield quote(part, safe="").encode()
    yield quote_plus(part).encode()
    whole = part[: len(part) // 3 * 3]
    if len(whole) >= _SHORTEST_CODED:
        yield b64encode(whole)
        yield urlsafe_b64encode(whole)


def check_declared(function: str, asked: Iterable[SecretRef], declared: Iterable[SecretRef]) -> None:
    """Check that a function gets no secret, in no variable, that it has not declared itself.

    A template is what its submitter wrote: it could name the secrets of others, for a function that prints them.

    Raises:
        SecretUnavailable: it asks for another one; no retry can help.
    """
    own = {_named(secret) for secret in declared}
    for secret in asked:
        if _named(secret) not in own:
            raise SecretUnavailable(
                f'the function {function!r} does not declare the secret "{secret.key}" for the variable it would go into: '
                f"name it in the task's declaration, secrets=[Secret({secret.key!r}, …)], and submit again"
            )


def _named(secret: SecretRef) -> tuple[str, str, str, str]:
    try:
        return secret.key, secret.group, secret.mount, variable_of(secret.key, secret.env)
    except InvalidInput as error:
        raise SecretUnavailable(str(error)) from error


def resolve(record: TaskAction, manager: SecretManager) -> AttemptSecrets:
    """Resolve the secrets the template of an action asks for.

    Raises:
        SecretUnavailable: one cannot be mounted, or is named wrongly; the message names its key.
        CannotRun: there is no usable value, or nobody answers: that is the installation's fault, and can be mended.
    """
    template = template_or_none(record)
    env: dict[str, str] = {}
    for secret in template.secrets if template else ():
        if secret.mount != "env":
            raise SecretUnavailable(
                f'secret "{secret.key}" cannot be mounted as a {secret.mount}: functions get secrets in environment '
                "variables, mount: env"
            )
        try:
            variable = variable_of(secret.key, secret.env)
            env[variable] = manager.get(
                secret.key, group=secret.group, project=record.id.project, domain=record.id.domain
            )
        except InvalidInput as error:
            raise SecretUnavailable(str(error)) from error
        except SecretUnavailable as error:
            name = SecretId(key=secret.key, group=secret.group).name
            lacks = "" if error.retryable else name  # an outage does not count
            raise CannotRun(f"worker {socket.gethostname()}: {error}", lacks=lacks) from error
    return AttemptSecrets(env) if env else NO_SECRETS
