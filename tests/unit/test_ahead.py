"""The clock of a loop that runs ahead for one call."""

from __future__ import annotations

import asyncio

from reconciler.children.ahead import Ahead


def test_a_loop_that_was_cleaned_meanwhile_has_its_own_clock() -> None:
    """What a call has put into its loop is taken out before the call is over: nothing is left to give back then."""
    loop, ahead = asyncio.new_event_loop(), Ahead()
    try:
        loop.call_later(1000, list)
        ahead.to_next_timer(loop)
        assert "time" in vars(loop)
        del vars(loop)["time"]
        ahead.end()
        assert "time" not in vars(loop)
    finally:
        loop.close()
