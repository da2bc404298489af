"""Offer the verbs of a caller: submit, watch, wait, abort; and follow all of them."""

from reconciler.client.channel import Channel, Reader, key_of
from reconciler.client.client import Client
from reconciler.client.queues import QueueFacts
from reconciler.client.run import Run

__all__ = ["Channel", "Client", "QueueFacts", "Reader", "Run", "key_of"]
