"""Add our pages to Flower: addresses before its own, and a tab on each page. Flower has no interface for that."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flower import app, urls
from tornado.template import Loader, Template
from tornado.web import url

from worker.dashboard import handlers, live
from worker.dashboard.bodies import bounded_server
from worker.dashboard.closing import closed

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MARK: Final = '<ul class="app-nav navbar-nav">'
"""Where the tabs of Flower 2.2 begin."""
_TAB: Final = """
        <li class="nav-item">
          <a class="nav-link{% if active_tab == 'runs' %} active{% end %}" href="{{ reverse_url('runs') }}"
            {% if active_tab == 'runs' %}aria-current="page"{% end %}>Runs</a>
        </li>"""
_RUN: Final = "([^/]+/[^/]+/[^/]+)"
_ACTION: Final = "([^/]+/[^/]+/[^/]+/[^/]+)"


_SOME: Final = "{% from worker.dashboard.persons import view_of_request %}{% if view_of_request(handler).projects is None %}"
"""Flower's own tabs lead to pages that are closed to whoever sees some projects only."""
_SCRIPT: Final = '<script type="text/javascript">'
"""How Flower 2.2 begins a script within a page."""
_STYLE: Final = """<link href="{{ static_url('css/flower.css') }}" rel="stylesheet">"""
_OURS: Final = (
    """<link href="{{ reverse_url('runs')[:-len('/runs')] }}/reconciler/static/stock.css" rel="stylesheet">"""
)
"""Follows Flower's own style: its table of tasks is made for short ids."""
_NONCE: Final = '{% from worker.dashboard.closing import nonce_of %}<script nonce="{{ nonce_of(handler) }}">'


class TabLoader(Loader):
    """Loads templates of Flower, with our tab, a nonce for its scripts and a style of ours, and our own templates."""

    def _create_template(self, name: str) -> Template:
        ours = _TEMPLATES / name
        if ours.is_file():
            return Template(ours.read_bytes(), name=name, loader=self)
        text = (Path(self.root) / name).read_text().replace(_SCRIPT, _NONCE).replace(_STYLE, _STYLE + _OURS)
        if name == "navbar.html":
            before, mark, tabs = text.partition(_MARK)
            own, end, rest = tabs.partition("</ul>")
            text = f"{before}{mark}{_TAB}{_SOME}{own}{{% end %}}{end}{rest}"
        return Template(text, name=name, loader=self)


def install() -> None:
    """Add the pages to the Flower that is about to start in this process."""
    urls.settings["template_loader"] = TabLoader(urls.settings["template_path"])
    app.HTTPServer = bounded_server()
    first = url(r"/", handlers.Page, name="main")
    urls.handlers[:] = [
        first,
        *_addresses(),
        *(closed(one) for one in urls.handlers if getattr(one, "name", None) != "main"),
    ]


def _addresses() -> list[url]:
    api = "/reconciler/api"
    return [
        url(r"/runs", handlers.Page, name="runs"),
        url(rf"/runs/{_RUN}", handlers.Page),
        url(rf"/runs/{_ACTION}", handlers.Page),
        url(r"/waiting", handlers.Page),
        url(r"/health", handlers.Page),
        url(rf"{api}/runs", handlers.Runs),
        url(rf"{api}/runs/{_RUN}", handlers.OneRun),
        url(rf"{api}/runs/{_RUN}/actions", handlers.Rows),
        url(rf"{api}/runs/{_RUN}/live", live.Live),
        url(rf"{api}/actions/{_ACTION}", handlers.OneAction),
        url(rf"{api}/actions/{_ACTION}/log", handlers.Log),
        url(rf"{api}/actions/{_ACTION}/log\.txt", handlers.WholeLog),
        url(rf"{api}/actions/{_ACTION}/(inputs|outputs)", handlers.Whole),
        url(rf"{api}/actions/{_ACTION}/editable", handlers.Editable),
        url(rf"{api}/actions/{_ACTION}/([a-z]+)", handlers.Press),
        url(rf"{api}/phases", handlers.Phases),
        url(rf"{api}/matching/([a-z]+)", handlers.Matching),
        url(rf"{api}/waiting", handlers.Waiting),
        url(rf"{api}/health", handlers.Health),
        url(rf"{api}/doctor", handlers.Doctor),
        url(rf"{api}/openapi\.json", handlers.Described),
        url(rf"{api}/.*", handlers.Nowhere),
        url(r"/reconciler/static/(.*)", handlers.Files, {"path": str(handlers.STATIC)}),
    ]
