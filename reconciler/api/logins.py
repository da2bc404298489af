"""Tell which projects a login of Flower may see (`RECONCILER_FLOWER_PROJECTS`)."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from reconciler.api.errors import InvalidSpec
from reconciler.api.names import check_name

ALL = "*"


class View(msgspec.Struct, frozen=True):
    """The projects somebody sees; None = all."""

    projects: frozenset[str] | None = None

    def sees(self, project: str) -> bool:
        """Tell whether a project is among the seen ones."""
        return self.projects is None or project in self.projects

    def among(self, asked: str) -> tuple[str, ...] | None:
        """Choose the projects to look through: the one asked for, or those that are seen; None = all."""
        if asked:
            return (asked,) if self.sees(asked) else ()
        return None if self.projects is None else tuple(sorted(self.projects))


WHOLE = View()


def read_login(text: str) -> tuple[str, frozenset[str]]:
    """Read which projects a login sees: `ada=photos+shop`, `*@example.com=photos`, `root=*`.

    Raises:
        InvalidSpec, InvalidName: not of that form, or no project is called like that.
    """
    name, equals, told = text.rpartition("=")
    projects = [project.strip() for project in told.split("+")]
    if not name.strip() or not equals or not all(projects):
        raise InvalidSpec(
            f"{text!r} does not say which projects a login sees; write it as in ada=photos+shop or root=*"
        )
    for project in projects:
        if project != ALL:
            check_name("project", project)
    return name.strip().lower(), frozenset(projects)


def view_of(entries: Iterable[str], login: str) -> View:
    """Return what a login sees: the projects of all entries that fit its name; all when there are no entries.

    Args:
        entries: as `read_login` reads them; in a name `*` stands for anything.
        login: name or mail address of who is logged in; empty = nobody is.
    """
    read = [read_login(text) for text in entries]
    if not read:
        return WHOLE
    seen = {one for name, projects in read if login and fnmatchcase(login.lower(), name) for one in projects}
    return WHOLE if ALL in seen else View(frozenset(seen))
