"""Loads the Lua scripts, one per verb, and calls them with one encoding rule: packed arguments are msgpack."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
import redis
from redis.exceptions import NoScriptError

from reconciler.api.texts import plain

pack = msgspec.msgpack.Encoder(enc_hook=plain).encode
"""Encodes a packed argument; scripts read it with `cmsgpack.unpack`, which knows text and numbers, but no bytes."""

VERBS = (
    "create", "claim", "commit", "conclude", "wake", "look", "nudge", "start_attempt", "heartbeat", "finish_attempts",
    "decline_attempt", "stop_attempt", "keep_step", "request_abort", "signal", "collect",
    "seal", "recall", "archived", "old_events", "set_spilled", "hold", "let_go", "tell_functions", "find_function",
    "publish", "find_published",
    "announce", "pick", "draw", "give_back", "prioritize", "move", "queue", "hear", "stand_by",
    "catalog_put", "catalog_reserve", "catalog_release", "allocate", "release",
)  # fmt: skip

SELDOM = frozenset({
    "request_abort", "signal", "stop_attempt", "decline_attempt", "prioritize", "move", "queue",
    "collect", "seal", "recall", "archived", "hold", "let_go",
})  # fmt: skip
"""Verbs no action is started or ended by: given to a server when they are first called, as it keeps them for good."""

GOES_ON = {"conclude": ("commit",)}
"""Scripts that go on as others do."""


class Script:
    """One verb. Sent by digest; the server gets the text when it does not know it (restart, SCRIPT FLUSH)."""

    __slots__ = ("_sha", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        folder = files("reconciler.stores.redis").joinpath("lua")
        common = folder.joinpath("common.lua").read_text()
        parts = (name, *GOES_ON.get(name, ()))
        self.text = lean(common, "".join(folder.joinpath(f"{part}.lua").read_text() for part in parts))
        self._sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, client: redis.Redis, key: str, *args: Any) -> Any:  # noqa: ANN401  # what Redis answers
        """Run the script on the slot of `key`."""
        try:
            return client.execute_command("EVALSHA", self._sha, 1, key, *args)  # type: ignore[no-untyped-call]  # redis-py has no types here
        except NoScriptError:
            return client.execute_command("EVAL", self.text, 1, key, *args)  # type: ignore[no-untyped-call]  # redis-py has no types here

    def command(self, key: str, *args: Any) -> tuple[Any, ...]:  # noqa: ANN401  # what Redis takes
        """Make the command that runs the script on the slot of `key`, for a caller who sends it."""
        return ("EVALSHA", self._sha, 1, key, *args)

    def for_each(self, client: redis.Redis, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run the script for each (key, argument …), in one round trip; an answer may be the exception of that call."""
        answers = self._pipelined(client, calls)
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            client.script_load(self.text)
            again = self._pipelined(client, [calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    def _pipelined(self, client: redis.Redis, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for call in calls:
            pipe.execute_command("EVALSHA", self._sha, 1, *call)  # type: ignore[no-untyped-call]  # redis-py has no types here
        return pipe.execute(raise_on_error=False)


@cache
def script(name: str) -> Script:
    """Load the script of a verb, once per process."""
    return Script(name)


def load_scripts(client: redis.Redis) -> None:
    """Load the scripts of every action into the server in one round trip, so that no first call has to."""
    pipe = client.pipeline(transaction=False)
    for name in VERBS:
        if name not in SELDOM:
            pipe.script_load(script(name).text)
    pipe.execute()


def lean(common: str, verb: str) -> str:
    """Shorten the script of a verb to the shared parts it uses and itself, without comments and blanks.

    The server keeps the text of each script for good, and runs all of it at each call. Its messages name the lines of this
    text: `print(script("claim").text)`.
    """
    text = _bare(verb)
    for part in reversed(re.split(r"(?m)^(?=local )", common)):  # a part uses only those above it
        name = re.match(r"local (?:function )?(\w+)", part)
        if name is not None and re.search(rf"\b{name[1]}\b", text):
            text = _bare(part) + text
    return text


def _bare(text: str) -> str:
    lines = (re.sub(r"(^|\s+)-- [^']*$", "", line.strip()) for line in text.splitlines())
    return "".join(f"{_tight(line)}\n" for line in lines if line and not line.startswith("--"))


def _tight(line: str) -> str:
    """Remove blanks around operators that need none; texts stay as they are."""
    parts = re.split(r"('[^']*')", line)
    parts[::2] = (re.sub(r" *([=,(){}<>+*]) *", r"\1", part) for part in parts[::2])
    return "".join(parts)
