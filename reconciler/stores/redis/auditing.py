"""Redis store: find our keys without an owner, by one bounded SCAN; each is checked again before it is removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from redis.exceptions import WatchError

from reconciler.api.transition import OutputRef
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore

_BATCH = 500
_OF_ACTIONS = frozenset({"ended", "steps"})
_OF_RUNS = frozenset({"tree", "run", "shared"})
_OF_SHARDS = frozenset(
    {
        *("due", "next", "done", "asking", "garbage", "held", "runs", "events", "spilled", "audit", "lines"),
        *("pending", "armed", "hears", "parts", "uses"),
    }
)
_OF_QUEUES = re.compile(r"\{w:.*\}:(heads|served|seen|picks|paused|limit|ruled|fair:.*|of:.*)", re.DOTALL)
_ENDING = re.compile(
    r"(\{q:.*\}:|\{w:.*\}:(functions|ticket|idle)$|\{c:.*\}:(?!entry$)|\{f\}:published|worker:|swept:|confirm$)",
    re.DOTALL,
)
"""Keys that end by themselves, behind the prefix."""
_outputs = msgspec.json.Decoder(OutputRef)


class Why(StrEnum):
    """The reason why a key has no owner."""

    NO_RUN = "belongs to a run that is not listed"
    NO_HOLD = "holds a run that is not listed as held"
    NO_LINE = "is a line of launches that is not listed"
    NO_END = "should end by itself, and has no time to live"
    UNLISTED = "is the record of a run that is not listed"
    NO_SHARD = "lies in a shard that the installation does not have"
    FOREIGN = "is no key of ours"


REMOVABLE = frozenset({Why.NO_RUN, Why.NO_END})
"""What may be removed. The others are told only: a record is somebody's, launches wait, and so may what we do not know."""


class KeyReport(msgspec.Struct, frozen=True):
    """The keys without an owner that were found.

    Attributes:
        looked: keys looked at.
        complete: whether these were all.
        lost: keys without an owner, and why.
        cited: URIs of outputs that the catalog serves.
    """

    looked: int
    complete: bool
    lost: dict[str, Why]
    cited: frozenset[str]


class _Question(NamedTuple):
    """A command whose answer tells whether a key has an owner."""

    key: str
    words: tuple[str, ...]
    why: Why


class Auditing(RedisCore):
    """The verbs for keys of ours that have no owner."""

    @explain
    def keys_without_owner(self, limit: int) -> KeyReport:
        """Look at no more than `limit` keys of the installation."""
        keys = self.client.scan_iter(match=f"{_escaped(self.keys.prefix)}:*", count=1000)
        lost: dict[str, Why] = {}
        cited: set[str] = set()
        looked = 0
        while batch := [
            key.decode(errors="surrogateescape") for key in islice(keys, min(_BATCH, limit - looked))
        ]:
            looked += len(batch)
            lost |= self._lost(batch)
            cited |= self._cited(batch)
        return KeyReport(looked, next(keys, None) is None, lost, frozenset(cited))

    @explain
    def remove_lost(self, lost: Iterable[tuple[str, Why]]) -> int:
        """Remove keys without an owner, unless they have got one since; return how many are gone."""
        return sum(self._remove(key) for key, why in lost if why in REMOVABLE)

    def _remove(self, key: str) -> bool:
        """Remove a key, watching it and what names its owner, so that a run which begins at this moment keeps its keys."""
        with self.client.pipeline() as pipe:
            pipe.watch(key, *self._registers(key))  # type: ignore[no-untyped-call]  # redis-py has no types here
            if key not in self._lost([key]):
                return False
            pipe.multi()
            pipe.delete(key)
            try:
                return bool(pipe.execute()[0])
            except WatchError:
                return False

    def _registers(self, key: str) -> list[str]:
        shard = self._parts(key)[0]
        return [] if shard is None else [self.keys.runs(shard)]

    def _parts(self, key: str) -> tuple[int | None, str, str]:
        """Split a key of a shard into shard, kind and name; no shard for any other key."""
        found = re.fullmatch(r"\{(\d+)\}:([^:]*):?(.*)", key[len(self.keys.prefix) + 1 :], re.DOTALL)
        return (int(found[1]), found[2], found[3]) if found else (None, "", "")

    def _lost(self, batch: list[str]) -> dict[str, Why]:
        asked: list[_Question] = []
        lost: dict[str, Why] = {}
        for key in batch:
            verdict = self._judged(key)
            if isinstance(verdict, Why):
                lost[key] = verdict
            else:
                asked += verdict
        pipe = self.client.pipeline(transaction=False)
        for question in asked:
            pipe.execute_command(*question.words)  # type: ignore[no-untyped-call]  # redis-py has no types here
        answers = pipe.execute(raise_on_error=False) if asked else []
        pairs = zip(asked, answers, strict=True)
        return lost | {one.key: one.why for one, answer in pairs if not _is_owner(one, answer)}

    def _judged(self, key: str) -> Why | list[_Question]:
        """Judge a key by its name, or return the command that will tell."""
        rest = key[len(self.keys.prefix) + 1 :]
        shard, kind, name = self._parts(key)
        if shard is not None:
            return Why.NO_SHARD if shard >= self.shards else self._of_shard(key, shard, kind, name)
        if _ENDING.match(rest):
            return [_Question(key, ("PTTL", key), Why.NO_END)]
        known = (
            rest in {"meta", "queues"}
            or rest.startswith("mq:")
            or _OF_QUEUES.fullmatch(rest)
            or (rest.startswith("{c:") and rest.endswith("}:entry"))
        )
        return [] if known else Why.FOREIGN

    def _of_shard(self, key: str, shard: int, kind: str, name: str) -> Why | list[_Question]:
        if kind == "a":
            run = name.rpartition("/")[0]
            return [_Question(key, ("ZSCORE", self.keys.runs(shard), run), Why.UNLISTED)]
        if kind in _OF_ACTIONS:
            return [_Question(key, ("ZSCORE", self.keys.runs(shard), name.rpartition("/")[0]), Why.NO_RUN)]
        if kind in _OF_RUNS:
            return [_Question(key, ("ZSCORE", self.keys.runs(shard), name), Why.NO_RUN)]
        if kind == "holds":
            return [_Question(key, ("SMISMEMBER", self.keys.held(shard), name), Why.NO_HOLD)]
        if kind == "line":
            return [_Question(key, ("SMISMEMBER", self.keys.lines(shard), name), Why.NO_LINE)]
        return [] if kind in _OF_SHARDS and not name else Why.FOREIGN

    def _cited(self, batch: list[str]) -> set[str]:
        entries = [key for key in batch if key.endswith("}:entry")]
        pipe = self.client.pipeline(transaction=False)
        for key in entries:
            pipe.hget(key, "o")
        answers: list[Any] = pipe.execute(raise_on_error=False) if entries else []
        return {uri for answer in answers if isinstance(answer, bytes) for uri in _uris(answer)}


def _is_owner(question: _Question, answer: object) -> bool:
    if isinstance(answer, Exception):
        return True  # foreign data: whose it is cannot be told
    if question.words[0] == "PTTL":
        return answer != -1
    if question.words[0] == "SMISMEMBER":
        return answer == [1]
    return answer is not None


def _uris(outputs: bytes) -> Iterator[str]:
    try:
        yield _outputs.decode(outputs).uri
    except msgspec.DecodeError:
        return


def _escaped(prefix: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix)
