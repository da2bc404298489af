"""Define what all our answers to a browser share: the guard, the headers, and the form of the API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, ClassVar, Final, TypeVar

import msgspec
import structlog
from flower.views import BaseHandler
from tornado.web import HTTPError, RequestHandler, stream_request_body

from reconciler.api.errors import InvalidInput
from reconciler.api.logins import View
from reconciler.cli.exits import ExitCode, error_document, exit_code_of
from reconciler.core.documents import Document
from reconciler.core.visible import visible
from worker.dashboard.bodies import Bounded, check_announced
from worker.dashboard.guard import HEADERS, closed_because, foreign_because
from worker.dashboard.persons import client, has_login, person_of, view_of_request

log = structlog.get_logger(__name__)

_THREADS: Final = 4
_STATUS = {
    ExitCode.NOT_FOUND: 404,
    ExitCode.USAGE: 400,
    ExitCode.UNREACHABLE: 503,
    ExitCode.NOT_READY: 503,
    ExitCode.QUEUE_FULL: 429,
}
T = TypeVar("T")


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, "dashboard")


class Guarded(BaseHandler):  # type: ignore[misc]  # Flower has no types
    """The base of all our answers: the guard, the headers, and where blocking work runs."""

    def set_default_headers(self) -> None:
        """Set our headers only: Flower would open its API to all sites when it is told to need no login."""
        for name, value in HEADERS.items():
            self.set_header(name, value)

    @property
    def login(self) -> bool:
        """Tell whether Flower has a login."""
        return has_login(self.application.options)

    @property
    def read_only(self) -> bool:
        """Tell whether every button is hidden and refused."""
        return bool(self.application.options.read_only)

    @property
    def person(self) -> str:
        """Return who asks, as histories show it."""
        return person_of(self)

    @property
    def view(self) -> View:
        """Return the projects that the person who asks sees."""
        return view_of_request(self)

    def prepare(self) -> None:
        """Refuse everybody who may see nothing."""
        options = self.application.options
        why = closed_because(
            options.address or "", self.request.host, login=self.login, unix_socket=bool(options.unix_socket)
        )
        if not why and not self.login and client().settings.flower_projects:
            why = "RECONCILER_FLOWER_PROJECTS says what each login sees, and Flower has none: set FLOWER_BASIC_AUTH or OAuth"
        if why:
            raise HTTPError(403, reason="Forbidden", log_message=why)

    def check_xsrf_cookie(self) -> None:
        """Check that our own page made the request, whether there is a login or not."""
        why = foreign_because(self.request.headers, self.request.host)
        if why:
            raise HTTPError(403, why)
        RequestHandler.check_xsrf_cookie(self)

    async def blocking(self, call: Callable[[], T]) -> T:
        """Run something that waits for a server, outside of the loop."""
        return await asyncio.get_running_loop().run_in_executor(_threads(), call)


@stream_request_body
class Api(Bounded, Guarded):
    """An answer in JSON; an error has the form of `reconciler --json`. A body is read after the login was checked."""

    KNOWS: ClassVar[tuple[str, ...]] = ()
    """Arguments of the address. Any other is refused: who sends it expects something of it."""

    def prepare(self) -> None:
        """Refuse everybody who is not logged in, where there is a login, and what is too large or not known."""
        super().prepare()
        if not self.current_user:
            raise HTTPError(401, "log in first")
        self._check_project()
        check_announced(self.request.headers)
        try:
            self.check_arguments(self.KNOWS)
        except InvalidInput as error:
            self.answer(self.refused(error))

    def check_arguments(self, known: tuple[str, ...]) -> None:
        """Refuse an address with an argument that is not known, or that comes twice.

        Raises:
            InvalidInput: it has one.
        """
        given = self.request.query_arguments
        for name in given.keys() - set(known):
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InvalidInput(
                f"this address knows no argument {visible(name[:80])}, so leave it out: {takes}"
            )
        for name, values in given.items():
            if len(values) > 1:
                raise InvalidInput(f"{name} is given {len(values)} times: give it once")

    def _check_project(self) -> None:
        """Answer "not found" for a project the reader does not see. The first part of a path is its project."""
        path = self.path_args[0] if self.path_args else ""
        project, slash, _ = (path or "").partition("/")
        if slash and not self.view.sees(project):
            raise HTTPError(404, "there is no such run among the projects your login sees")

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401  # Tornado's signature
        """Say why, as a JSON object."""
        error = kwargs.get("exc_info", (None, None))[1]
        text = getattr(error, "log_message", None) or refused_in_words(status_code)
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.answer({"error": {"type": "HTTPError", "message": text}})

    def answer(self, document: Document) -> None:
        """Send a document."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(msgspec.json.encode(document))

    async def answer_with(self, call: Callable[[], Document]) -> None:
        """Send the result of a blocking call, or its error in words."""
        try:
            document = await self.blocking(call)
        except Exception as error:  # noqa: BLE001  # each becomes a sentence, as on the command line
            document = self.refused(error)
        self.answer(document)

    async def answer_with_file(self, name: str, kind: str, call: Callable[[], bytes]) -> None:
        """Send the result of a blocking call as a file: a browser never shows it as a page."""
        try:
            data = await self.blocking(call)
        except Exception as error:  # noqa: BLE001  # each becomes a sentence
            self.answer(self.refused(error))
            return
        self.set_header("Content-Type", kind)
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.finish(data)

    def refused(self, error: Exception) -> Document:
        """Write the error as a document; sets the status."""
        self.set_status(_STATUS.get(exit_code_of(error), 500))
        if self.get_status() == 500:
            log.error("flower.not_answered", path=self.request.path, error=repr(error))
        return error_document(error)

    def refuse_if_read_only(self) -> None:
        """Refuse every button where the pages are read-only."""
        if self.read_only:
            raise HTTPError(403, "Flower is read-only: start it without --read_only, with a login")

    @property
    def incarnation(self) -> str:
        """Return which of several runs of a name is meant; empty: the last one."""
        return self.query().get("incarnation", "")

    def query(self) -> dict[str, str]:
        """Read the arguments of the address, each once."""
        return {
            name: values[-1].decode(errors="replace") for name, values in self.request.query_arguments.items()
        }


def refused_in_words(status: int) -> str:
    """Say that a request was refused, where nothing more is known."""
    return (
        "log in with a user and password of this Flower"
        if status == 401
        else f"the request was refused ({status})"
    )
