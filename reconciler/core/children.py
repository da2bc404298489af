"""Names of the actions a function starts: the same in every pass, so that a pass finds what an earlier one has started."""

from __future__ import annotations

import base64
import hashlib
import re

GROUP = "group"
"""Task type of a group whose submitter stores its members."""
WINDOW = "map"
"""Task type of a group that starts its members itself, some at a time."""
GROUPS = frozenset({GROUP, WINDOW})
ROOT = "a0"
"""Name of a run's root action unless another one is given."""
_STEM = 7
_MARK = 12
"""Characters of a name. With a generation of two digits and a member of six, all together is 30, the most there may be."""
_DIGEST = 10
_GENERATION = re.compile(rf"(.*-[a-z2-7]{{{_MARK}}})-[0-9]+")


def digest_of_call(*parts: bytes) -> str:
    """Digest a request to tell it from others: its task and everything it asks for; 16 characters."""
    made = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        made.update(len(part).to_bytes(8, "little"))
        made.update(part)
    return base64.b32encode(made.digest()).decode().lower()


def child_name(parent: str, stem: str, digest: str, asked: int) -> str:
    """Name a child after its parent, what is asked for, and how often its parent has asked for exactly that before.

    Args:
        parent: name of the parent.
        stem: what it begins with, for people; cut.
        digest: of what is asked for.
        asked: how often before.
    """
    mark = digest_of_call(parent.encode(), digest.encode(), b"%d" % asked)[:_MARK]
    return f"{stem.rpartition('.')[2][:_STEM].strip('.-_') or 'child'}-{mark}"


def generation(name: str, attempt: int) -> str:
    """Name what an attempt starts again because it failed in an earlier one; the first attempt adds nothing."""
    return name if attempt == 1 else f"{name}-{attempt}"


def first_generation(name: str) -> str:
    """Return the name of a child in the first attempt of its parent, from its name in any (`generation`)."""
    found = _GENERATION.fullmatch(name)
    return found[1] if found else name


def member_name(group: str, index: int) -> str:
    """Name a member of a group; short if the group is the root of its run."""
    return f"m{index}" if group == ROOT else f"{group}.{index}"


def member_index(group: str, name: str) -> int:
    """Return the number of the member with this name."""
    return int(name.removeprefix(member_name(group, 0)[:-1]))
