"""Read what names a run or an action: an identity, or its text. A handle is asked for its own verbs."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import InvalidName
from reconciler.core.children import ROOT
from reconciler.stores.holds import RunLife

FORMS = "RUN, RUN/ACTION, project/domain/run or project/domain/run/action"


class Handle(Protocol):
    """Knows its run and its incarnation, as `Run` does."""

    @property
    def id(self) -> RunId:
        """The run."""

    @property
    def incarnation(self) -> str:
        """Tells the run from others of its name."""


NamedAction: TypeAlias = str | RunId | ActionId
"""Names an action; a run stands for its root."""
NamedRun: TypeAlias = str | RunId
"""Names a run."""


def action_of(id: NamedAction, project: str, domain: str) -> ActionId:  # noqa: A002  # what it is
    """Return the action that is meant; a run stands for its root.

    Args:
        id: one of `FORMS`, or an identity.
        project: where the text names none.
        domain: as `project`.

    Raises:
        InvalidName: not one of the four forms, or a part breaks the rule of names.
    """
    if isinstance(id, ActionId):
        return id.checked()
    if not isinstance(id, (str, RunId)):
        raise InvalidName(
            f"{id!r:.200} is no identity: write {FORMS}, or use the verbs of the handle, if it is one"
        )
    parts = str(id).split("/")
    if len(parts) > 4:
        raise InvalidName(f"{str(id)!r:.300} is no action; write {FORMS}")
    if len(parts) <= 2:
        parts = [project, domain, *parts]
    return ActionId(*parts, *([ROOT] if len(parts) == 3 else [])).checked()


def run_of(id: NamedRun, project: str, domain: str) -> RunId:  # noqa: A002  # what it is
    """Return the run that is meant; an action is none.

    Args:
        id: RUN or project/domain/run, or an identity.
        project: where the text names none.
        domain: as `project`.

    Raises:
        InvalidName: it names an action, or nothing; or a part breaks the rule of names.
    """
    if isinstance(id, RunId):
        return id.checked()
    if isinstance(id, ActionId) or (isinstance(id, str) and id.count("/") not in {0, 2}):
        raise InvalidName(f"{str(id)!r:.300} is no run: write RUN or project/domain/run")
    return action_of(id, project, domain).run_id


def life_of(run: RunLife | Handle) -> RunLife:
    """Return the incarnation of a run.

    Raises:
        InvalidName: it is something else.
    """
    if isinstance(run, RunLife):
        return run
    if isinstance(run, (str, RunId, ActionId)) or not isinstance(getattr(run, "id", None), RunId):
        raise InvalidName(
            f"{run!r:.200} does not say which run of its name is meant: give a handle, or RunLife"
        )
    return RunLife(run.id, run.incarnation)
