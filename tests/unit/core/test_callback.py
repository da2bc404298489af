"""Callback tokens: only ours, unchanged, for their purpose, in time (R55)."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.api.action import ActionId
from reconciler.api.errors import CallbackRefused
from reconciler.core.callback import SIGNAL, Callback, sign, verify

pytestmark = pytest.mark.rule("R55")
SECRET = b"s" * 32
CALLBACK = Callback(ActionId("p", "d", "r", "a0"), 1000, SIGNAL, 5000)
TOKEN = sign(SECRET, CALLBACK)


def refusal(token: str, *, secret: bytes = SECRET, purpose: str = SIGNAL, now: int = 2000) -> str:
    """Why a token is refused; the message never repeats it."""
    with pytest.raises(CallbackRefused) as caught:
        verify(secret, token, purpose, now)
    assert len(token) < 40 or token not in str(caught.value)
    return str(caught.value)


def test_a_token_says_what_was_signed() -> None:
    """Until the moment it expires, a token of ours says what it was made for; it can stand in a URL."""
    for now in (0, 4999):
        assert verify(SECRET, TOKEN, SIGNAL, now) == CALLBACK
    assert set(TOKEN) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert SECRET.decode() not in TOKEN


def test_it_expires() -> None:
    """From its expiry on a token is refused."""
    assert "has expired" in refusal(TOKEN, now=5000)


def test_another_secret_made_it() -> None:
    """A token of another installation, or of a replaced secret, is refused."""
    assert "not one of this installation" in refusal(TOKEN, secret=b"t" * 32)


def test_another_purpose() -> None:
    """A token does only what it was made for, whatever else is ever signed with the secret."""
    other = sign(SECRET, msgspec.structs.replace(CALLBACK, purpose="abort"))
    assert (
        refusal(other)
        == "the callback token is for 'abort', not for 'signal'; send the one that was made for this"
    )


@pytest.mark.parametrize("position", range(len(TOKEN)))
def test_each_character_counts(position: int) -> None:
    """A token with any one character changed, also a bit that base64 ignores, is refused."""
    other = "A" if TOKEN[position] != "A" else "B"
    assert "not one of this installation" in refusal(TOKEN[:position] + other + TOKEN[position + 1 :])


@pytest.mark.parametrize(
    "text", ["", ".", "a.b", TOKEN[:-1], TOKEN + "=", TOKEN + "\n", " " + TOKEN, "x" * 4096, "ü.ü"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    """Anything else is refused as not ours; nothing but the refusal is raised."""
    assert "not one of this installation" in refusal(text)


@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    """No text that was not signed passes, nor raises anything else."""
    refusal(text)


@pytest.mark.parametrize("part", ["action", "created", "purpose", "expires"])
def test_claims_cannot_be_exchanged(part: str) -> None:
    """The signature of one token does not fit the claims of another, whatever part of them differs."""
    others = {"action": ActionId("p", "d", "r", "a1"), "created": 1001, "purpose": "abort", "expires": 9000}
    claims = sign(SECRET, msgspec.structs.replace(CALLBACK, **{part: others[part]})).partition(".")[0]
    assert "not one of this installation" in refusal(f"{claims}.{TOKEN.partition('.')[2]}")


def test_claims_of_another_release_are_refused() -> None:
    """Signed claims in a form this release does not know are refused, not half read."""
    from reconciler.core.callback import _token  # noqa: PLC0415  # only this test forges what we signed ourselves

    claims = base64.urlsafe_b64encode(b'{"v":2}').rstrip(b"=")
    assert "another release" in refusal(_token(SECRET, claims).decode())
