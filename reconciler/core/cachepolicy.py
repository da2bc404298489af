"""Read how a task lets its results be served again: `@env.task(cache=…)`."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from reconciler.api.errors import InvalidSpec
from reconciler.api.template import TaskMetadata
from reconciler.api.texts import check_text
from reconciler.core.validation import LIMITS

AUTO = "auto"
DISABLE = "disable"
OVERRIDE = "override"


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """A cache for the results of a task. Calls share results iff task, signature, version and inputs are the same.

    Attributes:
        version: change it when old results must not be served any more; empty: a digest of the function's source, which
            does not cover the functions it calls.
        serialize: of equal calls at the same time only one runs, and the others wait for its result.
        ignored_inputs: parameters that do not count.
        override: nothing is looked up; the result replaces the stored one.
    """

    version: str = ""
    serialize: bool = False
    ignored_inputs: tuple[str, ...] = ()
    override: bool = False


def policy_of(cache: str | Cache, source: str, parameters: Collection[str]) -> Cache | None:
    """Read `cache=…` for one function; None when it is not cached.

    Args:
        cache: `auto`, `disable`, `override` (`auto` that replaces), any other text as the version, or a policy.
        source: digest of the function's source; empty when it cannot be read.
        parameters: names of the function's parameters.

    Raises:
        InvalidSpec: there is no version, it is too long, or an ignored input is no parameter.
    """
    if cache == DISABLE:
        return None
    policy = cache if isinstance(cache, Cache) else _shorthand(cache)
    version = check_text("the version of a cache", policy.version or source)
    problems = []
    if not version:
        problems.append("its source cannot be read, so name a version: cache='v1'")
    if len(version) > LIMITS["cache_key"]:
        problems.append(
            f"its version has {len(version)} characters, at most {LIMITS['cache_key']} are allowed"
        )
    unknown = [name for name in policy.ignored_inputs if name not in parameters]
    if unknown:
        problems.append(
            f"ignored_inputs names {', '.join(unknown)}, its parameters are {', '.join(parameters) or 'none'}"
        )
    if problems:
        raise InvalidSpec("this task cannot be cached: " + "; ".join(problems))
    return msgspec.structs.replace(policy, version=version)


def _shorthand(cache: str) -> Cache:
    if not cache:
        raise InvalidSpec(
            "this task cannot be cached: cache='' says nothing; write 'auto', 'disable' or a version"
        )
    if cache == OVERRIDE:
        return Cache(override=True)
    return Cache() if cache == AUTO else Cache(version=cache)


def with_policy(metadata: TaskMetadata, policy: Cache | None) -> TaskMetadata:
    """Add what was declared about the cache to the policies of a task."""
    if policy is None:
        return metadata
    return msgspec.structs.replace(
        metadata,
        discoverable=True,
        discovery_version=policy.version,
        cache_serializable=policy.serialize,
        cache_ignore_input_vars=policy.ignored_inputs,
        cache_override=policy.override,
    )
