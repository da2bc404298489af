"""Redis store: which worker can run which function."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.stores.known import Known
from reconciler.stores.redis.connect import explain
from reconciler.stores.redis.core import RedisCore
from reconciler.stores.redis.scripts import script


class Functions(RedisCore):
    """tell_functions, find_function."""

    @explain
    def tell_functions(self, worker: str, queue: str, functions: Mapping[str, str], life: int) -> None:
        key = self.keys.functions(queue)
        text = "".join(f"\n{name} {digest}" for name, digest in functions.items()) + "\n"
        script("tell_functions")(self.client, key, key, worker, text, life)

    @explain
    def find_function(self, queue: str, function: str) -> Known:
        key = self.keys.functions(queue)
        workers, since, digests = script("find_function")(self.client, key, key, function)
        return Known(int(workers), int(since), tuple(sorted({digest.decode() for digest in digests})))
