"""Decide which objects are created the quick way, and with which credentials: the link from boto3 to `create`."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from reconciler.settings import Settings
from reconciler.stores.blobs import Address
from reconciler.stores.objects import LARGEST_AT_ONCE
from reconciler.stores.s3.client import ClientSource
from reconciler.stores.s3.create import Created, Creator, Credentials, Place, Signer, place_of


class _Process:
    """The state of one process. A forked child makes its own: sockets and locks belong to the parent."""

    def __init__(self, settings: Settings) -> None:
        self.lock = threading.Lock()
        self.places: dict[str, Place | None] = {}
        self.signers: dict[tuple[str, Credentials], Signer] = {}
        self.creator = Creator(
            connect_timeout=settings.connect_timeout.total_seconds(),
            timeout=settings.socket_timeout.total_seconds(),
        )


class QuickCreates:
    """Creates small objects without boto3 where the result is the same; threads may share it."""

    def __init__(self, settings: Settings, source: ClientSource) -> None:
        self._settings = settings
        self._source = source
        self._processes: dict[int, _Process] = {}
        headers = {
            "x-amz-server-side-encryption": settings.s3_encryption,
            "x-amz-server-side-encryption-aws-kms-key-id": settings.s3_kms_key,
        }
        self._encryption = {name: value for name, value in headers.items() if value}

    def create(self, address: Address, data: bytes) -> Created | None:
        """Create one object, unless something lies there; see `create_many`."""
        return self.create_many([(address, data)])[0]

    def create_many(self, objects: Sequence[tuple[Address, bytes]]) -> list[Created | None]:
        """Create objects side by side, each unless something lies there.

        Returns:
            What became of each; None when nothing was sent, because this one is for boto3.

        Raises:
            BotoCoreError: boto3 is set up in a way that cannot be used.
        """
        found: list[Created | None] = [None] * len(objects)
        if self._settings.s3_checksum == "none":  # a quick one always bears its checksum
            return found
        buckets: dict[str, list[int]] = {}
        for index, (address, data) in enumerate(objects):
            if len(data) <= LARGEST_AT_ONCE:
                buckets.setdefault(address.bucket, []).append(index)
        process = self._processes.setdefault(os.getpid(), _Process(self._settings))
        for bucket, indexes in buckets.items():
            place = self._place(process, bucket)
            credentials = self._credentials() if place is not None else None
            if place is None or credentials is None:
                continue
            signer = self._signer(process, place, credentials)
            keys = [(objects[index][0].key, objects[index][1]) for index in indexes]
            for index, created in zip(indexes, process.creator.create(signer, place, keys), strict=True):
                found[index] = created
        return found

    def _place(self, process: _Process, bucket: str) -> Place | None:
        if bucket not in process.places:
            client, session = self._source.get(), self._source.session()
            authorities = session._session.get_config_variable("ca_bundle")  # noqa: SLF001  # boto3 has no other way to ask
            process.places[bucket] = place_of(
                self._settings.s3_endpoint,
                client.meta.endpoint_url,
                bucket,
                client.meta.region_name,
                authorities,
            )
        return process.places[bucket]

    def _credentials(self) -> Credentials | None:
        found = self._source.session().get_credentials()
        if found is None:
            return None
        frozen = found.get_frozen_credentials()
        if not frozen.access_key or not frozen.secret_key:
            return None
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")

    def _signer(self, process: _Process, place: Place, credentials: Credentials) -> Signer:
        with process.lock:
            signer = process.signers.get((place.host + place.path, credentials))
            if signer is None:
                process.signers = {}  # rotated: the old ones are of no use any more
                signer = process.signers[place.host + place.path, credentials] = Signer(
                    place, credentials, self._encryption
                )
            return signer
