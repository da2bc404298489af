"""Names in the order people expect."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.ordering import natural_key, natural_page

NAMES = st.from_regex(r"[a-z0-9]{0,3}[0-9]{0,3}(/[a-z0-9.-]{1,4})?", fullmatch=True)


def test_numbers_count_by_their_value() -> None:
    """Wherever they stand in a name, and with letters around them."""
    ordered = ["/a0", "a0/m0", "a0/m01", "a0/m1", "a0/m2", "a0/m10", "a0/m10b2", "a0/m10b10", "a2/x", "a10/x"]
    assert natural_page(reversed(ordered), "", 99) == ordered


@given(paths=st.sets(NAMES, max_size=30), limit=st.integers(1, 7))
def test_pages_leave_nothing_out(paths: set[str], limit: int) -> None:
    """Each page goes on behind the last path of the one before, whatever the names are."""
    paths.discard("")
    found: list[str] = []
    while page := natural_page(paths, found[-1] if found else "", limit):
        found += page
    assert found == sorted(paths, key=natural_key)
