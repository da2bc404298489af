"""Objects in S3 or in a server that speaks its language, and AWS's secrets, whose credentials are the same."""

from reconciler.stores.s3.blobs import S3Blobs

__all__ = ["S3Blobs"]
