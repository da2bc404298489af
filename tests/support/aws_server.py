"""A server that speaks as AWS does and knows its users: keys are made, exchanged and taken away, and then refused."""

from __future__ import annotations

import http.client
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import boto3

from reconciler.embedded.ports import LOOPBACK, listens, pick_ports
from reconciler.embedded.processes import ManagedProcess, await_ready

REGION = "us-east-1"
_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)


class AwsServer:
    """Context manager: moto with its checks of keys and signatures switched on.

    Attributes:
        url: of every service.
        file: with the keys of the user `worker`, as `AWS_SHARED_CREDENTIALS_FILE` names it.
    """

    def __init__(self, folder: Path) -> None:
        [port] = pick_ports(1)
        self.url = f"http://{LOOPBACK}:{port}"
        self.file = folder / "credentials"
        self._folder = folder
        self._port = port
        self._keys: list[str] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self._port)]
        self._process = ManagedProcess("moto", command, log=self._folder / "log", cwd=self._folder)
        self._process.start()
        try:
            await_ready(self._process, lambda: listens(self._port), 60)
            self._make_users()
        except BaseException:
            self._process.stop()
            raise
        return self

    def _make_users(self) -> None:
        nobody = self.client("iam", "nobody", "nothing")
        made = {}
        for name in ("admin", "worker"):
            nobody.create_user(UserName=name)
            nobody.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=_ALL)
            made[name] = nobody.create_access_key(UserName=name)["AccessKey"]
        self._admin = (made["admin"]["AccessKeyId"], made["admin"]["SecretAccessKey"])
        line = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
        with closing(line):
            line.request("POST", "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
            assert line.getresponse().status == 200  # from now on keys and signatures are checked
        self.iam = self.client("iam", *self._admin)
        self._write(made["worker"])

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def client(self, service: str, *keys: str) -> Any:
        """Return a client of a service, with the administrator's keys unless others are given."""
        access, secret = keys or self._admin
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]  # one of many
            endpoint_url=self.url, region_name=REGION, aws_access_key_id=access, aws_secret_access_key=secret,
        )  # fmt: skip

    def rotate(self) -> None:
        """Give the worker's user new keys, then take the old ones away."""
        self._write(self.iam.create_access_key(UserName="worker")["AccessKey"])
        for old in self._keys[:-1]:
            self.iam.delete_access_key(UserName="worker", AccessKeyId=old)
        del self._keys[:-1]

    def _write(self, key: dict[str, str]) -> None:
        self._keys.append(key["AccessKeyId"])
        new = self.file.with_suffix(".new")
        new.write_text(
            f"[default]\naws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
        )
        new.replace(self.file)
