"""Answer the browser: pages, the JSON API and files, each behind the guard. Reads happen in threads of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog
from flower.views import BaseHandler
from tornado.web import HTTPError, RequestHandler, StaticFileHandler, authenticated, stream_request_body

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import InvalidInput
from reconciler.api.logins import ALL, View
from reconciler.cli.exits import ExitCode, error_document, exit_code_of
from reconciler.cli.standing import doctor_document, health_document
from reconciler.core.documents import Document
from worker.dashboard import bulk, detail, overview
from worker.dashboard.bodies import Bounded, check_announced, unreadable
from worker.dashboard.buttons import Asked, press
from worker.dashboard.changes import named_document
from worker.dashboard.closing import ONLY_SOME
from worker.dashboard.guard import HEADERS, closed_because, foreign_because
from worker.dashboard.links import link_tasks
from worker.dashboard.persons import client, has_login, person_of, view_of_request
from worker.dashboard.search import search_runs
from worker.dashboard.wanted import read_wanted

log = structlog.get_logger(__name__)

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
MODULES: Final = sorted(path.name for path in STATIC.glob("*.js"))
"""All are asked for at once: one that names the next would cost a round trip each."""
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


class Page(Guarded):
    """One of our pages: a frame that the script of the page fills."""

    @authenticated
    def get(self, *_: str) -> None:
        """Show the page. It is told which projects the login sees, so that it says no more than is true."""
        seen = self.view.projects
        self.render(
            "reconciler.html",
            token=self.xsrf_token.decode(),
            read_only=self.read_only,
            modules=MODULES,
            sees=ALL if seen is None else ", ".join(sorted(seen)),
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401  # Tornado's signature
        """Say why in plain text."""
        error = kwargs.get("exc_info", (None, None))[1]
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(getattr(error, "log_message", None) or _refused(status_code))


class Files(StaticFileHandler):
    """Script and style of the pages; they hold nothing of the installation."""

    def set_extra_headers(self, path: str) -> None:
        """Make the browser ask whether a file has changed, so that a new release is seen at once."""
        del path
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


@stream_request_body
class Api(Bounded, Guarded):
    """An answer in JSON; an error has the form of `reconciler --json`. A body is read after the login was checked."""

    def prepare(self) -> None:
        """Refuse everybody who is not logged in, where there is a login, and what is too large."""
        super().prepare()
        if not self.current_user:
            raise HTTPError(401, "log in first")
        self._check_project()
        check_announced(self.request.headers)

    def _check_project(self) -> None:
        """Answer "not found" for a project the reader does not see. The first part of a path is its project."""
        path = self.path_args[0] if self.path_args else ""
        project, slash, _ = (path or "").partition("/")
        if slash and not self.view.sees(project):
            raise HTTPError(404, "there is no such run among the projects your login sees")

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401  # Tornado's signature
        """Say why, as a JSON object."""
        error = kwargs.get("exc_info", (None, None))[1]
        text = getattr(error, "log_message", None) or _refused(status_code)
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


class Runs(Api):
    """`GET /reconciler/api/runs`: searches runs."""

    async def get(self) -> None:
        """Search."""
        query, view = self.query(), self.view
        await self.answer_with(lambda: search_runs(client(), read_wanted(query), view))


class Matching(Api):
    """`/reconciler/api/matching/VERB`: `GET` counts the runs of a search that a verb fits, `POST` applies it to each."""

    async def get(self, verb: str) -> None:
        """Count."""
        query, view = self.query(), self.view
        await self.answer_with(lambda: bulk.count_document(client(), verb, read_wanted(query), view))

    async def post(self, verb: str) -> None:
        """Apply the verb, in the name of the login."""
        self.refuse_if_read_only()
        body, by, view = self.body, self.person, self.view
        await self.answer_with(lambda: bulk.press_all(client(), verb, bulk.read_asked(body), by, view))


class OneRun(Api):
    """`GET /reconciler/api/runs/P/D/R`: counts and root of a run."""

    async def get(self, path: str) -> None:
        """Read it."""
        read_only, life, view = self.read_only, self.incarnation, self.view
        await self.answer_with(
            lambda: detail.run_document(client(), RunId.parse(path), life, view, read_only=read_only)
        )


class Rows(Api):
    """`GET /reconciler/api/runs/P/D/R/actions`: a page of its actions."""

    async def get(self, path: str) -> None:
        """Read it."""
        query, life = self.query(), self.incarnation
        if names := query.get("names"):
            await self.answer_with(
                lambda: named_document(client(), RunId.parse(path), names.split(","), life)
            )
            return
        limit = _number(query.get("limit", "0"), "limit", "the most there may be")
        await self.answer_with(
            lambda: detail.rows_document(client(), RunId.parse(path), query.get("after", ""), life, limit)
        )


class OneAction(Api):
    """`GET /reconciler/api/actions/P/D/R/A`: everything about an action."""

    async def get(self, path: str) -> None:
        """Read it."""
        read_only, life, view = self.read_only, self.incarnation, self.view
        events = (
            self.application.events if view.projects is None else None
        )  # its pages are closed to the others
        await self.answer_with(
            lambda: link_tasks(
                detail.action_page(client(), ActionId.parse(path), life, view, read_only=read_only), events
            )
        )


class Log(Api):
    """`GET /reconciler/api/actions/P/D/R/A/log`: the end of the log of an attempt."""

    async def get(self, path: str) -> None:
        """Read it."""
        given, life = self.query().get("attempt", "0"), self.incarnation
        await self.answer_with(
            lambda: detail.log_document(
                client(), ActionId.parse(path), _number(given, "attempt", "the last one"), life
            )
        )


class Whole(Api):
    """`GET /reconciler/api/actions/P/D/R/A/inputs` or `/outputs`: the whole document, to be saved."""

    async def get(self, path: str, which: str) -> None:
        """Send it as it is stored, as a file: a browser never shows it as a page."""
        life = self.incarnation
        try:
            data = await self.blocking(
                lambda: detail.whole_document(client(), ActionId.parse(path), which, life)
            )
        except Exception as error:  # noqa: BLE001  # each becomes a sentence
            self.answer(self.refused(error))
            return
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Disposition", f'attachment; filename="{which}.json"')
        self.finish(data)


class Editable(Api):
    """`GET /reconciler/api/actions/P/D/R/A/editable`: inputs that lie in S3, for the form that changes them."""

    async def get(self, path: str) -> None:
        """Read them."""
        life = self.incarnation
        await self.answer_with(lambda: detail.editable_document(client(), ActionId.parse(path), life))


class Press(Api):
    """`POST /reconciler/api/actions/P/D/R/A/BUTTON`: does what a button says."""

    async def post(self, path: str, button: str) -> None:
        """Do it, in the name of the login."""
        self.refuse_if_read_only()
        try:
            values = msgspec.json.decode(self.body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise HTTPError(400, unreadable(error)) from error  # a door
        by, life = self.person, self.incarnation
        await self.answer_with(lambda: press(button, Asked(client(), ActionId.parse(path), values, by, life)))


class Waiting(Api):
    """`GET /reconciler/api/waiting`: what waits for a person."""

    async def get(self) -> None:
        """Read it."""
        read_only, view = self.read_only, self.view
        await self.answer_with(lambda: overview.waiting_document(client(), view, read_only=read_only))


class Health(Api):
    """`GET /reconciler/api/health`: lateness, queues, workers."""

    async def get(self) -> None:
        """Read it."""
        if self.view.projects is not None:
            raise HTTPError(403, ONLY_SOME)
        await self.answer_with(lambda: health_document(client()))


class Doctor(Api):
    """`GET /reconciler/api/doctor`: what `reconciler doctor` says; takes some seconds."""

    async def get(self) -> None:
        """Ask it."""
        if self.view.projects is not None:
            raise HTTPError(403, ONLY_SOME)
        await self.answer_with(doctor_document)


class Described(Api):
    """`GET /reconciler/api/openapi.json`: this API, as OpenAPI 3.1."""

    def get(self) -> None:
        """Send it."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish((HERE / "openapi.json").read_bytes())


def _number(text: str, name: str, zero: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidInput(f"{name} must be a number from 1, or 0 for {zero}, got {text[:20]!r}")
    return int(text)


def _refused(status: int) -> str:
    return (
        "log in with a user and password of this Flower"
        if status == 401
        else f"the request was refused ({status})"
    )
