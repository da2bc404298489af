"""A stack whose workers reach S3 through a proxy that spoils requests, and a client that reaches it directly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
import s3_tasks
from botocore.config import Config
from s3_proxy import FaultyProxy

from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.embedded.stack import Stack
from reconciler.settings import Settings
from reconciler.stores.objects import FOLDER


class Spoilt(msgspec.Struct, frozen=True):
    """The parts of a test.

    Attributes:
        proxy: what stands between the workers and S3.
        stack: servers and workers.
        client: reaches the servers directly, and so sees what is really there.
        s3: boto3's own client, to look at objects and to do harm to them.
    """

    proxy: FaultyProxy
    stack: Stack
    client: Client
    s3: Any

    def objects(self) -> dict[str, int]:
        """Name and size of each object of an action; the mark of the installation stays."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.stack.servers.s3_bucket)
        found = [item for page in pages for item in page.get("Contents", [])]
        return {item["Key"]: item["Size"] for item in found if not item["Key"].startswith(f"{FOLDER}/")}

    def logged(self, words: str) -> int:
        """Count how often these words stand in the logs of the workers."""
        return sum(process.log.read_text().count(words) for process in self.stack.processes.values())


@contextmanager
def spoilt_stack(folder: Path, **env: str) -> Iterator[Spoilt]:
    """Run servers, proxy and workers; `env` are settings of the workers, without their prefix."""
    with EmbeddedServers(folder) as servers, FaultyProxy(servers.s3_endpoint) as proxy:
        given = {f"RECONCILER_{name}": value for name, value in env.items()}
        stack = Stack(
            folder / "workers",
            imports=["s3_tasks"],
            attempts_concurrency=4,
            cwd=Path(__file__).parent,
            env={"RECONCILER_S3_ENDPOINT": proxy.endpoint, **given},
            servers=servers,
        )
        with stack, pytest.MonkeyPatch.context() as patch:
            for name, value in servers.env().items():
                patch.setenv(name, value)
            direct = {**stack.env(), "RECONCILER_S3_ENDPOINT": servers.s3_endpoint}
            client = Client.from_settings(Settings.from_env(direct))
            s3_tasks.env.client = client
            s3 = boto3.client(
                "s3",
                endpoint_url=servers.s3_endpoint,
                region_name="us-east-1",
                aws_access_key_id=servers.access_key,  # the default session remembers those of an earlier server
                aws_secret_access_key=servers.secret_key,
                config=Config(s3={"addressing_style": "path"}),
            )
            yield Spoilt(proxy, stack, client, s3)
            s3.close()
