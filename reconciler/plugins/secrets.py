"""Read secrets from the environment, from files, or from several such places in order (R71). AWS: stores/s3/aws_secrets.py.

A secret may be held for the whole installation, for a domain, or for a project in a domain; the narrowest one counts.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from reconciler.api.errors import SecretNotFound, SecretUnavailable
from reconciler.api.secret import check_secret
from reconciler.stores.secrets import SecretId, SecretValue

log = structlog.get_logger(__name__)

ENVIRONMENT_PREFIX = "SECRET_"
"""First part of a variable that holds a secret. Not `RECONCILER_…`: those are settings."""
CACHE_FOR = timedelta(seconds=30)
"""How long a process remembers a value: as long as a changed one may take to be seen."""
_MOST = 64 * 1024
"""Largest secret, in bytes."""
_REMEMBERED = 1000


_TAKEN: dict[str, str] = {}
"""Variables of this process that are no longer in its environment."""


def take_from_environment() -> list[str]:
    """Move the variables of secrets out of this process's environment, where its functions could read them.

    `EnvironmentSecrets` goes on knowing them, also in processes forked later.

    Returns:
        Names of all that were ever taken.
    """
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        _TAKEN[name] = os.environ.pop(name)
    return list(_TAKEN)


def put_back_into_environment() -> None:
    """Undo `take_from_environment`, for a program that will replace this one."""
    os.environ.update(_TAKEN)


class SecretProvider(Protocol):
    """One place that holds secrets."""

    def fetch(self, secret: SecretId) -> SecretValue:
        """Return the secret of exactly this scope.

        Raises:
            SecretNotFound: there is none; the next place is asked.
            SecretUnavailable: anything else; nobody else is asked.
        """


class EnvironmentSecrets:
    """Secrets of the installation, in variables of the workers: `SECRET_<KEY>`, or `SECRET_<GROUP>__<KEY>`.

    Upper case, with `_` for `-` and `.`: two keys that differ in nothing else share a variable. For development: whoever can
    look at the process that started the worker can read its environment. The variables are kept from the functions.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = ChainMap(_TAKEN, os.environ) if environment is None else environment

    def fetch(self, secret: SecretId) -> SecretValue:
        """Read the variable of a secret. A secret of a project or domain has none."""
        name = ENVIRONMENT_PREFIX + "__".join(_upper(part) for part in (secret.group, secret.key) if part)
        if secret.domain or name not in self._environment:
            raise SecretNotFound(f"the environment of the worker has no variable {name}")
        return SecretValue(text=self._environment[name])


def _upper(part: str) -> str:
    return re.sub(r"[.-]", "_", part).upper()


class FileSecrets:
    """One file for each secret, as Docker and Kubernetes mount them.

    `<folder>/<key>` for the installation, `<folder>/<domain>/<key>` for a domain, `<folder>/<domain>/<project>/<key>` for a
    project; the file of a grouped secret is named `<group>.<key>`. One line break at the end does not count.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._warned: set[Path] = set()

    def fetch(self, secret: SecretId) -> SecretValue:
        """Read the file of a secret."""
        path = self._folder.joinpath(*secret.scope, secret.name)
        try:
            real = path.resolve(strict=True)
            if not real.is_relative_to(self._folder.resolve()):
                raise SecretUnavailable(f"the file of {secret} lies outside of {self._folder}: move it there")
            if not real.is_file():
                raise SecretNotFound(f"there is no file {path}")
            self._look_at_rights(real)
            with real.open("rb") as file:
                data = file.read(_MOST + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise SecretNotFound(f"there is no file {path}") from None
        except OSError as error:
            raise SecretUnavailable(f"the file of {secret} cannot be read: {error.strerror}") from None
        return SecretValue(binary=data.removesuffix(b"\n").removesuffix(b"\r"))

    def _look_at_rights(self, path: Path) -> None:
        """Warn when others may read the file. It is not refused, because mounts are often made so."""
        found = path.stat()
        if path in self._warned or (not found.st_mode & 0o077 and found.st_uid in {os.geteuid(), 0}):
            return
        self._warned.add(path)
        log.warning("secrets.file_open", path=str(path), mode=f"{found.st_mode & 0o777:o}", uid=found.st_uid)


class ChainedSecrets:
    """The secret manager of an installation: asks its places in order, from the narrowest scope to the widest.

    Only "there is none" goes on to the next; any other failure ends the lookup, so that a broken place is never covered up
    by a wider secret.
    """

    def __init__(
        self,
        providers: Sequence[SecretProvider],
        *,
        cache_for: timedelta = CACHE_FOR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = tuple(providers)
        self._cache_for = cache_for.total_seconds()
        self._clock = clock
        self._known: dict[SecretId, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def get(self, key: str, *, group: str = "", project: str = "", domain: str = "") -> str:
        """Ask the places in their order for a secret, and remember what was found for a while.

        Raises:
            SecretUnavailable: there is none, a place cannot be asked, or the value is empty or no text.
            InvalidName: key or group breaks the rule of names.
        """
        check_secret(key, group)
        secret = SecretId(key=key, group=group, project=project, domain=domain)
        with self._lock:
            ends, value = self._known.get(secret, (0.0, ""))
        if self._clock() < ends:
            return value
        value = self._look_up(secret)
        with self._lock:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[secret] = (self._clock() + self._cache_for, value)
        return value

    def _look_up(self, secret: SecretId) -> str:
        for scoped in _scopes(secret):
            for provider in self._providers:
                try:
                    found = provider.fetch(scoped)
                except SecretNotFound:
                    continue
                return text_of(secret, found)
        raise SecretNotFound(
            f"there is no {secret}, neither for its project and domain nor for the installation: store it in one of the "
            "places of RECONCILER_SECRETS"
        )


def _scopes(secret: SecretId) -> Iterator[SecretId]:
    """List the scopes: project and domain, domain, installation."""
    if secret.project and secret.domain:
        yield secret
    if secret.domain:
        yield msgspec.structs.replace(secret, project="")
    yield msgspec.structs.replace(secret, project="", domain="")


def text_of(secret: SecretId, value: SecretValue) -> str:
    """Return the text when there is one, else the bytes read as UTF-8 (R71).

    Raises:
        SecretUnavailable: it is empty, too large, or cannot be text in an environment variable.
    """
    try:
        text = value.text or value.binary.decode()
    except UnicodeDecodeError:
        raise SecretUnavailable(
            f"{secret} is no UTF-8 text: store it as text, or encoded in base64"
        ) from None
    if not text:
        raise SecretUnavailable(f"{secret} is empty: store a value")
    if "\0" in text or len(text.encode(errors="surrogatepass")) > _MOST:
        raise SecretUnavailable(f"{secret} holds a zero byte or more than {_MOST} bytes: store it otherwise")
    return text
