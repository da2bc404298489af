"""Callback tokens: the holder may do one thing to one action, until the token expires (R55).

A token is `<claims>.<signature>`: the claims as JSON, the signature HMAC-SHA256 of them, each in base64 for URLs. It is
made when it is sent and stored nowhere.
"""

from __future__ import annotations

import base64
import hmac

import msgspec

from reconciler.api.action import ActionId
from reconciler.api.errors import CallbackRefused
from reconciler.api.tokens import CallbackToken

SIGNAL = "signal"
"""Purpose of a token that answers a condition."""
SHORTEST_SECRET = 32
"""Least bytes of the secret: as many as the signature has."""
_LONGEST = 2048
_CONTEXT = b"celery-reconciler callback 1\n"
"""Signed in front, so that the same secret used for something else makes no tokens."""


class Callback(msgspec.Struct, frozen=True, array_like=True):
    """The claims of a callback token: what it allows, for which action, until when.

    Attributes:
        action: which action.
        created: when that action was created, ms: a later action of the same name is another one.
        purpose: what may be done to it.
        expires: from when on it is worthless, ms.
    """

    action: ActionId
    created: int
    purpose: str
    expires: int


def sign(secret: bytes, callback: Callback) -> CallbackToken:
    """Make the callback token that allows what `callback` says."""
    return CallbackToken(_token(secret, _base64(msgspec.json.encode(callback))).decode())


def verify(secret: bytes, token: str, purpose: str, now: int) -> Callback:
    """Verify a token and read its claims.

    Args:
        secret: what it must have been signed with.
        token: as it was handed out.
        purpose: what the caller is about to do.
        now: the store's time, ms.

    Raises:
        CallbackRefused: it was not made with this secret, was changed or cut, is meant for something else, or has
            expired. The message never repeats the token.
    """
    given = token.encode(errors="replace")
    claims, _, _ = given.partition(b".")
    if len(given) > _LONGEST or not hmac.compare_digest(_token(secret, claims), given):
        raise CallbackRefused(
            "the callback token is not one of this installation: send it exactly as it was given"
        )
    try:
        found = msgspec.json.decode(
            base64.urlsafe_b64decode(claims + b"=" * (-len(claims) % 4)), type=Callback
        )
    except (msgspec.DecodeError, ValueError):
        raise CallbackRefused(
            "the callback token is of another release: answer by the name of the action"
        ) from None
    if found.purpose != purpose:
        raise CallbackRefused(
            f"the callback token is for {found.purpose!r}, not for {purpose!r}; send the one that was made for this"
        )
    if now >= found.expires:
        raise CallbackRefused(
            f"the callback token of {found.action} has expired: answer by the name of the action, if it still waits"
        )
    return found


def _token(secret: bytes, claims: bytes) -> bytes:
    return claims + b"." + _base64(hmac.digest(secret, _CONTEXT + claims, "sha256"))


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
