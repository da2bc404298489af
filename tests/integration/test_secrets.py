"""Secrets and quotas end to end: values reach the function alone, and AWS answers as we read it (R70, R71)."""

from __future__ import annotations

import binascii
import hashlib
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
import redis
import secret_functions
from botocore.config import Config
from broker_servers import until

from reconciler.api.errors import ActionFailed, SecretUnavailable
from reconciler.api.template import encode_template
from reconciler.cli.documents import waiting_reason
from reconciler.client import Client
from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.wiring import secrets_of

pytestmark = pytest.mark.servers
IN_FILE = "canary-file-0xC0FFEE-'quoted'"
IN_ENVIRONMENT = "canary-env-0xDECAF"
MARKER = "marker-that-is-no-secret"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose workers find secrets in a folder and in their environment, and have one gpu."""
    folder = tmp_path_factory.mktemp("secrets")
    secret = folder / "development" / "db-password"
    secret.parent.mkdir()
    secret.write_text(IN_FILE + "\n")
    secret.chmod(0o600)
    env = {
        "RECONCILER_SECRETS": f"env,files:{folder}",
        "RECONCILER_QUOTAS": "gpu=1",
        "SECRET_API_KEY": IN_ENVIRONMENT,
    }
    data = tmp_path_factory.mktemp("stack") / "data"
    with Stack(data, imports=["secret_functions"], env=env, cwd=Path(__file__).parent) as running:
        yield running


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    """A client of the stack, which the functions use as well."""
    made = Client.from_settings(Settings.from_env(stack.env()))
    secret_functions.env.client = made
    return made


def in_redis(url: str) -> bytes:
    """Return all keys and values of a server."""
    with redis.Redis.from_url(url) as server:
        return b"".join(repr((key, _value(server, key))).encode() for key in server.scan_iter(count=1000))


def _value(server: redis.Redis, key: bytes) -> object:
    readers: dict[bytes, Any] = {
        b"string": server.get,
        b"hash": server.hgetall,
        b"zset": lambda name: server.zrange(name, 0, -1),
        b"set": server.smembers,
        b"list": lambda name: server.lrange(name, 0, -1),
        b"stream": server.xrange,
    }
    return readers[server.type(key)](key)  # type: ignore[index]  # bytes, as we do not decode


def in_s3(env: dict[str, str]) -> bytes:
    """Return all objects of the bucket."""
    s3 = boto3.client(
        "s3",
        endpoint_url=env["RECONCILER_S3_ENDPOINT"],
        region_name=env["RECONCILER_S3_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}),
    )
    bucket = env["RECONCILER_S3_BUCKET"]
    found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    data = b"".join(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read() for item in found)
    s3.close()
    return data


def on_disk(folder: Path) -> bytes:
    """Return all files of the stack: logs of workers, append-only file, volumes."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def unfolded(data: bytes) -> bytes:
    """Return the data, and what is written in it in base64: bytes in JSON are."""
    hidden = re.findall(rb"[A-Za-z0-9+/]{8,}={0,2}", data)
    return data + b"".join(binascii.a2b_base64(text) for text in hidden if len(text) % 4 == 0)


def test_values_reach_the_function_and_nothing_else(stack: Stack, client: Client) -> None:
    """A function gets its secrets; after it printed and raised them, no value is in Redis, S3, a log or a file of ours."""
    run = secret_functions.digest.delay(MARKER)
    assert run.result(PATIENCE) == hashlib.sha256((IN_FILE + IN_ENVIRONMENT).encode()).hexdigest()
    with pytest.raises(ActionFailed) as caught:
        secret_functions.fail.delay().result(PATIENCE)
    assert str(caught.value).endswith("cannot log in with **")
    settings = client.settings
    folder = stack.servers.processes["s3"].log.parents[1]
    places = {
        "redis": in_redis(settings.redis_url),
        "s3": in_s3(stack.servers.env()),
        "disk": on_disk(folder),
    }
    for place, found in places.items():
        data = unfolded(found)
        assert MARKER.encode() in data, f"the search of {place} finds nothing at all"
        for value in (IN_FILE, IN_ENVIRONMENT, "0xC0FFEE", "0xDECAF"):
            assert value.encode() not in data, f"{value} was left in {place}"
    assert b"**" in places["s3"]


def test_functions_see_no_secret_they_did_not_ask_for(client: Client) -> None:
    """Neither the worker's own variables of secrets nor those of an earlier attempt are in a function's environment."""
    del client
    assert secret_functions.digest.delay(MARKER).result(PATIENCE)
    assert [secret_functions.spy.delay().result(PATIENCE) for _ in range(3)] == [[]] * 3


def test_a_submitter_picks_no_secret_for_a_function(client: Client) -> None:
    """A template that asks for a secret its function does not declare fails the action, and no value leaves the worker."""
    template = msgspec.structs.replace(
        secret_functions.spy.template, secrets=secret_functions.digest.template.secrets
    )
    spec = msgspec.structs.replace(secret_functions.spy.spec((), {}), task_template=encode_template(template))
    run = client.submit(spec)
    with pytest.raises(ActionFailed, match="does not declare the secret") as caught:
        run.result(PATIENCE)
    assert (caught.value.code, client.get(run.action).status.attempts) == ("SecretUnavailable", 1)


def test_a_missing_secret_is_waited_for(stack: Stack, client: Client) -> None:
    """A secret that is nowhere costs the action nothing; it says so, and runs once the secret is stored."""
    runs = [secret_functions.lost.delay() for _ in range(3)]

    def says_so() -> bool:
        return all(
            'no worker has the secret "nowhere"' in waiting_reason(client.get(run.action)) for run in runs
        )

    until(says_so, 60)
    assert client.store.find_function("attempts", "vault.lost").lacks == ("nowhere",)
    place = Path(stack.env()["RECONCILER_SECRETS"].partition("files:")[2]) / "nowhere"
    place.write_text("here now")
    place.chmod(0o600)
    assert [run.result(PATIENCE) for run in runs] == ["ran"] * 3
    records = [client.get(run.action) for run in runs]
    assert {(r.status.attempts, r.status.launches, r.status.system_failures) for r in records} == {(1, 0, 0)}


def test_a_quota_holds_across_workers(client: Client, tmp_path: Path) -> None:
    """With one unit no two functions overlap, all get their turn, and the next one starts without waiting for a poll."""
    del client
    run = secret_functions.exclusive.map([str(tmp_path / "lock")] * 6)
    times = sorted(run.result(PATIENCE))
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(times)]
    assert len(times) == 6
    assert min(gaps) >= 0
    assert max(gaps) < 5


# -- AWS -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that speaks the protocol of AWS Secrets Manager."""
    folder = tmp_path_factory.mktemp("moto")
    [port] = pick_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)]
    server = ManagedProcess("moto", command, log=folder / "log", cwd=folder)
    server.start()
    try:
        await_ready(server, lambda: listens(port), 60)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        server.stop()


@pytest.fixture
def account(aws: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of that server; boto3 of this process is led there too."""
    for name, value in {
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws,
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    made = boto3.client("secretsmanager")
    yield made
    made.close()


def from_aws(prefix: str, key: str, group: str = "") -> str:
    """What project `p` in the domain `d` sees below a prefix, asked anew."""
    manager = secrets_of(Settings(secrets=(f"aws:{prefix}/",)))
    return manager.get(key, group=group, project="p", domain="d")


def test_aws_text_and_binary(account: Any) -> None:
    """Text and binary secrets below the prefix are found; a group is the first part of the name."""
    account.create_secret(Name="kinds/db", SecretString="täxt")
    account.create_secret(Name="kinds/d/p/team.key", SecretBinary="bytes ü".encode())
    account.create_secret(Name="other/db2", SecretString="elsewhere")
    assert from_aws("kinds", "db") == "täxt"
    assert from_aws("kinds", "key", "team") == "bytes ü"
    with pytest.raises(SecretUnavailable, match='"db2"'):
        from_aws("kinds", "db2")


def test_aws_scopes(account: Any) -> None:
    """The narrowest scope that AWS holds counts."""
    for name in ("scopes/db", "scopes/d/db", "scopes/d/p/db"):
        account.create_secret(Name=name, SecretString=name)
        assert from_aws("scopes", "db") == name


def test_aws_refusals_are_not_misses(account: Any) -> None:
    """A secret that is being deleted is refused by AWS: the lookup ends there, for good, and no wider one is taken."""
    account.create_secret(Name="refused/db", SecretString="wide")
    narrow = account.create_secret(Name="refused/d/p/db", SecretString="narrow")
    account.delete_secret(SecretId=narrow["ARN"], RecoveryWindowInDays=7)
    with pytest.raises(SecretUnavailable, match="InvalidRequestException") as caught:
        from_aws("refused", "db")
    assert not caught.value.retryable


def test_aws_away(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS that does not answer is told as such, and worth another try."""
    del account
    [port] = pick_ports(1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://{LOOPBACK}:{port}")
    with pytest.raises(SecretUnavailable, match="check network, region and credentials") as caught:
        from_aws("away", "db")
    assert caught.value.retryable
