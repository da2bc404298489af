"""Try commands of a Redis or Valkey server, to learn which of them its user may not run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from reconciler.core.refusals import right_of

Words = tuple[str | int | bytes, ...]
_PATIENCE = 2.0
"""Longest wait for what a channel carries, seconds."""


def refused(client: Any, commands: Sequence[Words], prefix: str) -> set[str]:  # noqa: ANN401  # redis-py's client; brokers import no redis
    """Send commands in one round trip; return the missing rights, as an ACL writes them.

    Args:
        client: of redis-py.
        commands: on names of ours that hold nothing; `watch` in small letters, or redis-py would send it, and what
            follows, at once. An answer that is a list of errors is read as errors.
        prefix: first part of the keys and channels of the installation.

    Raises:
        RedisError: no right is missing, and the server refuses all the same: it is full, or a replica.
    """
    pipe = client.pipeline(transaction=False)
    for words in commands:
        pipe.execute_command(*words)
    answers = pipe.execute(raise_on_error=False)
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    listed = [
        text for answer in answers if isinstance(answer, list) for text in answer if isinstance(text, bytes)
    ]
    texts = [*map(str, errors), *(text.decode(errors="replace") for text in listed)]
    rights = {right for text in texts if (right := right_of(text, prefix))}
    if errors and not rights:
        raise errors[0]
    return rights


def unheard(client: Any, channel: str, prefix: str, *, pattern: bool = False) -> set[str]:  # noqa: ANN401  # as above
    """Listen on a channel, and publish there unless it is a pattern; return the missing rights.

    Raises:
        RedisError: the server does not answer.
        TimeoutError: what is said does not arrive.
    """
    with closing(client.pubsub()) as listener:
        try:
            (listener.psubscribe if pattern else listener.subscribe)(channel)
            _await(listener, "psubscribe" if pattern else "subscribe")
            if not pattern:
                client.publish(channel, "trial")
                _await(listener, "message")
        except Exception as error:
            right = right_of(str(error), prefix)
            if not right:
                raise
            # an ACL allows a pattern only when it holds that very pattern
            return {f"&{channel}" if right.startswith("&") and pattern else right}
    return set()


def _await(listener: Any, kind: str) -> None:  # noqa: ANN401  # as above
    """Take messages until one of this kind comes."""
    ends = time.monotonic() + _PATIENCE
    while time.monotonic() < ends:
        message = listener.get_message(timeout=_PATIENCE)
        if message is not None and message["type"] == kind:
            return
    raise TimeoutError(
        "what is said on a channel does not arrive: look at what lies between us and the server"
    )
