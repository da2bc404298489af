"""Objects in S3, or in a server that speaks its language.

Promises, beyond `BlobStore`: no call waits for ever, also when the server is frozen (`ATTEMPTS` tries, each
bounded by the connect and socket timeouts); what is read is what was written, by the digest asked for and by
the checksum the server keeps; a create-once write whose answer was lost is recognised as our own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError

from reconciler.api.errors import BlobCorrupt, BlobExists, BlobNotFound, BlobUnavailable, InvalidInput
from reconciler.api.transition import OutputRef
from reconciler.core.layout import Part
from reconciler.settings import Settings
from reconciler.stores import blobs
from reconciler.stores.objects import LARGEST_AT_ONCE, BlobStat, Found
from reconciler.stores.outage import problem_of, status_of
from reconciler.stores.s3.check import writing_problems
from reconciler.stores.s3.client import ATTEMPTS, ClientSource
from reconciler.stores.s3.create import Created
from reconciler.stores.s3.errors import (
    CUT,
    MISSING,
    code_of,
    explained,
    safe_endpoint,
    was_retried,
)
from reconciler.stores.s3.quick import QuickCreates

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        GetObjectRequestTypeDef,
        ObjectIdentifierTypeDef,
        PutObjectRequestTypeDef,
    )

PAGE = 1000
"""Most objects S3 lists, and deletes, in one request."""


class Listed(NamedTuple):
    """An object of a list: its key, its size in bytes, and when it was written, seconds since the epoch."""

    key: str
    size: int
    at: float


class S3Blobs:
    """A `BlobStore` over boto3. Threads may share it; forked children may go on using it.

    Nothing is sent before the first verb. Each verb also takes URIs of other buckets.
    """

    def __init__(self, settings: Settings) -> None:
        self.endpoint = settings.s3_endpoint
        self.bucket = settings.s3_bucket
        self._prefix = settings.s3_prefix
        self._source = ClientSource(settings)
        self._quick = QuickCreates(settings, self._source)
        self._encryption, self._kms_key = settings.s3_encryption, settings.s3_kms_key
        self._checksum = settings.s3_checksum == "sha256"
        self._seen: set[str] = set()

    def put(self, uri: str, data: bytes, *, overwrite: bool = True) -> str:
        """Write an object; return its SHA-256 in hex.

        Raises:
            BlobExists: `overwrite` is false and an object lies there that we did not write.
            BlobUnavailable: the server does not answer, or refuses us; the object may be there nevertheless.
            InvalidInput: the URI is none.
        """
        address = blobs.parse_uri(uri)
        with self._explained(address):
            if overwrite:
                self._send(address, data, overwrite=True)
            else:
                self._create(address, data)
        return blobs.digest_of(data)

    def create_many(self, objects: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Write small objects side by side; see `BlobStore.create_many`. Those for boto3 one by one, until one fails."""
        try:
            made = self._quick.create_many([(blobs.parse_uri(uri), data) for uri, data in objects])
        except (BotoCoreError, InvalidInput):
            return [False] * len(objects)
        done = [one is Created.DONE for one in made]
        with suppress(BlobExists, BlobUnavailable):
            for index, (uri, data) in enumerate(objects):
                if made[index] is None and len(data) <= LARGEST_AT_ONCE:
                    self.put(uri, data, overwrite=False)
                    done[index] = True
        return done

    def get(self, uri: str, *, sha256: str = "", limit: int = 0) -> bytes:
        """Read an object of at most `limit` bytes (0 = any); a larger one is refused before it is read.

        Raises:
            BlobNotFound: there is none.
            BlobCorrupt: the digest differs from `sha256` or from the one stored, or the object is larger than
                `limit`.
            BlobUnavailable: the server or the bucket does not answer, or refuses us.
            InvalidInput: the URI is none.
        """
        address, part = blobs.parse_readable(uri)
        with self._explained(address):
            return blobs.verified(uri, self._read(address, limit, part), sha256)

    def get_many(self, refs: Sequence[OutputRef], *, limit: int = 0, workers: int = 16) -> list[bytes]:
        """Read the bytes of many references, concurrently, in the order asked; as `stores.blobs.get_many`."""
        return blobs.get_many(self, refs, limit=limit, workers=workers)

    def stat(self, uri: str) -> BlobStat | None:
        """Return the size of an object; None when there is none.

        Raises:
            BlobUnavailable: the server or the bucket does not answer, or refuses us.
            InvalidInput: the URI is none.
        """
        address, part = blobs.parse_readable(uri)
        with self._explained(address):
            try:
                answer = self._source.call(
                    lambda client: client.head_object(Bucket=address.bucket, Key=address.key)
                )
            except ClientError as error:
                if code_of(error) not in MISSING:
                    raise
                self._need_bucket(address.bucket)
                return None
            return blobs.stat_of(part, answer["ContentLength"])

    def delete_prefix(self, uri: str) -> int:
        """Remove all objects below a folder; return how many.

        Raises:
            BlobUnavailable: the server does not answer, or refuses us; some may have been removed.
            InvalidInput: the URI is none, or names a whole bucket.
        """
        folder = blobs.parse_folder(uri)
        deleted = 0
        before: list[str] = []
        with self._explained(folder):
            # Always the first page: not all servers can go on with a listing that shrinks meanwhile.
            while keys := self._first_page(folder):
                if keys == before:
                    raise BlobUnavailable(
                        f"S3 at {safe_endpoint(self.endpoint)} says it deleted {folder}, but still lists "
                        f"{keys[0]!r}. Look at the server, and at locks or rules of the bucket."
                    )
                self._delete(folder.bucket, keys)
                deleted += len(keys)
                before = keys
        return deleted

    def find(self, start: str, *, after: str = "") -> list[Found]:
        """Find the next objects whose URI starts with `start`; see `BlobStore.find`.

        Raises:
            InvalidInput: a URI is none.
        """
        prefix = blobs.parse_uri(start)
        behind = blobs.parse_uri(after).key if after else ""
        with self._explained(prefix):
            page = self._source.call(
                lambda client: client.list_objects_v2(
                    Bucket=prefix.bucket, Prefix=prefix.key, StartAfter=behind, MaxKeys=PAGE
                )
            )
        return [
            Found(f"s3://{prefix.bucket}/{entry['Key']}", entry["Size"], entry["LastModified"].timestamp())
            for entry in page.get("Contents", [])
        ]

    def delete(self, uris: Sequence[str]) -> None:
        """Remove these objects; see `BlobStore.delete`.

        Raises:
            BlobUnavailable: the server does not answer, or refuses us; some may have been removed.
            InvalidInput: a URI is none.
        """
        addresses = [blobs.parse_uri(uri) for uri in uris]
        for start in range(0, len(addresses), PAGE):
            part = addresses[start : start + PAGE]
            with self._explained(part[0]):
                self._delete(part[0].bucket, [address.key for address in part])

    def page(self, after: str = "") -> list[Listed]:
        """List the next 1000 objects of the bucket after a key, in the order of their keys, whoever wrote them."""
        with explained(self.endpoint, self.bucket):
            found = self._source.call(
                lambda client: client.list_objects_v2(Bucket=self.bucket, StartAfter=after, MaxKeys=PAGE)
            )
        return [
            Listed(entry["Key"], entry["Size"], entry["LastModified"].timestamp())
            for entry in found.get("Contents", [])
        ]

    def uri(self, *parts: str) -> str:
        """Write `s3://bucket/prefix/part/part…`, in the bucket and under the prefix of the settings."""
        return blobs.join_uri(self.bucket, self._prefix, *parts)

    def check(self) -> list[str]:
        """List what is wrong with server, bucket or permissions, each a sentence with its remedy; empty: nothing.

        Writes one small object below `.reconciler/` and removes it. Never raises for what it looks for.
        """
        try:
            with explained(self.endpoint, self.bucket):
                self._need_bucket(self.bucket)
        except BlobUnavailable as error:
            return [problem_of(error)]
        return writing_problems(self)

    def _explained(self, address: blobs.Address) -> AbstractContextManager[None]:
        return explained(self.endpoint, address.bucket)

    def _send(self, address: blobs.Address, data: bytes, *, overwrite: bool) -> None:
        request: PutObjectRequestTypeDef = {"Bucket": address.bucket, "Key": address.key, "Body": data}
        if self._encryption:
            request["ServerSideEncryption"] = self._encryption
        if self._kms_key:
            request["SSEKMSKeyId"] = self._kms_key
        if self._checksum:
            request["ChecksumSHA256"] = base64.b64encode(hashlib.sha256(data).digest()).decode()
        if not overwrite:
            request["IfNoneMatch"] = "*"
        self._source.call(lambda client: client.put_object(**request))

    def _create(self, address: blobs.Address, data: bytes) -> None:
        """Write unless something lies there. The status 409 means "in conflict right now", so ask again for a verdict."""
        quick = self._quick.create(address, data)
        if quick is Created.DONE:
            return
        if quick is Created.EXISTS:
            raise blobs.exists(str(address))
        for tries_left in reversed(range(ATTEMPTS if quick is None else ATTEMPTS - 1)):
            try:
                self._send(address, data, overwrite=False)
            except ClientError as error:
                if status_of(error) == 409 and tries_left:
                    continue
                if status_of(error) not in {409, 412}:
                    raise
                sent_before = quick is Created.UNKNOWN or was_retried(error)
                if sent_before and self._holds(address, data):
                    return  # the first copy was carried out, its answer was lost
                raise blobs.exists(str(address)) from error
            return

    def _holds(self, address: blobs.Address, data: bytes) -> bool:
        try:
            return self._read(address, limit=max(len(data), 1)) == data
        except (BlobNotFound, BlobCorrupt):
            return False

    def _read(self, address: blobs.Address, limit: int, part: Part | None = None) -> bytes:
        for tries_left in reversed(range(ATTEMPTS)):
            answer = self._open(address, part)
            with closing(answer["Body"]) as body:
                if part is not None and answer["ContentLength"] != part.size:
                    raise blobs.is_cut(str(part))
                blobs.check_size(str(part or address), answer["ContentLength"], limit)
                try:
                    return body.read()
                except FlexibleChecksumError as error:
                    raise BlobCorrupt(
                        f"{address} does not have the checksum it was written with; run the action again."
                    ) from error
                except CUT:
                    if not tries_left:
                        raise
        raise AssertionError  # not reached: the last try returns or raises

    def _open(self, address: blobs.Address, part: Part | None) -> GetObjectOutputTypeDef:
        request: GetObjectRequestTypeDef = {"Bucket": address.bucket, "Key": address.key}
        if part is not None:
            request["Range"] = f"bytes={part.first}-{part.first + part.size - 1}"
        try:
            return self._source.call(lambda client: client.get_object(**request))
        except ClientError as error:
            if part is not None and status_of(error) == 416:
                raise blobs.is_cut(str(part)) from error
            if code_of(error) in MISSING:
                raise blobs.not_found(str(address)) from error
            raise

    def _first_page(self, folder: blobs.Address) -> list[str]:
        page = self._source.call(
            lambda client: client.list_objects_v2(Bucket=folder.bucket, Prefix=folder.key, MaxKeys=PAGE)
        )
        return [entry["Key"] for entry in page.get("Contents", [])]

    def _delete(self, bucket: str, keys: list[str]) -> None:
        unwanted: list[ObjectIdentifierTypeDef] = [{"Key": key} for key in keys]
        answer = self._source.call(
            lambda client: client.delete_objects(Bucket=bucket, Delete={"Objects": unwanted, "Quiet": True})
        )
        for problem in answer.get("Errors", []):
            raise BlobUnavailable(
                f"S3 at {safe_endpoint(self.endpoint)} did not delete s3://{bucket}/{problem.get('Key')} "
                f"({problem.get('Code')}: {problem.get('Message')}). "
                "Allow s3:DeleteObject to the owner of AWS_ACCESS_KEY_ID."
            )

    def _need_bucket(self, bucket: str) -> None:
        """Tell a missing bucket from a missing object: the answers to HEAD are the same."""
        if bucket in self._seen:
            return
        self._source.call(lambda client: client.head_bucket(Bucket=bucket))
        self._seen.add(bucket)
