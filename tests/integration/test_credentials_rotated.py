"""Keys of AWS that are exchanged while they are in use: nothing fails, and nobody restarts."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aws_server import REGION, AwsServer
from broker_servers import until

from reconciler.api.errors import BlobUnavailable, SecretUnavailable
from reconciler.embedded.ports import LOOPBACK
from reconciler.settings import Settings
from reconciler.stores.s3 import S3Blobs
from reconciler.stores.s3.aws_secrets import AwsSecrets, client_factory
from reconciler.stores.secrets import SecretId

pytestmark = pytest.mark.servers

ROTATIONS = 3


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    """The server, with a bucket, a secret, and the worker's keys in a file."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with AwsServer(tmp_path) as server:
        monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(server.file))
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.url)
        server.client("s3").create_bucket(Bucket="bucket")
        server.client("secretsmanager").create_secret(Name="p/db", SecretString="hidden")
        yield server


def settings_of(aws: AwsServer) -> Settings:
    """Return settings of an installation there."""
    return Settings(s3_endpoint=aws.url, s3_bucket="bucket", s3_region=REGION)


def test_keys_in_a_file_are_exchanged_under_load(aws: AwsServer) -> None:
    """Eight threads that write and read, and one that looks up a secret, meet three rotations: no call fails."""
    blobs = S3Blobs(settings_of(aws))
    secrets = AwsSecrets("p/", client_factory(settings_of(aws)))
    done: Counter[int] = Counter()
    ends = threading.Event()

    def work(number: int) -> None:
        while not ends.is_set():
            uri = blobs.uri(f"{number}", f"{done[number]}")
            digest = blobs.put(uri, b"data")
            assert blobs.get(uri, sha256=digest) == b"data"
            assert blobs.stat(uri) is not None
            done[number] += 1

    def look_up() -> None:
        while not ends.is_set():
            assert secrets.fetch(SecretId(key="db")).text == "hidden"
            done[-1] += 1

    with ThreadPoolExecutor(9) as pool:
        tasks = [*(pool.submit(work, number) for number in range(8)), pool.submit(look_up)]
        try:
            for _ in range(ROTATIONS):
                before = Counter(done)
                aws.rotate()
                until(
                    lambda before=before: (
                        all(done[key] >= before[key] + 3 for key in range(-1, 8))  # type: ignore[misc]  # bound now
                        or any(task.done() for task in tasks)
                    ),
                    60,
                )
        finally:
            ends.set()
        for task in tasks:
            task.result()
    assert blobs.delete_prefix("s3://bucket/0/") == done[0]


def test_keys_of_a_process_are_exchanged(
    aws: AwsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`credential_process` is asked anew."""
    script = tmp_path / "keys.py"
    script.write_text(
        "import configparser, json, sys\n"
        "found = configparser.ConfigParser(); found.read(sys.argv[1]); keys = found['default']\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': keys['aws_access_key_id'],"
        " 'SecretAccessKey': keys['aws_secret_access_key']}))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script} {aws.file}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    blobs = S3Blobs(settings_of(aws))
    blobs.put(blobs.uri("a"), b"1")
    aws.rotate()
    blobs.put(blobs.uri("a"), b"2")
    assert blobs.get(blobs.uri("a")) == b"2"


def test_keys_that_stay_refused_are_told(aws: AwsServer) -> None:
    """Where there are no others the refusal is raised, at once; a file that comes later is read without a restart."""
    blobs = S3Blobs(settings_of(aws))
    secrets = AwsSecrets("p/", client_factory(settings_of(aws)))
    blobs.put(blobs.uri("a"), b"1")
    secrets.fetch(SecretId(key="db"))
    good = aws.file.read_text()
    aws.rotate()
    later = aws.file.read_text()
    for text in (
        good,
        "",
        "[default]\naws_access_key_id = half",
    ):  # the old keys; a file that is being written
        aws.file.write_text(text)
        with pytest.raises(BlobUnavailable, match="refuses our credentials"):
            blobs.get(blobs.uri("a"))
        with pytest.raises(SecretUnavailable):
            secrets.fetch(SecretId(key="db"))
    aws.file.write_text(later)
    assert blobs.get(blobs.uri("a")) == b"1"
    assert secrets.fetch(SecretId(key="db")).text == "hidden"


@pytest.mark.parametrize(
    ("encryption", "key", "told"),
    [("AES256", "", "AES256"), ("aws:kms", "", "aws:kms"), ("aws:kms", "alias/ours", "aws:kms")],
)
def test_objects_are_encrypted_as_the_settings_say(
    aws: AwsServer, encryption: str, key: str, told: str
) -> None:
    """Each object bears the encryption asked for, and the key."""
    settings = Settings.from_env(
        {"RECONCILER_S3_ENCRYPTION": encryption, "RECONCILER_S3_KMS_KEY": key},
        s3_endpoint=aws.url, s3_bucket="bucket", s3_region=REGION,
    )  # fmt: skip
    blobs = S3Blobs(settings)
    blobs.put(blobs.uri("a"), b"1", overwrite=False)
    found = aws.client("s3").head_object(Bucket="bucket", Key="a")
    assert found["ServerSideEncryption"] == told
    assert found.get("SSEKMSKeyId", "") in ({key} if key else {"", found.get("SSEKMSKeyId", "")})
    assert blobs.get(blobs.uri("a")) == b"1"


class _NoChecksums(BaseHTTPRequestHandler):
    """Passes requests on, but for those with a header that older servers do not know."""

    upstream: str

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        modern = [
            name for name in self.headers if name.lower().startswith(("x-amz-checksum", "x-amz-sdk-check"))
        ]
        if modern:
            return self._answer(
                501, {}, b"<Error><Code>NotImplemented</Code><Message>header</Message></Error>"
            )
        line = HTTPConnection(self.upstream, timeout=10)
        with closing(line):
            line.request(self.command, self.path, body, dict(self.headers))
            answer = line.getresponse()
            return self._answer(answer.status, dict(answer.getheaders()), answer.read())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815  # names of http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def old_server(aws: AwsServer) -> Iterator[str]:
    """A server that knows no checksum headers."""
    handler = type("Handler", (_NoChecksums,), {"upstream": aws.url.removeprefix("http://")})
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_without_checksum_headers_can_be_used(old_server: str) -> None:
    """With `RECONCILER_S3_CHECKSUM=none` every verb works where the headers are refused; else doctor tells the fault."""
    given = {"s3_endpoint": old_server, "s3_bucket": "bucket", "s3_region": REGION}
    assert any("nothing can be written" in text for text in S3Blobs(Settings(**given)).check())  # type: ignore[arg-type]  # fields of Settings
    blobs = S3Blobs(Settings.from_env({"RECONCILER_S3_CHECKSUM": "none"}, **given))
    assert [text for text in blobs.check() if "ignores conditional writes" not in text] == []
    digest = blobs.put(blobs.uri("a", "b"), b"1")
    assert blobs.get(blobs.uri("a", "b"), sha256=digest) == b"1"
    assert blobs.delete_prefix(blobs.uri("a")) == 1
