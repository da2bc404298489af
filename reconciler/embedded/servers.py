"""Valkey and S3 on this machine, for as long as this process lives."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from reconciler.api.errors import ReconcilerError
from reconciler.embedded.folder import DataFolder
from reconciler.embedded.processes import ManagedProcess, await_ready, stop_all
from reconciler.embedded.seaweed import S3Server
from reconciler.embedded.server import START_TIMEOUT, EmbeddedServer
from reconciler.embedded.signed import REGION
from reconciler.embedded.valkey import AppendFsync, ValkeyServer

STOP_TIMEOUT = 3.0
"""Seconds a server may take to end by itself. Being killed costs no data, and `weed` sometimes takes 30 s."""


class EmbeddedServers:
    """Context manager: real servers, on loopback ports, with their data in one folder.

    They end with this process, also when it is killed with SIGKILL; what was stored stays, and a later start
    over the same folder goes on with it. For development and tests: any user of this machine can connect, and
    neither Valkey nor the inner ports of SeaweedFS (master, volume, filer) ask for a key.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        redis: bool = True,
        s3: bool = True,
        appendfsync: AppendFsync = "everysec",
        bucket: str = "reconciler",
    ) -> None:
        """Describe the servers; `start` runs them.

        Args:
            data_dir: folder for data and logs; made when missing.
            redis: whether to run Valkey.
            s3: whether to run the S3 server.
            appendfsync: when Valkey forces its writes to the disk.
            bucket: bucket that is made at the start.
        """
        self.s3_bucket = bucket
        self._folder = DataFolder(Path(data_dir))
        self._appendfsync: AppendFsync = appendfsync
        self._wants_redis = redis
        self._wants_s3 = s3
        self._started = False
        self._valkey: ValkeyServer | None = None
        self._s3: S3Server | None = None

    def start(self) -> None:
        """Start the servers, at the same time, and wait until they serve requests.

        Raises:
            ReconcilerError: they run already, another stack uses the folder, a wheel is missing, or a server
                fails to start (with the end of its log).
        """
        if self._started:
            raise ReconcilerError("these embedded servers run already; stop them first.")
        hold = self._folder.acquire()
        self._started = True
        try:
            if self._wants_s3:
                self._s3 = S3Server(self._folder, hold, bucket=self.s3_bucket)
                self._s3.launch()  # first, since it is the slow one
            if self._wants_redis:
                self._valkey = ValkeyServer(self._folder, hold, appendfsync=self._appendfsync)
                self._valkey.launch()
            for server in self._servers():
                server.await_answer()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the servers (SIGTERM, soon SIGKILL) and give the folder up. Nothing happens when none runs."""
        stop_all(self.processes.values(), STOP_TIMEOUT)
        for server in self._servers():
            for file in server.leftovers():
                file.unlink(missing_ok=True)
        self._valkey = self._s3 = None
        self._folder.release()
        self._started = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def redis_url(self) -> str:
        """`redis://127.0.0.1:PORT/0`."""
        return self._valkey_or_error().url

    @property
    def s3_endpoint(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return self._s3_or_error().endpoint

    @property
    def access_key(self) -> str:
        """Access key id of the S3 server, random for each folder."""
        return self._s3_or_error().credentials.access_key

    @property
    def secret_key(self) -> str:
        """Secret key of the S3 server, random for each folder."""
        return self._s3_or_error().credentials.secret_key

    @property
    def processes(self) -> dict[str, ManagedProcess]:
        """The running programs: `valkey` and `s3`."""
        return {server.name: server.process for server in self._servers()}

    def env(self) -> dict[str, str]:
        """Return the variables with which workers and clients find these servers."""
        found: dict[str, str] = {}
        if self._valkey:
            found["RECONCILER_REDIS_URL"] = self.redis_url
        if self._s3:
            found |= {
                "RECONCILER_S3_ENDPOINT": self.s3_endpoint,
                "RECONCILER_S3_BUCKET": self.s3_bucket,
                "RECONCILER_S3_REGION": REGION,
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret_key,
            }
        return found

    def kill_redis(self) -> None:
        """Send SIGKILL to Valkey, as a crash would end it."""
        self._valkey_or_error().process.kill()

    def start_redis(self) -> None:
        """Start Valkey again on the same port, after `kill_redis`; returns when it answers.

        Raises:
            ReconcilerError: it runs already, or does not start (with the end of its log).
        """
        valkey = self._valkey_or_error()
        valkey.launch()
        await_ready(valkey.process, valkey.answers, START_TIMEOUT)

    def _servers(self) -> list[EmbeddedServer]:
        return [server for server in (self._valkey, self._s3) if server is not None]

    def _valkey_or_error(self) -> ValkeyServer:
        if self._valkey is None:
            raise ReconcilerError(
                "the embedded Valkey server does not run; call start() with redis=True first."
            )
        return self._valkey

    def _s3_or_error(self) -> S3Server:
        if self._s3 is None:
            raise ReconcilerError("the embedded S3 server does not run; call start() with s3=True first.")
        return self._s3
