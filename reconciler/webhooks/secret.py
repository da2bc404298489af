"""The secret that signs callback tokens: read from its file when needed, kept nowhere."""

from __future__ import annotations

from pathlib import Path

from reconciler.api.errors import InvalidSettings
from reconciler.core.callback import SHORTEST_SECRET
from reconciler.settings import Settings

_VARIABLE = "RECONCILER_CALLBACK_SECRET_FILE"
_LONGEST = 4096


def callback_secret(settings: Settings) -> bytes:
    """Read the secret, without the blanks and line breaks around it.

    Raises:
        InvalidSettings: no file is named, it cannot be read, or it holds too little or too much.
    """
    if not settings.callback_secret_file:
        raise InvalidSettings(
            [
                f"{_VARIABLE} names no file: callback tokens are neither made nor accepted without a secret. Name one"
            ]
        )
    path = Path(settings.callback_secret_file)
    try:
        if not path.is_file():
            raise InvalidSettings([f"{_VARIABLE}: there is no file {path}; make it, or correct the variable"])
        with path.open("rb") as file:
            secret = file.read(_LONGEST + 1).strip()
    except OSError as error:
        raise InvalidSettings([f"{_VARIABLE}: {path} cannot be read: {error.strerror}"]) from None
    if not SHORTEST_SECRET <= len(secret) <= _LONGEST:
        bounds = f"{SHORTEST_SECRET} to {_LONGEST} bytes"
        raise InvalidSettings(
            [f"{_VARIABLE}: {path} must hold {bounds}, as `openssl rand -hex 32` prints them"]
        )
    return secret


def secret_problems(settings: Settings) -> list[str]:
    """Say why the secret cannot be used, as sentences; empty when it can, or when none is named."""
    if not settings.callback_secret_file:
        return []
    try:
        callback_secret(settings)
    except InvalidSettings as error:
        return error.problems
    return []
