"""Who is let in to the pages in Flower, and from where; and what a stream takes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest

from reconciler.api.errors import InvalidInput
from reconciler.cli.dev import _without_login
from worker.dashboard.answers import Api
from worker.dashboard.defaults import is_login, prepare_flower
from worker.dashboard.guard import closed_because, foreign_because
from worker.dashboard.handlers import HERE
from worker.dashboard.install import _addresses
from worker.dashboard.live import _Open, read_cursor

ALL = "0.0.0.0"  # noqa: S104  # nobody listens there


@pytest.mark.parametrize(
    ("basic_auth", "auth", "login"),
    [
        ((), "", False),
        (("",), "", False),
        (("ada",), "", False),
        (("ada:",), "", False),
        (("ada:secret", "bob"), "", False),
        (("ada:secret",), "", True),
        ((), "ada@example.com", True),
    ],
)
def test_a_login_is_what_keeps_somebody_out(basic_auth: tuple[str, ...], auth: str, login: bool) -> None:  # noqa: FBT001  # a parameter of pytest
    """An option that is there and empty is none, and neither is a user without a password."""
    assert is_login(basic_auth, auth) is login


@pytest.mark.parametrize(
    ("options", "variables", "login"),
    [
        ([], {}, False),
        (["--auth_provider=flower.views.auth.GithubLoginHandler"], {}, False),
        (["--basic_auth="], {}, False),
        ([], {"FLOWER_BASIC_AUTH": ""}, False),
        (["--basic-auth=ada:secret"], {}, True),
        ([], {"FLOWER_BASIC_AUTH": "ada:secret"}, True),
        (["--auth=.*@example.com"], {}, True),
    ],
)
def test_flower_without_a_login_is_kept_to_this_machine(
    options: list[str],
    variables: dict[str, str],
    login: bool,  # noqa: FBT001  # a parameter of pytest
) -> None:
    """And read-only, unless somebody says otherwise."""
    environ = dict(variables)
    assert prepare_flower(["celery", "-A", "worker", "flower", *options], environ)
    assert environ.get("FLOWER_ADDRESS") == (None if login else "127.0.0.1")
    assert environ.get("FLOWER_READ_ONLY") == (None if login else "true")
    assert not prepare_flower(["celery", "worker"], {})


@pytest.mark.parametrize("decided", ["", "BASIC_AUTH", "AUTH", "READ_ONLY"])
def test_dev_says_that_its_flower_is_read_only(decided: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And how it is not, unless somebody has decided on that: nobody looks for buttons that are hidden."""
    for name in ("BASIC_AUTH", "AUTH", "READ_ONLY"):
        monkeypatch.setenv(f"FLOWER_{name}", "some" if name == decided else "")
    assert ("FLOWER_BASIC_AUTH=user:password" in _without_login()) is not bool(decided)


@pytest.mark.parametrize(
    ("address", "host", "login", "opened"),
    [
        ("127.0.0.1", "127.0.0.1:5555", False, True),
        ("127.0.0.1", "localhost:5555", False, True),
        ("::1", "[::1]:5555", False, True),
        ("127.0.0.1", "evil.example:5555", False, False),
        ("127.0.0.1", "127.0.0.1.evil.example", False, False),
        (ALL, "127.0.0.1:5555", False, False),
        ("", "localhost", False, False),
        ("10.0.0.7", "10.0.0.7:5555", False, False),
        (ALL, "flower.example", True, True),
    ],
)
def test_without_a_login_only_this_machine_sees_runs(
    address: str,
    host: str,
    login: bool,  # noqa: FBT001  # a parameter of pytest
    opened: bool,  # noqa: FBT001  # as above
) -> None:
    """By an address of it, and by a name of it; with a login from everywhere."""
    why = closed_because(address, host, login=login)
    assert (not why) is opened
    assert opened or "FLOWER_BASIC_AUTH=user:password" in why


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({}, True),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Origin": "http://localhost:5555"}, True),
        ({"Origin": "http://localhost:6666"}, False),
        ({"Origin": "null"}, False),
    ],
)
def test_a_press_from_another_site_is_refused(headers: dict[str, str], ours: bool) -> None:  # noqa: FBT001  # a parameter of pytest
    """By what the browser says of it; what is no browser needs the token all the same."""
    assert (not foreign_because(headers, "localhost:5555")) is ours


@pytest.mark.parametrize("cursor", ["x", "", "1", "1-", "-1", "1-1-1", "\u0661-1", "9" * 20 + "-0"])
def test_a_place_that_is_none_is_refused_by_a_stream(cursor: str) -> None:
    """It would stay empty for ever; that of a run is a place, and so is the beginning."""
    assert [read_cursor(place) for place in ("0-0", "1732870000000-12")] == ["0-0", "1732870000000-12"]
    with pytest.raises(InvalidInput, match="is no place in the changes; use `cursor` of the run"):
        read_cursor(cursor)


def test_one_login_does_not_take_all_streams() -> None:
    """A login with many pages open is refused more before the others are; who has none shares one limit."""
    streams = _Open()
    with ExitStack() as held:
        for _ in range(16):
            assert streams.refused_because("ada") == ""
            held.enter_context(streams.one("ada"))
        assert "your login" in streams.refused_because("ada")
        assert streams.refused_because("bob") == ""
        for _ in range(16):
            assert streams.refused_because("") == ""
            held.enter_context(streams.one(""))
        assert "close some" in streams.refused_because("bob")
    assert streams.refused_because("ada") == ""


DOCUMENTED: dict[str, Any] = json.loads((HERE / "openapi.json").read_text())["paths"]


@pytest.mark.parametrize("path", DOCUMENTED)
def test_an_address_takes_the_arguments_that_are_documented(path: str) -> None:
    """Each of the others is refused by name, so what is missing in one of the two would be found out by a user."""
    asked = "/reconciler/api" + path.format(
        project="p", domain="d", run="r", action="a", verb="abort", button="abort"
    )
    handler = next(one.handler_class for one in _addresses() if one.regex.fullmatch(asked))
    assert issubclass(handler, Api)
    for verb, operation in DOCUMENTED[path].items():
        named = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
        known = set() if (verb, handler.__name__) == ("post", "Matching") else set(handler.KNOWS)
        assert named == known, verb


@pytest.mark.parametrize("path", ["/nonsense", "/runs/p/d", "/actions/p/d/r/a/b/c"])
def test_an_address_that_is_none_is_answered_by_the_api(path: str) -> None:
    """In JSON, as every refusal of it, and not by a page of Flower."""
    handler = next(one.handler_class for one in _addresses() if one.regex.fullmatch("/reconciler/api" + path))
    assert issubclass(handler, Api)
