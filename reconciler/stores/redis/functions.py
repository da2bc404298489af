"""Redis store: which worker can run which function."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.stores.known import KEPT, MOST_RELEASES, Found, Known
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.scripts import script


class Functions(RedisCore):
    """The verbs for what workers can run, and what they publish of their functions."""

    @explain
    def tell_functions(self, worker: str, queue: str, functions: Mapping[str, str], life: int) -> None:
        key = self.keys.functions(queue)
        text = "".join(f"\n{name} {digest}" for name, digest in functions.items()) + "\n"
        script("tell_functions")(self.client, key, key, worker, text, life)

    @explain
    def find_function(self, queue: str, function: str) -> Known:
        key = self.keys.functions(queue)
        workers, since, digests, lacks = script("find_function")(self.client, key, key, function)
        return Known(
            int(workers),
            int(since),
            tuple(sorted({digest.decode() for digest in digests})),
            tuple(sorted({name for names in lacks for name in names.decode().split()})),
        )

    @explain
    def publish(self, release: str, documents: Mapping[str, bytes], life: int) -> bool:
        key = self.keys.published
        told = [part for pair in documents.items() for part in pair]
        return bool(script("publish")(self.client, key, key, release, life, KEPT, MOST_RELEASES, *told))

    @explain
    def find_published(self, function: str) -> Found:
        key = self.keys.published
        document, *names = script("find_published")(self.client, key, key, function)
        return Found(document, tuple(sorted({name.decode() for name in names})))
