"""Read a search: which runs does it want?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from reconciler.api.errors import InvalidInput
from reconciler.archive.question_fields import (
    label_problem,
    name_problem,
    not_empty,
    phase_problem,
    place_problem,
)
from reconciler.core.visible import visible

PAGE = 50
MOST = 200


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The runs a search wants. What is left out excludes nothing.

    Attributes:
        project, domain: exactly.
        name: part of the name of the run.
        task: part of the name of the root's function or task.
        phase: phase of the root.
        code: of the last error of any action that has ended, or of the root: its beginning, or that of its last part.
        label: `name=value`, of the root.
        since, until: when the run was created, ms since the epoch.
        limit: most runs in the answer.
        after: where the answer before ended, as its `next` says.
    """

    project: str = ""
    domain: str = ""
    name: str = ""
    task: str = ""
    phase: str = ""
    code: str = ""
    label: str = ""
    since: int = 0
    until: int = 0
    limit: int = PAGE
    after: str = ""

    @property
    def of_root(self) -> bool:
        """Tell whether the record of the root is needed to decide."""
        return bool(self.task or self.phase or self.code or self.label)


SEARCHED: Final = tuple(name for name in Wanted.__struct_fields__ if name not in {"limit", "after"})
"""What chooses runs, and not a part of the list of them."""


def read_wanted(query: Mapping[str, str]) -> Wanted:
    """Read a query.

    Raises:
        InvalidInput: a field or a phase is unknown, a field is empty, or no number is where one is needed.
    """
    for field, value in query.items():
        if value == "":  # of a variable that nobody has set; of many runs it would choose all
            raise InvalidInput(not_empty(visible(field[:80])))
    try:
        wanted: Wanted = msgspec.convert(dict(query), Wanted, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"the search cannot be read: {error}; it knows {', '.join(Wanted.__struct_fields__)}; since and until are "
            "times in ms since the epoch"
        ) from error
    wanted = msgspec.structs.replace(wanted, phase=wanted.phase.lower())
    if problem := _problem(wanted):
        raise InvalidInput(visible(problem))
    if not 1 <= wanted.limit <= MOST:
        raise InvalidInput(f"limit must be from 1 to {MOST}, got {wanted.limit}")
    return wanted


def _problem(wanted: Wanted) -> str:
    """Find what no run can have: `Question.checked` refuses the same."""
    if wanted.label.startswith("="):
        return "label must name a label: write name=value, or the name alone"
    if wanted.since < 0 or 0 < wanted.until < wanted.since:
        return f"since {wanted.since} and until {wanted.until} leave no time, in ms since the epoch: change one of them"
    places = {"project": wanted.project, "domain": wanted.domain}
    return next(filter(None, (place_problem(field, name) for field, name in places.items() if name)), "") or (
        name_problem(wanted.name, begins=False)
        or (phase_problem(wanted.phase) if wanted.phase else "")
        or (label_problem(wanted.label.partition("=")[0]) if wanted.label else "")
    )


def code_fits(wanted: str, code: str) -> bool:
    """Tell whether a code begins as asked, or its last part does, as `Action` of `shop.errors.ActionFailed`."""
    return code.startswith(wanted) or code.rpartition(".")[2].startswith(wanted)


def label_fits(wanted: str, labels: Mapping[str, str]) -> bool:
    """Tell whether labels have `name=value`, or the name alone; anything fits when it is empty."""
    name, equals, value = wanted.partition("=")
    label = labels.get(name)
    return not name or (label is not None and (not equals or label == value))
