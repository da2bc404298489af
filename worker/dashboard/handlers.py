"""Answer the browser: pages, the JSON API and files, each behind the guard. Reads happen in threads of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from tornado.web import HTTPError, StaticFileHandler, authenticated

from reconciler.api.action import ActionId, RunId
from reconciler.api.errors import InvalidInput
from reconciler.api.logins import ALL
from reconciler.cli.standing import doctor_document, health_document
from reconciler.core.documents import Document
from worker.dashboard import bulk, detail, overview
from worker.dashboard.answers import Api, Guarded, refused_in_words
from worker.dashboard.bodies import unreadable
from worker.dashboard.buttons import Asked, press
from worker.dashboard.changes import named_document
from worker.dashboard.closing import ONLY_SOME, show_closed
from worker.dashboard.links import link_tasks
from worker.dashboard.persons import client
from worker.dashboard.search import phases_document, search_runs
from worker.dashboard.wanted import SEARCHED, Wanted, read_wanted

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"
MODULES: Final = sorted(path.name for path in STATIC.glob("*.js"))
"""All are asked for at once: one that names the next would cost a round trip each."""


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
        """Say why, and what to do: on a page of its own where the runs are closed, else in plain text."""
        error = kwargs.get("exc_info", (None, None))[1]
        text = getattr(error, "log_message", None) or refused_in_words(status_code)
        if status_code == 403:
            show_closed(self, "Runs are not shown here", text)
            return
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(text)


class Files(StaticFileHandler):
    """Script and style of the pages; they hold nothing of the installation."""

    def set_extra_headers(self, path: str) -> None:
        """Make the browser ask whether a file has changed, so that a new release is seen at once."""
        del path
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


class Runs(Api):
    """`GET /reconciler/api/runs`: searches runs."""

    KNOWS = Wanted.__struct_fields__

    async def get(self) -> None:
        """Search."""
        query, view = self.query(), self.view
        await self.answer_with(lambda: search_runs(client(), read_wanted(query), view))


class Phases(Api):
    """`GET /reconciler/api/phases`: counts the runs of a search by phase."""

    KNOWS = SEARCHED

    async def get(self) -> None:
        """Count."""
        query, view = self.query(), self.view
        await self.answer_with(lambda: phases_document(client(), read_wanted(query), view))


class Matching(Api):
    """`/reconciler/api/matching/VERB`: `GET` counts the runs of a search that a verb fits, `POST` applies it to each."""

    KNOWS = SEARCHED

    async def get(self, verb: str) -> None:
        """Count."""
        query, view = self.query(), self.view
        await self.answer_with(lambda: bulk.count_document(client(), verb, read_wanted(query), view))

    async def post(self, verb: str) -> None:
        """Apply the verb, in the name of the login."""
        self.refuse_if_read_only()
        body, by, view = self.body, self.person, self.view

        def pressed() -> Document:
            self.check_arguments(())  # the body has the search
            return bulk.press_all(client(), verb, bulk.read_asked(body), by, view)

        await self.answer_with(pressed)


class OneRun(Api):
    """`GET /reconciler/api/runs/P/D/R`: counts and root of a run."""

    KNOWS = ("incarnation",)

    async def get(self, path: str) -> None:
        """Read it."""
        read_only, life, view = self.read_only, self.incarnation, self.view
        await self.answer_with(
            lambda: detail.run_document(client(), RunId.parse(path), life, view, read_only=read_only)
        )


class Rows(Api):
    """`GET /reconciler/api/runs/P/D/R/actions`: a page of its actions."""

    KNOWS = ("after", "limit", "names", "incarnation")

    async def get(self, path: str) -> None:
        """Read it."""
        query, life = self.query(), self.incarnation
        if "names" in query:

            def named() -> Document:
                self.check_arguments(("names", "incarnation"))
                return named_document(client(), RunId.parse(path), query["names"].split(","), life)

            await self.answer_with(named)
            return
        await self.answer_with(
            lambda: detail.rows_document(
                client(),
                RunId.parse(path),
                query.get("after", ""),
                life,
                _number(query.get("limit", "0"), "limit", "the most there may be"),
            )
        )


class OneAction(Api):
    """`GET /reconciler/api/actions/P/D/R/A`: everything about an action."""

    KNOWS = ("incarnation",)

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

    KNOWS = ("attempt", "incarnation")

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

    KNOWS = ("incarnation",)

    async def get(self, path: str, which: str) -> None:
        """Send it as it is stored."""
        life = self.incarnation
        await self.answer_with_file(
            f"{which}.json",
            "application/json",
            lambda: detail.whole_document(client(), ActionId.parse(path), which, life),
        )


class WholeLog(Api):
    """`GET /reconciler/api/actions/P/D/R/A/log.txt`: the log of an attempt from its beginning, to be saved."""

    KNOWS = ("attempt", "incarnation")

    async def get(self, path: str) -> None:
        """Send it as it is stored, or as far as it is written."""
        given, life = self.query().get("attempt", "0"), self.incarnation
        await self.answer_with_file(
            "log.txt",
            "text/plain; charset=UTF-8",
            lambda: detail.whole_log(
                client(), ActionId.parse(path), _number(given, "attempt", "the last one"), life
            ),
        )


class Editable(Api):
    """`GET /reconciler/api/actions/P/D/R/A/editable`: inputs that lie in S3, for the form that changes them."""

    KNOWS = ("incarnation",)

    async def get(self, path: str) -> None:
        """Read them."""
        life = self.incarnation
        await self.answer_with(lambda: detail.editable_document(client(), ActionId.parse(path), life))


class Press(Api):
    """`POST /reconciler/api/actions/P/D/R/A/BUTTON`: does what a button says."""

    KNOWS = ("incarnation",)

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


class Nowhere(Api):
    """Any other address below `/reconciler/api`."""

    def check_arguments(self, known: tuple[str, ...]) -> None:
        """Pass: the address is what is wrong."""

    def prepare(self) -> None:
        """Refuse it, as JSON."""
        super().prepare()
        raise HTTPError(
            404, "the API has no such address: read which there are at /reconciler/api/openapi.json"
        )


def _number(text: str, name: str, zero: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidInput(f"{name} must be a number from 1, or 0 for {zero}, got {text[:20]!r}")
    return int(text)
