"""Requests to the pages' API hold so many bytes at most, also when no header says how many come."""

from __future__ import annotations

import pytest
from tornado.web import HTTPError

from worker.dashboard.bodies import MOST, Bounded, check_announced


def test_a_body_in_pieces_is_kept_up_to_the_bound() -> None:
    """What fits is there whole; the piece that is too much is refused and not kept."""
    body = Bounded()
    for _ in range(4):
        body.data_received(b"x" * (MOST // 4))
    with pytest.raises(HTTPError) as refused:
        body.data_received(b"x")
    assert (refused.value.status_code, len(body.body)) == (413, MOST)


@pytest.mark.parametrize("told", ["", "none", str(MOST)])
def test_what_a_header_allows(told: str) -> None:
    """A body that says nothing of its size, or that fits, is read."""
    check_announced({"Content-Length": told})


def test_what_a_header_forbids() -> None:
    """One byte more is refused before anything is read."""
    with pytest.raises(HTTPError, match="413"):
        check_announced({"Content-Length": str(MOST + 1)})
