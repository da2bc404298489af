"""The findings of one check of `reconciler doctor`."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check.

    Attributes:
        name: what was looked at.
        detail: what is well, or why nothing was looked at.
        problems: sentences with a remedy.
        skipped: whether nothing was looked at, or nothing is expected.
        garbage: whether the problems are things without an owner, which harm nobody.
        late: whether the problem is a probe that did not end in time.
    """

    name: str
    detail: str = ""
    problems: tuple[str, ...] = ()
    skipped: bool = False
    late: bool = False
    garbage: bool = False

    @property
    def state(self) -> str:
        """`ok`, `problem` or `skipped`."""
        return "problem" if self.problems else "skipped" if self.skipped else "ok"


def skipped(name: str, why: str = "not looked at: correct its settings first") -> Finding:
    """Report a check that was not made, and why."""
    return Finding(name=name, skipped=True, detail=why)
