"""Descriptions of services that boto3 reads: the part that is used is there, and the same as in boto3 itself."""

from __future__ import annotations

import re
from pathlib import Path

import boto3
import pytest
from botocore import xform_name

from reconciler.stores import s3
from reconciler.stores.s3.descriptions import VERBS
from reconciler.stores.s3.renewal import new_session

KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}


def test_a_client_has_the_verbs_that_are_called() -> None:
    """Each verb that a file of `stores/s3` calls on a client is described; the others take no memory."""
    called = {
        verb
        for file in Path(s3.__file__).parent.glob("*.py")
        for verb in re.findall(r"lambda client: client\.(\w+)\(", file.read_text())
    }
    client = new_session().client("s3", region_name="eu-west-1", **KEYS)
    described = {xform_name(verb) for verb in client.meta.service_model.operation_names}
    assert len(called) >= 6
    assert called - {"get_secret_value"} <= described
    assert described == {xform_name(verb) for verb in VERBS}


@pytest.mark.parametrize("service", ["s3", "secretsmanager", "sts"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "xx-new-1"])
def test_services_answer_where_boto3_looks_for_them(service: str, region: str) -> None:
    """What was left out of the descriptions leads no request elsewhere."""
    ours = new_session().client(service, region_name=region, **KEYS)  # type: ignore[call-overload]  # any of them
    known = boto3.session.Session().client(service, region_name=region, **KEYS)  # type: ignore[call-overload]  # any of them
    assert ours.meta.endpoint_url == known.meta.endpoint_url
    assert ours.meta.partition == known.meta.partition
    if service == "s3":
        asked = [
            client.generate_presigned_url("get_object", Params={"Bucket": "of-mine", "Key": "a/b"})
            for client in (ours, known)
        ]
        assert len({url.partition("?")[0] for url in asked}) == 1


def test_errors_keep_their_names() -> None:
    """What a server answers is raised as the error that boto3 makes of it."""
    client = new_session().client("s3", region_name="eu-west-1", **KEYS)
    assert client.exceptions.NoSuchKey.__name__ == "NoSuchKey"
    assert client.meta.service_model.operation_model("PutObject").documentation == ""
