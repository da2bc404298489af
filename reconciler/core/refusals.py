"""Explain why a Redis or Valkey server refuses a command: pure rules over the texts of its errors.

Records and broker may lie on different servers, and are asked by different parts of this project: both explain a refusal by
these rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_REFUSALS = {
    "ermission": "does not let its user do all that is needed ({}): give the user the rule of docs/operations.md",
    "WRONGTYPE": "holds foreign data under our keys ({}): give this installation its own RECONCILER_KEY_PREFIX",
    "NOREPLICAS": "has too few replicas to accept writes ({}): bring them back, or lower min-replicas-to-write",
    "read only replica": "is a replica ({}): let {variable} name the primary, or Sentinel with sentinel://",
    "READONLY": "is a replica ({}): let {variable} name the primary, or Sentinel with sentinel://",
    "MISCONF": "cannot write to its disk and refuses changes ({}): free its disk, and look at its log",
    "LOADING": "still loads its data: ask again in a moment",
    "loading the dataset": "still loads its data: ask again in a moment",
    "CLUSTERDOWN": "is a node of a cluster that is down ({}): give {variable} a single server or a Sentinel",
    "MOVED": "is a cluster node ({}): give {variable} a single server or a Sentinel",
    "same slot": "is a cluster node ({}): give {variable} a single server or a Sentinel",
    "CROSSSLOT": "is a cluster node ({}): give {variable} a single server or a Sentinel",
    "BUSY ": "runs a script that does not end ({}): SCRIPT KILL, then look for who sent it",
    "MASTERDOWN": "is a replica without its primary ({}): let {variable} name the primary",
    "unknown command": "does not know a command we need ({}): use Redis 7.0 or newer, or Valkey",
}
_FULL = ("OOM", "maxmemory")
_COMMAND = re.compile(r"permissions to run the '([\w|-]+)' command")
_INNER = re.compile(r"<(?:redis|valkey)\.[\w.]+\(([^<>]*)\)>")
_ADDRESS = re.compile(r"host=([^,]*),port=(\d+)[^\s>]*")


def refusal_of(text: str, variable: str = "RECONCILER_REDIS_URL") -> str:
    """Say what is wrong and its remedy, as the rest of a sentence about the server; empty when unknown.

    Args:
        text: the server's answer; its first word is its code.
        variable: the setting that names the server.
    """
    if any(word in text for word in _FULL):
        return "is full (maxmemory reached): nothing was written; raise maxmemory"
    found = next((why for word, why in _REFUSALS.items() if word in text), "")
    return found.format(plain(text), variable=variable) if found else ""


def right_of(text: str, prefix: str) -> str:
    """Find the missing right, as a rule of an ACL writes it; empty when the text names none.

    Args:
        text: the server's answer.
        prefix: first part of the keys and channels of the installation.
    """
    if "permission" not in text and "NOPERM" not in text:
        return ""
    command = _COMMAND.search(text)
    if command:
        return f"+{command[1]}"
    if "channel" in text:
        return f"&{prefix}:*"
    return f"~{prefix}:*" if "key" in text else "+?"


def rights_problem(where: str, missing: Iterable[str]) -> list[str]:
    """Write one sentence about all missing rights; none when nothing is missing."""
    rules = sorted(set(missing))
    if not rules:
        return []
    return [
        (
            f"{where} does not let its user do all that is needed: allow it with `ACL SETUSER … {' '.join(rules)}` "
            "(docs/operations.md has the whole rule)"
        )
    ]


def plain(text: str) -> str:
    """Remove the inner parts of client objects from a text: of a connection, host and port stay."""
    before = ""
    while before != text:
        before, text = text, _INNER.sub(r"\1", text)
    return _ADDRESS.sub(r"\1:\2", text)
