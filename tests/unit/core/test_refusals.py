"""What a server means when it says no: the remedy, the right that is missing, and nothing of a client's inside."""

from __future__ import annotations

import pytest

from reconciler.core.refusals import plain, refusal_of, right_of, rights_problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "is full"),
        ("NOPERM this user has no permissions to run the 'time' command", "give the user the rule"),
        ("READONLY You can't write against a read only replica.", "let MY_URL name the primary"),
        ("MISCONF Errors writing to the AOF file", "free its disk"),
        ("LOADING Redis is loading the dataset in memory", "ask again in a moment"),
        ("MOVED 3999 127.0.0.1:6381", "give MY_URL a single server or a Sentinel"),
        ("ERR nobody knows", ""),
    ],
)
def test_a_refusal_has_its_remedy(text: str, words: str) -> None:
    """The sentence goes on behind the server, and names the setting; one we do not know is left to its text."""
    said = refusal_of(text, "MY_URL")
    assert words in said
    assert bool(said) == bool(words)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("NOPERM this user has no permissions to run the 'config|get' command", "+config|get"),
        ("NOPERM this user has no permissions to access one of the channels used as arguments", "&cr:*"),
        ("NOPERM No permissions to access a key", "~cr:*"),
        ("NOPERM", "+?"),
        ("ERR unknown", ""),
    ],
)
def test_a_missing_right_is_written_as_an_acl_writes_it(text: str, right: str) -> None:
    """So that whoever reads it can give it."""
    assert right_of(text, "cr") == right


def test_all_missing_rights_are_one_sentence() -> None:
    """Each once, sorted; none when nothing is missing."""
    assert rights_problem("Redis", []) == []
    [told] = rights_problem("Redis", ["~cr:*", "+time", "+time"])
    assert "`ACL SETUSER … +time ~cr:*`" in told


def test_no_client_object_is_shown() -> None:
    """Of a connection host and port stay."""
    text = "Error while reading from <redis.connection.Connection(host=here,port=6379,db=0)>"
    assert plain(text) == "Error while reading from here:6379"
