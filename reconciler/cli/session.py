"""The parts that all commands share: their options, the reading of RUN[/ACTION], and the client they work with."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import click
import structlog

from reconciler.api.action import ActionId, RunId
from reconciler.api.audit import Door
from reconciler.api.errors import InvalidName
from reconciler.api.names import check_incarnation, check_name
from reconciler.broker.messenger import CeleryMessenger
from reconciler.cli.exits import GivenUp
from reconciler.cli.terminal import safe_stderr
from reconciler.client import Client
from reconciler.client.actions import Actions
from reconciler.client.identities import action_of
from reconciler.client.incarnation import OneIncarnation
from reconciler.settings import PREFIX, Settings
from reconciler.stores.redis.store import RedisStore

F = TypeVar("F", bound=Callable[..., Any])
_WITH_INCARNATION = re.compile(r"([^@]*)@([^@/]*)(/[^@/]*)?")
ONE = "RUN[@INCARNATION][/ACTION]"
"""What names an action to commands that read."""
ONE_RUN = "RUN[@INCARNATION]"
"""What names a run to them."""


PROJECT = "Project of the run.  [default: RECONCILER_PROJECT]"
DOMAIN = "Domain of the run.  [default: RECONCILER_DOMAIN]"
CHOSEN = "Only runs of this domain.  [default: RECONCILER_DOMAIN where it is set, else all]"
"""What `--domain` means to commands that choose among the runs of a project: see `Place.domain`."""


def place_options(project: str = PROJECT, domain: str = DOMAIN) -> Callable[[F], F]:
    """Add `--project`, `--domain` and `--json`.

    Args:
        project: what the option says of itself.
        domain: as `project`; empty: the command has no such option.
    """

    def decorate(command: F) -> F:
        command = click.option("--json", "as_json", is_flag=True, help="Answer with JSON, for programs.")(
            command
        )
        if domain:
            command = click.option("--domain", default="", help=domain)(command)
        return click.option("--project", default="", help=project)(command)

    return decorate


def common_options(command: F) -> F:
    """Add `--project`, `--domain` and `--json` to a command that names one run."""
    return place_options()(command)


class One(NamedTuple):
    """An action of a run that is meant.

    Attributes:
        action: which one.
        incarnation: of its run; empty: the one there is, or the last one.
    """

    action: ActionId
    incarnation: str = ""

    def reader(self, client: Client) -> Actions:
        """Give who reads that run, whatever else has its name by now."""
        return OneIncarnation(client, self.action, self.incarnation) if self.incarnation else client


class Place:
    """The default project and domain for names without them.

    Attributes:
        settings: those of the environment, with the project and domain of the options.
    """

    def __init__(self, project: str, domain: str = "") -> None:
        """Read the settings.

        Raises:
            InvalidName: an option breaks the rule of names.
            InvalidSettings: lists every wrong setting.
        """
        self._given: dict[str, Any] = {"project": project, "domain": domain}
        for what, name in self._given.items():
            if name:
                check_name(what, name)
        self.settings = Settings.from_env(**{what: name for what, name in self._given.items() if name})

    @property
    def project(self) -> str:
        """The only project of which runs are chosen, as said by the option or by a variable that is set; empty: all."""
        return self._given["project"] or os.environ.get(f"{PREFIX}PROJECT", "")

    @property
    def domain(self) -> str:
        """The only domain of which runs are chosen; as `project`."""
        return self._given["domain"] or os.environ.get(f"{PREFIX}DOMAIN", "")

    def action(self, text: str) -> ActionId:
        """Read an action; a run stands for its root.

        Raises:
            InvalidName: not one of the four forms, a part breaks the rule of names, or an option contradicts.
        """
        found = action_of(text, self.settings.project, self.settings.domain)
        for what, wanted in self._given.items():
            if wanted and wanted != getattr(found, what):
                raise InvalidName(
                    f"{text!r} names another {what} than --{what} {wanted}; leave one of them out"
                )
        return found

    def one(self, text: str) -> One:
        """Read an action of one run of all that had its name: `RUN@INCARNATION[/ACTION]`, or without the incarnation.

        Raises:
            InvalidName: as `action`, or no incarnation is written so.
        """
        found = _WITH_INCARNATION.fullmatch(text)
        if found is None:
            return One(self.action(text))
        return One(self.action(found[1] + (found[3] or "")), check_incarnation(found[2]))

    def one_run(self, text: str) -> One:
        """Read a run, as `one`.

        Raises:
            InvalidName: as `one`, or an action is named.
        """
        self.run(text.partition("@")[0] if text.count("/") in {0, 2} else text)
        return self.one(text)

    def run(self, text: str) -> RunId:
        """Read a run.

        Raises:
            InvalidName: as `action`, or an action is named.
        """
        if text.count("/") not in {0, 2}:
            raise InvalidName(f"{text!r} is no run; write RUN or project/domain/run")
        return self.action(text).run_id


@contextmanager
def connected(place: Place) -> Iterator[Client]:
    """Yield a client, and close it afterwards. Its warnings go to stderr, not between the output."""
    before = structlog.get_config()
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(safe_stderr()))
    client = Client.from_settings(place.settings)
    client.door = Door.CLI
    try:
        yield client
    finally:
        if isinstance(client.store, RedisStore):
            client.store.close()
        if isinstance(client.messenger, CeleryMessenger):
            client.messenger.close()
        structlog.configure(**before)


@contextmanager
def leaving_it_running(action: ActionId) -> Iterator[None]:
    """Let Ctrl-C end the waiting but not the action, and say so.

    Raises:
        GivenUp: Ctrl-C was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise GivenUp(
            f"no longer waiting; {action} goes on. "
            f"`reconciler watch {action}` follows it again, `reconciler abort {action} --reason WHY` stops it."
        ) from None


def read_text(option: str, text: str) -> bytes:
    """Read the value of an option that takes a document: the text itself, `@FILE`, or `@-` for stdin.

    Raises:
        BadParameter: the file cannot be read.
    """
    if not text.startswith("@"):
        return text.encode()
    try:
        with click.open_file(text[1:], "rb") as file:
            data: bytes = file.read()
    except OSError as error:
        raise click.BadParameter(
            f"{text[1:]!r} cannot be read: {error.strerror}.", param_hint=option
        ) from error
    return data
