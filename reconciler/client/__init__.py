"""What callers do with actions: submit, watch, wait, abort."""

from reconciler.client.client import Client
from reconciler.client.run import Run

__all__ = ["Client", "Run"]
