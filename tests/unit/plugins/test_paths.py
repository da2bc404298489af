"""Where objects lie and what launches are called (R64, R65, R67): the vectors of the specification."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    ("namespace", "name", "shard"),
    [
        ("flyte", "my-action-abc", "hu"),
        ("flyte", "ta-abc", "j2"),
        ("default", "cacheable-action", "1m"),
        ("flyte", "rabc123-a0", "oc"),
        ("flyte", "rabc123-train", "x5"),
        ("flyte", "run1-a0", "vy"),
        ("ns-a", "action-1", "97"),
        ("prod", "long-running-task-xyz", "rx"),
    ],
)
def test_shards_are_flytes(namespace: str, name: str, shard: str) -> None:
    """The shard of a record is the one Flyte computes."""
    assert shard_prefix(namespace, name) == shard


@pytest.mark.rule("R65")
@given(st.text(max_size=20), st.text(max_size=20))
def test_a_shard_is_two_characters(namespace: str, name: str) -> None:
    """Whatever the names, the shard is two lower-case letters or digits."""
    shard = shard_prefix(namespace, name)
    assert len(shard) == 2
    assert set(shard) <= set("abcdefghijklmnopqrstuvwxyz0123456789")


@pytest.mark.rule("R65")
def test_the_output_prefix_is_flytes() -> None:
    """The example of the specification comes out."""
    found = output_prefix("flyte", "my-action-abc", "s3://my-bucket/org/proj/dev/run123/", "action-0", 3)
    assert found == "s3://my-bucket/hu/org/proj/dev/run123/action-0/3"


@pytest.mark.rule("R65")
@pytest.mark.parametrize(
    ("base", "prefix"),
    [
        ("s3://b", "s3://b/hu/a/1"),
        ("s3://b/", "s3://b/hu/a/1"),
        ("s3://b//x//", "s3://b/hu/x/a/1"),
        ("gs://b/x", "gs://b/hu/x/a/1"),
        ("s3://b/x#1?y", "s3://b/hu/x#1?y/a/1"),
    ],
)
def test_any_base_gives_one_prefix(base: str, prefix: str) -> None:
    """Slashes around the base path are dropped, an empty path is skipped, and no other part is lost."""
    assert output_prefix("flyte", "my-action-abc", base, "a", 1) == prefix


@pytest.mark.rule("R65")
@pytest.mark.parametrize("base", ["", "x", "/x", "s3://", "s3:///x", "://b/x", "s3:/b/x"])
def test_a_base_that_is_no_uri_is_refused(base: str) -> None:
    """A base without scheme or bucket is refused with the specification's words and a remedy."""
    with pytest.raises(InvalidSpec, match=f'invalid RunOutputBase "{base}": write it as'):
        output_prefix("n", "m", base, "a", 1)


@pytest.mark.rule("R65")
@given(st.text(max_size=30))
def test_no_base_breaks_more_than_itself(base: str) -> None:
    """Any text is either a base or refused as one; nothing else is raised."""
    try:
        assert output_prefix("n", "m", base, "a", 1).endswith("/a/1")
    except InvalidSpec:
        assert "://" not in base or not base.partition("://")[2].partition("/")[0] or base.startswith("://")


@pytest.mark.rule("R29")
@given(st.tuples(st.integers(1, 99), st.integers(0, 99)), st.tuples(st.integers(1, 99), st.integers(0, 99)))
def test_no_two_launches_share_a_path_or_a_name(one: tuple[int, int], two: tuple[int, int]) -> None:
    """Each attempt and relaunch has its own folder, its own launch id and its own generated name."""
    same = one == two
    assert (
        output_prefix("n", "m", "s3://b", "a", *one) == output_prefix("n", "m", "s3://b", "a", *two)
    ) is same
    assert (launch_id(*one) == launch_id(*two)) is same
    assert (generated_name("m", *one) == generated_name("m", *two)) is same


@pytest.mark.rule("R64")
@pytest.mark.parametrize("uri", ["s3://b/in", "s3://b/in/", "s3://b/in/inputs.pb"])
def test_both_forms_of_an_input_uri_are_one_object(uri: str) -> None:
    """A folder and the path of its `inputs.pb` address the same object."""
    assert input_path(uri) == "s3://b/in/inputs.pb"


@pytest.mark.rule("R67")
@pytest.mark.parametrize(("attempt", "name"), [(0, "x-0"), (1, "x-0"), (2, "x-1"), (10, "x-9")])
def test_the_generated_name_ends_in_the_retry(attempt: int, name: str) -> None:
    """Retry is attempt - 1, and 0 before anything was observed."""
    assert generated_name("x", attempt) == name


@pytest.mark.rule("R67")
@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("x" * 24, "fuaa3aji"),
        ("a-very-long-generated-name-that-exceeds-the-max-length-limit-12345", "fah6wjaq"),
        ("x" * 20, "x" * 20),
    ],
)
def test_long_names_are_shortened_like_flytes(name: str, short: str) -> None:
    """A name above the limit becomes Flyte's hash of it; one that fits stays."""
    assert shortened_name(name, 20) == short


@pytest.mark.rule("R67")
def test_a_limit_below_the_short_form_is_refused() -> None:
    """Where not even the hash fits, the error says how much room is needed."""
    with pytest.raises(InvalidSpec, match=r"max length 2 is too short .* at least 8"):
        shortened_name("long-name", 2)
