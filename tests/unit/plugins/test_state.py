"""The state a plugin keeps between rounds (R62)."""

from __future__ import annotations

import msgspec
import pytest

from reconciler.api.errors import CorruptedPluginState
from reconciler.plugins.state import MAX_STATE, PluginStateManager

pytestmark = pytest.mark.rule("R62")


class Seen(msgspec.Struct, frozen=True):
    """A plugin's state."""

    at: int


def test_without_a_state_there_is_none() -> None:
    """Nothing stored reads as nothing, with version 0."""
    state = PluginStateManager()
    assert (state.get(Seen), state.version) == (None, 0)


def test_the_previous_state_is_read() -> None:
    """What the previous round stored comes back with its version."""
    state = PluginStateManager(b'{"at":5}', 3)
    assert (state.get(Seen), state.version) == (Seen(5), 3)


@pytest.mark.parametrize("data", [b"nonsense", b'{"at":"x"}', b"[]", b'{"\xff":1}', b'{"x":' + b"[" * 5000])
def test_a_state_that_does_not_fit_is_an_error(data: bytes) -> None:
    """A stored state that cannot be read is an error no retry can help."""
    with pytest.raises(CorruptedPluginState, match="failed to decode plugin state: "):
        PluginStateManager(data, 1).get(Seen)


def test_what_is_put_is_for_the_next_round() -> None:
    """A put changes what the next round reads, never what this one reads."""
    state = PluginStateManager(b'{"at":5}', 1)
    state.put(2, Seen(6))
    assert (state.get(Seen), state.version) == (Seen(5), 1)
    data, version, written = state.new_state()
    assert PluginStateManager(data, version).get(Seen) == Seen(6)
    assert (version, written) == (2, True)


def test_the_last_put_wins() -> None:
    """Of two puts in a round the last one counts."""
    state = PluginStateManager()
    state.put(1, Seen(1))
    state.put(2, Seen(2))
    assert state.new_state() == (b'{"at":2}', 2, True)


def test_a_reset_is_written() -> None:
    """A reset empties the state, and counts as written."""
    state = PluginStateManager(b'{"at":5}', 1)
    state.put(2, Seen(6))
    state.reset()
    assert state.new_state() == (b"", 0, True)


def test_a_round_that_puts_nothing_writes_nothing() -> None:
    """Without put or reset the stored state stays."""
    assert PluginStateManager(b'{"at":5}', 1).new_state() == (b"", 0, False)


@pytest.mark.rule("R15")
@pytest.mark.parametrize(("size", "fits"), [(MAX_STATE - 2, True), (MAX_STATE - 1, False)])
def test_a_state_is_small(size: int, fits: bool) -> None:  # noqa: FBT001  # a parameter
    """Up to 16 KiB are kept in the record; more is refused, saying where it belongs."""
    state = PluginStateManager()
    if fits:
        state.put(1, "x" * size)
        assert len(state.new_state()[0]) == MAX_STATE
    else:
        with pytest.raises(CorruptedPluginState, match="put large data in S3"):
            state.put(1, "x" * size)
        assert state.new_state() == (b"", 0, False)


def test_a_state_that_is_no_json_is_refused() -> None:
    """Objects without a JSON form, and objects that hold themselves, are refused."""
    loop: list[object] = []
    loop.append(loop)
    for value in (object(), loop):
        with pytest.raises(CorruptedPluginState, match="cannot be written as JSON"):
            PluginStateManager().put(1, value)
