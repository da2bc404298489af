"""All settings, read from the environment once, into one frozen record.

Every variable starts with `RECONCILER_`. Durations are seconds unless the value says otherwise (`90`, `10s`,
`5m`, `2h`, `7d`). A wrong value never gets a default: `Settings.from_env` reports all mistakes at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from reconciler.address import OPTIONS, mask, read_redis, scheme_of
from reconciler.api.bounds import out_of_bounds
from reconciler.api.errors import InvalidSettings, ReconcilerError
from reconciler.api.logins import read_login
from reconciler.api.names import check_name
from reconciler.api.places import is_bucket, path_problem
from reconciler.api.queues import check_queue, read_weight
from reconciler.api.resource import read_units
from reconciler.api.secret import read_provider
from reconciler.api.webhook import read_allowed

PREFIX = "RECONCILER_"
Durability = Literal["fast", "safe"]
Encryption = Literal["", "AES256", "aws:kms", "aws:kms:dsse"]
Checksum = Literal["sha256", "none"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an installation. Each field is the variable `RECONCILER_<FIELD>` (upper case).

    Durations are `timedelta`; sizes are bytes.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Where the records live: Redis >= 7 or Valkey, `redis://` or `rediss://`, persistent, `noeviction`."""
    broker_url: str = ""
    """Celery's broker. Empty: the same server as `redis_url`."""
    key_prefix: str = "cr"
    """First part of every Redis key, so that two installations can share a server."""
    shards: int = 16
    """Number of shards; fixed when the data set is first used (decision 0003)."""
    durability: Durability = "fast"
    """`fast`: the AOF may be fsynced once a second. `safe`: each accepted write is fsynced (docs/guarantees.md)."""
    confirm_replicas: int = 0
    """Replicas that must have a write before it counts, in `safe`; 0: one, if there is any at the first write."""

    s3_endpoint: str = ""
    """URL of an S3 server; empty: AWS. Credentials come from the environment, as boto3 reads them."""
    s3_bucket: str = "reconciler"
    s3_prefix: str = ""
    """Folder inside the bucket for all objects."""
    s3_region: str = "us-east-1"
    s3_encryption: Encryption = ""
    """How the server encrypts each object (SSE-S3: `AES256`, SSE-KMS: `aws:kms`); empty: as its bucket says."""
    s3_kms_key: str = ""
    """Key of `aws:kms`; empty: the one of the account."""
    s3_checksum: Checksum = "sha256"
    """`none` for servers that refuse `x-amz-checksum` headers; what is read is then checked by the record's digest alone."""
    buckets: tuple[str, ...] = ()
    """Further buckets that inputs and outputs of actions may lie in, where a submission names them."""

    project: str = "default"
    domain: str = "development"
    namespace: str = "flyte"
    """Namespace of all records; part of the sharded output path (R9, R65)."""
    cluster: str = ""
    """Name of this installation, copied into events (R8)."""

    imports: tuple[str, ...] = ()
    """Modules with the functions attempts may run, comma-separated, as Celery's `imports`."""
    import_timeout: timedelta = timedelta(seconds=60)
    """How long a process of functions may take to import those modules."""
    plugins: tuple[str, ...] = ()
    """Modules with a plugin of yours, comma-separated; each has a `PluginEntry` named `ENTRY`."""
    plugin_routes: tuple[str, ...] = ()
    """Task types that another plugin takes, as in `spark=databricks,echo=core-sleep` (R8)."""
    steps_queue: str = "steps"
    attempts_queue: str = "attempts"

    max_system_failures: int = 3
    """Consecutive system failures an action may have; 0 means 3 (R8)."""
    max_total_system_failures: int = 20
    """System failures in the life of an action, never reset (R27)."""
    requeue_duration: timedelta = timedelta(seconds=10)
    """How soon an action is looked at again when nothing wakes it; <= 0 means 10 s (R8)."""
    max_concurrent_reconciles: int = 512
    """Actions a process reconciles at a time, over all shards and threads (R2)."""
    step_lease: timedelta = timedelta(seconds=10)
    """How long a step may hold an action before another may take it."""
    step_batch: int = 100
    """Actions a step claims at once."""
    step_budget: timedelta = timedelta(seconds=2)
    """How long a step goes on claiming before it makes room and re-enqueues itself."""
    max_countdown: timedelta = timedelta(seconds=15)
    """Longest countdown of a wake-up message; later times wait in the due index alone."""
    attempt_lease: timedelta = timedelta(seconds=6)
    """How long a silent attempt counts as alive. Renewed by heartbeat at a quarter of it."""
    abort_grace: timedelta = timedelta(seconds=5)
    """Between asking a running function to stop and killing its process."""
    suspend_after: timedelta = timedelta(seconds=1)
    """How long a function that only waits keeps its worker before it is suspended."""
    unknown_function_patience: timedelta = timedelta(minutes=10)
    """How long living workers may lack a function that waits in their queue, or its secrets, until its action fails."""
    fair_weights: tuple[str, ...] = ()
    """Weights of fair keys, for whom workers take turns: `etl=3` is served three times as often as one that is not named."""
    quotas: tuple[str, ...] = ()
    """Units of each resource with a quota, as in `gpu=4,db=10` (R70)."""
    quota_lease: timedelta = timedelta(seconds=60)
    """How long a unit stays leased to an action nobody looks at. Renewed at a third of it."""
    secrets: tuple[str, ...] = ()
    """Where secrets are looked up, in order: `env`, `files:/folder`, `aws:prefix/`; nowhere when empty (R71)."""
    callback_secret_file: str = ""
    """File with the secret callback tokens are signed with; without one no webhook is called (R53)."""
    webhook_allow: tuple[str, ...] = ()
    """Networks and host names webhooks may be at although they are not public (R53)."""
    max_cleanup_tries: int = 10
    """Tries of abort and finalize before an action ends as `cleanup failed` (R41)."""
    cleanup_patience: timedelta = timedelta(hours=1)
    """How long a plugin may answer that it is still stopping, before that counts as `cleanup failed` too (R41)."""

    inline_limit: int = 4096
    """Inputs up to this size ride in the record instead of S3, outputs up to it ride there beside S3."""
    pack_outputs: int = 0
    """Outputs up to this size of sibling calls that a worker ran together share an object; 0: an object each."""
    max_object_size: int = 64 * 1024 * 1024
    """Largest inputs or outputs that are stored."""
    retention: timedelta = timedelta(hours=1)
    """How long an ended action is kept (`gc.maxTTL`, R8)."""
    collect_objects: bool = False
    """Whether inputs, outputs and logs in S3 go with the record; those of cached tasks stay."""
    events_retention: timedelta = timedelta(days=1)
    """How long the results channel keeps an event."""
    archive: timedelta = timedelta(days=30)
    """How long an ended run can be read from the archive in S3; 0: there is none (docs/archive.md)."""
    events_exchange: str = ""
    """Topic exchange of kombu that every event is forwarded to; empty: none."""
    events_exchange_url: str = ""
    """RabbitMQ, Redis or Valkey with that exchange. Empty: Celery's broker."""
    cache_retention: timedelta = timedelta(days=30)
    """How long the catalog keeps an entry; 0 = for ever."""
    cache_max_age: timedelta = timedelta(0)
    """Oldest entry of the catalog that is served; 0 = any (R50)."""
    cache_max_heartbeat: timedelta = timedelta(seconds=10)
    """Longest heartbeat of a reservation, unless the requeue duration is longer; <= 0 means 10 s (R51)."""
    cache_heartbeat_grace: int = 3
    """Heartbeats that fit into the lease of a reservation; <= 0 means 3 (R51)."""
    connect_timeout: timedelta = timedelta(seconds=3)
    socket_timeout: timedelta = timedelta(seconds=5)
    consumer_patience: timedelta = timedelta(seconds=30)
    """How long a worker may hear nothing from a Redis broker that answers others, before it ends itself; 0 = for ever."""

    metrics_port: int = 0
    """Where a worker serves its metrics; 0: nowhere. Each worker of a host needs a port of its own."""
    metrics_address: str = "127.0.0.1"
    """Address the metrics are served on. They have no login."""
    flower_projects: tuple[str, ...] = ()
    """Which projects a login of Flower sees, as in `ada=photos+shop,*@example.com=photos,root=*`; empty: each sees all."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **given: object) -> Settings:
        """Read the settings.

        Args:
            env: variables to read; the process's own when not given.
            given: values that win over the environment.

        Raises:
            InvalidSettings: lists every unreadable or contradictory value and every unknown variable.
        """
        source = os.environ if env is None else env
        problems: list[str] = []
        values: dict[str, object] = {}
        hints = get_type_hints(cls)
        for key, text in source.items():
            if not key.startswith(PREFIX):
                continue
            name = key[len(PREFIX) :].lower()
            if name not in hints:
                problems.append(f"{key} is not a setting (docs/operations.md lists them)")
                continue
            try:
                values[name] = _read(hints[name], text)
            except ValueError as error:
                problems.append(f"{key}={text!r}: {error}")
        settings = cls(**{**values, **given})  # type: ignore[arg-type]  # checked by hint above
        problems += settings.problems()
        if problems:
            raise InvalidSettings(problems)
        return settings

    def problems(self) -> list[str]:
        """List all contradictions between the values, as sentences; empty when there are none (R8)."""
        found: list[str] = []
        if self.max_system_failures < 0:
            found.append(f"executor: maxSystemFailures must be non-negative, got {self.max_system_failures}")
        if self.requeue_duration < timedelta(0):
            found.append(
                f"executor: requeueDuration must not be negative, got {self.requeue_duration.total_seconds():g}s"
            )
        found += out_of_bounds(PREFIX, msgspec.structs.asdict(self))
        found += self._contradictions()
        found += self._place_problems()
        found += self._unreadable_url()
        for name in ("project", "domain", "namespace", "steps_queue", "attempts_queue", "key_prefix"):
            try:
                check_name(name, getattr(self, name), 63)
                if name.endswith("_queue"):
                    check_queue(getattr(self, name), name)
            except ReconcilerError as error:
                found.append(f"{PREFIX}{name.upper()}: {error}")
        return found + self._exchange_problems() + self._unreadable()

    def __repr__(self) -> str:
        """Show every value that is not the default; passwords of URLs are masked."""
        shown = (
            f"{name}={mask(value) if isinstance(value, str) and '://' in value else value!r}"
            for name, value in msgspec.structs.asdict(self).items()
            if value != getattr(_DEFAULTS, name)
        )
        return f"Settings({', '.join(shown)})"

    def _unreadable_url(self) -> list[str]:
        if scheme_of(self.redis_url) not in OPTIONS:
            return [f"{PREFIX}REDIS_URL must start with redis://, rediss://, unix:// or sentinel://"]
        try:
            read_redis(self.redis_url)
        except ValueError as error:
            return [f"{PREFIX}REDIS_URL {mask(self.redis_url)!r} cannot be used: {error}"]
        return []

    def _place_problems(self) -> list[str]:
        """List what keeps objects from having an address."""
        found = [] if self.s3_bucket else ["RECONCILER_S3_BUCKET must not be empty"]
        folder = self.s3_prefix.strip("/")
        if folder and (problem := path_problem(folder)):
            found.append(f"RECONCILER_S3_PREFIX={self.s3_prefix!r} {problem}")
        found += [
            f"RECONCILER_BUCKETS: {name!r} is no name of a bucket; write the names alone, separated by commas"
            for name in self.buckets
            if not is_bucket(name)
        ]
        return found

    def _exchange_problems(self) -> list[str]:
        name, found = self.events_exchange, []
        if self.events_exchange_url and not name:
            found.append(
                f"{PREFIX}EVENTS_EXCHANGE_URL is set, but no exchange is named; set {PREFIX}EVENTS_EXCHANGE too"
            )
        if name:
            try:
                check_name("events_exchange", name, 50)
            except ReconcilerError as error:
                found.append(f"{PREFIX}EVENTS_EXCHANGE: {error}")
        if name.startswith("amq."):
            found.append(f"{PREFIX}EVENTS_EXCHANGE must not start with 'amq.', which RabbitMQ keeps")
        if name and name in {self.steps_queue, self.attempts_queue}:
            found.append(f"{PREFIX}EVENTS_EXCHANGE must not be the name of a queue: its exchange has it")
        return found

    def _contradictions(self) -> list[str]:
        """List values that contradict each other."""
        found: list[str] = []
        if self.confirm_replicas and self.durability != "safe":
            found.append(
                "RECONCILER_CONFIRM_REPLICAS works with RECONCILER_DURABILITY=safe only: set both or none"
            )
        if self.s3_kms_key and not self.s3_encryption.startswith("aws:kms"):
            found.append(
                "RECONCILER_S3_KMS_KEY is a key of RECONCILER_S3_ENCRYPTION=aws:kms: set both or none"
            )
        if self.archive and self.archive < self.retention:
            found.append("RECONCILER_ARCHIVE must not be shorter than RECONCILER_RETENTION; 0 turns it off")
        if self.step_budget >= self.step_lease:
            found.append("RECONCILER_STEP_BUDGET must be shorter than RECONCILER_STEP_LEASE")
        if self.inline_limit > self.max_object_size:
            found.append("RECONCILER_INLINE_LIMIT must not exceed RECONCILER_MAX_OBJECT_SIZE")
        if self.steps_queue == self.attempts_queue:
            found.append(
                "RECONCILER_STEPS_QUEUE and RECONCILER_ATTEMPTS_QUEUE must differ: user code would delay steps"
            )
        found += [
            f"RECONCILER_PLUGIN_ROUTES: {text!r} must be written task-type=plugin"
            for text in self.plugin_routes
            if not all(text.partition("="))
        ]
        return found

    def _unreadable(self) -> list[str]:
        """List paths, and entries of lists, that do not have their form."""
        found = []
        if (path := self.callback_secret_file) and not PurePosixPath(path).is_absolute():
            found.append(f"{PREFIX}CALLBACK_SECRET_FILE must be an absolute path")
        readers = (
            ("fair_weights", read_weight),
            ("flower_projects", read_login),
            ("quotas", read_units),
            ("secrets", read_provider),
            ("webhook_allow", read_allowed),
        )
        for name, read in readers:
            for text in getattr(self, name):
                try:
                    read(text)
                except ReconcilerError as error:
                    found.append(f"{PREFIX}{name.upper()}: {error}")
        return found

    def effective_requeue(self) -> timedelta:
        """Return the requeue duration in force: 10 s when the setting is not positive (R8)."""
        return self.requeue_duration if self.requeue_duration > timedelta(0) else timedelta(seconds=10)

    def effective_broker_url(self) -> str:
        """Return the broker in force: the record server unless another one is named."""
        return self.broker_url or self.redis_url

    def effective_exchange_url(self) -> str:
        """Return where events are forwarded to, if they are: Celery's broker unless another server is named."""
        return self.events_exchange_url or self.effective_broker_url()


_DEFAULTS = Settings()
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> timedelta:
    """Read `90`, `90s`, `1.5m`, `2h`, `7d` or `250ms` as a duration; a bare number means seconds.

    Raises:
        ValueError: not of that form.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError("not a duration; write a number with ms, s, m, h or d, as in 10s or 2h")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        raise ValueError("too long; the longest duration is 999999999 days") from None


def _read_bool(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("must be true or false")
    return text == "true"


def _read(hint: Any, text: str) -> object:  # noqa: ANN401  # a type, of which typing has no type
    if hint is timedelta:
        return parse_duration(text)
    if hint is bool:
        return _read_bool(text)
    if hint is int:
        return int(text)
    if get_origin(hint) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise ValueError(f"must be one of {', '.join(filter(None, get_args(hint)))}")
        return text
    return text
