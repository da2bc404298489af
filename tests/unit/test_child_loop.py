"""The event loop that all calls of a process of functions share."""

from __future__ import annotations

import asyncio

from worker.runner.child_loop import ChildLoop


def test_a_loop_that_a_plain_call_made_is_reset_as_well() -> None:
    """Nobody has seen it new, so what a new one has is put back after the next call."""

    async def hurry() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.001

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    shared, made = ChildLoop(), asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(made)
        shared.restore()
        shared.run(hurry())
        shared.restore()
        assert made.slow_callback_duration == 0.1
    finally:
        made.close()
        asyncio.set_event_loop_policy(before)
