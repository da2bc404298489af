"""What the S3 store says of settings it cannot use; no server is needed for that."""

from __future__ import annotations

import os

import pytest

from reconciler.api.errors import BlobUnavailable
from reconciler.settings import Settings
from reconciler.stores.s3 import S3Blobs

URI = "s3://bucket/object"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some credentials, and nothing of the configuration of whoever runs the tests."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary")


def test_nothing_is_sent_before_the_first_verb() -> None:
    """A store can be made, and asked for URIs, with settings no server answers to."""
    assert S3Blobs(Settings(s3_endpoint="nonsense", s3_prefix="p")).uri("a", "b") == "s3://reconciler/p/a/b"


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials the error says which variables to set."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(BlobUnavailable, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Blobs(Settings(s3_endpoint="http://127.0.0.1:1")).get(URI)


def test_half_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable of two is not enough, and the error says so."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BlobUnavailable, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        S3Blobs(Settings(s3_endpoint="http://127.0.0.1:1")).get(URI)


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that names the profile is named."""
    monkeypatch.setenv("AWS_PROFILE", "elsewhere")
    with pytest.raises(BlobUnavailable, match=r"elsewhere.*correct or unset AWS_PROFILE"):
        S3Blobs(Settings(s3_endpoint="http://127.0.0.1:1")).get(URI)


def test_a_password_in_the_endpoint_is_not_shown() -> None:
    """User and password of an endpoint are in no message."""
    with pytest.raises(BlobUnavailable) as caught:
        S3Blobs(Settings(s3_endpoint="http://somebody:hunter2@127.0.0.1:1")).get(URI)
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1:1" in str(caught.value)


@pytest.mark.parametrize("endpoint", ["localhost;8333", "127.0.0.1:8333", "http://[half", "http://host:port"])
def test_an_endpoint_that_is_no_url(endpoint: str) -> None:
    """The setting that is wrong is named; an endpoint without http:// is the most common case."""
    with pytest.raises(BlobUnavailable, match="RECONCILER_S3_ENDPOINT"):
        S3Blobs(Settings(s3_endpoint=endpoint)).get(URI)
