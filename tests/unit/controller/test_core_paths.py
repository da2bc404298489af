"""Where objects lie and what launches are called: the published vectors (R64, R65, R67, R29)."""

from __future__ import annotations

import pytest

from reconciler.api.errors import InvalidSpec
from reconciler.core.paths import (
    generated_name,
    input_path,
    launch_id,
    output_prefix,
    shard_prefix,
    shortened_name,
)


@pytest.mark.rule("R65")
@pytest.mark.parametrize(
    ("name", "shard"),
    [
        ("flyte/my-action-abc", "hu"),
        ("flyte/ta-abc", "j2"),
        ("default/cacheable-action", "1m"),
        ("flyte/rabc123-a0", "oc"),
        ("flyte/rabc123-train", "x5"),
        ("flyte/run1-a0", "vy"),
        ("ns-a/action-1", "97"),
        ("prod/long-running-task-xyz", "rx"),
    ],
)
def test_shards(name: str, shard: str) -> None:
    """The two characters that spread objects are those of the reference."""
    assert shard_prefix(*name.split("/")) == shard


@pytest.mark.rule("R65")
@pytest.mark.parametrize(
    ("base", "launch", "prefix"),
    [
        ("s3://my-bucket/org/proj/dev/run123/", 0, "s3://my-bucket/hu/org/proj/dev/run123/action-0/3"),
        ("s3://my-bucket", 0, "s3://my-bucket/hu/action-0/3"),
        ("s3://my-bucket/run", 2, "s3://my-bucket/hu/run/action-0/3-2"),
    ],
)
def test_output_prefix(base: str, launch: int, prefix: str) -> None:
    """Bucket, shard, base without outer slashes, action, attempt; a relaunch has a folder of its own."""
    assert output_prefix("flyte", "my-action-abc", base, "action-0", 3, launch) == prefix


@pytest.mark.rule("R65")
@pytest.mark.parametrize("base", ["", "nowhere", "/tmp/x", "s3://"])
def test_a_base_that_is_no_uri_is_refused(base: str) -> None:
    """Without scheme and bucket there is no prefix, and the text says how to write one."""
    with pytest.raises(InvalidSpec, match=r"invalid RunOutputBase .* write it as s3://bucket/path"):
        output_prefix("flyte", "n", base, "a", 1)


@pytest.mark.rule("R64")
@pytest.mark.parametrize("uri", ["s3://b/in", "s3://b/in/", "s3://b/in/inputs.pb"])
def test_both_forms_of_an_input_uri_are_one_object(uri: str) -> None:
    """A folder and the path of its inputs file address the same object."""
    assert input_path(uri) == "s3://b/in/inputs.pb"


@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    ("attempt", "launch", "name", "token"),
    [(0, 0, "n-0", "0"), (1, 0, "n-0", "1"), (3, 0, "n-2", "3"), (3, 4, "n-2-4", "3-4")],
)
def test_every_launch_has_a_name_of_its_own(attempt: int, launch: int, name: str, token: str) -> None:
    """The retry is part of the name, and so is a relaunch inside of it."""
    assert generated_name("n", attempt, launch) == name
    assert launch_id(attempt, launch) == token


@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    ("name", "longest", "short"),
    [
        ("x" * 24, 20, "fuaa3aji"),
        ("a-very-long-generated-name-that-exceeds-the-max-length-limit-12345", 20, "fah6wjaq"),
        ("x" * 20, 20, "x" * 20),
    ],
)
def test_long_names_are_shortened(name: str, longest: int, short: str) -> None:
    """A name that is too long becomes 8 characters that depend on all of it."""
    assert shortened_name(name, longest) == short


@pytest.mark.rule("R67")
def test_a_limit_below_the_short_form_is_refused() -> None:
    """Where not even the short form fits, there is no unique name."""
    with pytest.raises(InvalidSpec, match="max length 2 is too short"):
        shortened_name("long-name", 2)
