"""Read a search: which runs does it want?"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reconciler.api.errors import InvalidInput
from reconciler.api.phase import ActionPhase
from reconciler.archive.query import not_empty
from reconciler.core.visible import visible

PAGE = 50
MOST = 200
_PHASES = [str(phase) for phase in ActionPhase if phase]
"""What a search may name."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The runs a search wants. What is left out excludes nothing.

    Attributes:
        project, domain: exactly.
        name: part of the name of the run.
        task: part of the name of the root's function or task.
        phase: phase of the root.
        code: code of the root's error; of an archived run, of any of its actions.
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
            f"the search cannot be read: {error}; it knows {', '.join(Wanted.__struct_fields__)}"
        ) from error
    wanted = msgspec.structs.replace(wanted, phase=wanted.phase.lower())
    if not 1 <= wanted.limit <= MOST:
        raise InvalidInput(f"limit must be from 1 to {MOST}, got {wanted.limit}")
    if wanted.label.startswith("="):
        raise InvalidInput("label must name a label: write name=value, or the name alone")
    if wanted.phase not in {"", *_PHASES}:
        raise InvalidInput(
            f"there is no phase {visible(wanted.phase[:80])!r}: name one of {', '.join(_PHASES)}"
        )
    return wanted


def label_fits(wanted: str, labels: Mapping[str, str]) -> bool:
    """Tell whether labels have `name=value`, or the name alone; anything fits when it is empty."""
    name, equals, value = wanted.partition("=")
    label = labels.get(name)
    return not name or (label is not None and (not equals or label == value))
