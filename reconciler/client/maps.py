"""Submit many actions as one run: all at once, or some at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from reconciler.api.action import ActionSpec, TaskAction
from reconciler.api.schedule import Delay, Moment, check_concurrency, schedule
from reconciler.client.remaking import Remaking
from reconciler.client.run import Run
from reconciler.client.submission import group_root, in_group, map_root, plans, stem_of
from reconciler.client.waiting import decode_outputs
from reconciler.core.inheritance import with_inputs_hash
from reconciler.core.members import encode_members
from reconciler.core.results import Results
from reconciler.core.validation import check_types
from reconciler.plugins.group_config import GroupConfig


class Maps(Remaking):
    """The verbs that submit many actions; a part of `Client`."""

    def submit_many(
        self,
        specs: Sequence[ActionSpec],
        *,
        run: str = "",
        idempotency_key: str = "",
        keep_failures: bool = False,
        return_exceptions: bool = False,
        labels: dict[str, str] | None = None,
        priority: int | None = None,
        fair_key: str | Sequence[str] = "",
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
        traceparent: str = "",
        stem: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[list[Any]]:
        """Store many actions as one run, a few hundred in one round trip, below a root that ends when all have.

        They are stored in pieces. If the client dies half way, the same call with the same `idempotency_key` stores the
        rest, within two minutes; after that the root fails as `IncompleteSubmission`, and a new key is needed.

        Args:
            specs: children `m0`, `m1`, … in order; their identity fields are filled. Without any, the root ends at once.
            run: name of the run; a new one when empty.
            idempotency_key: names this submission; not with `run`, which does the same.
            keep_failures: the root succeeds even when children do not; read them with `Run.outcomes`.
            return_exceptions: keep failures; the result has the error of a child in its place, instead of raising it.
            labels: attached to each record.
            priority: of each child, as for `submit`.
            countdown: of each child, as for `submit`.
            eta: of each child, as for `submit`.
            expires: of each child, as for `submit`.
            traceparent: of all, as for `submit`.
            fair_key: of all children, or one for each.
            stem: what the run is named after; the first spec by default.
            decode: reads the outputs of one child.

        Raises:
            As `submit`.
        """
        for spec in specs:
            check_types(spec)
        seed = self._seed(run, stem or stem_of(specs), idempotency_key)
        root = group_root(seed, len(specs), keep_failures=keep_failures or return_exceptions)
        names = (in_group(seed, spec, index) for index, spec in enumerate(specs))
        common = fair_key if isinstance(fair_key, str) else ""
        plan = schedule(priority=priority, fair_key=common, countdown=countdown, eta=eta, expires=expires)
        children = [
            self._door.admit(with_inputs_hash(spec), labels, schedule=own, traceparent=traceparent)
            for spec, own in zip(names, plans(plan, fair_key, len(specs)), strict=True)
        ]
        plan = schedule(priority=priority)
        actions = [self._door.admit(root, labels, schedule=plan, traceparent=traceparent), *children]
        self._limits.check(actions)
        return self._stored(actions, len(specs), decode, return_exceptions=return_exceptions)

    def submit_map(
        self,
        spec: ActionSpec,
        items: Sequence[bytes],
        *,
        concurrency: int,
        run: str = "",
        idempotency_key: str = "",
        keep_failures: bool = False,
        return_exceptions: bool = False,
        labels: dict[str, str] | None = None,
        priority: int | None = None,
        fair_key: str | Sequence[str] = "",
        countdown: Delay | None = None,
        eta: datetime | None = None,
        expires: Moment | None = None,
        traceparent: str = "",
        stem: str = "",
        decode: Callable[[bytes], Any] | None = None,
    ) -> Run[Results[Any]]:
        """Store one action that starts many of a kind itself, a few at a time, and ends when all have ended (R90).

        The inputs of all members are stored at once, as one object, so a client that dies leaves nothing half done. After
        the first failure no further member is started, unless failures are kept.

        Args:
            spec: what each member does, without inputs.
            items: inputs of each member, JSON documents.
            concurrency: how many members may be open at a time, 1 or more.
            run: as for `submit_many`.
            idempotency_key: as for `submit_many`.
            keep_failures: go on after failures, and succeed.
            return_exceptions: keep failures; the result has the error of a member in its place, instead of raising it.
            labels: attached to each record.
            priority: of each member, as for `submit`.
            fair_key: of all members, or one for each.
            countdown: as for `submit`; from the submission on.
            eta: as for `submit`.
            expires: as `countdown`.
            traceparent: of all, as for `submit`.
            stem: what the run is named after.
            decode: reads the outputs of one member.

        Raises:
            As `submit`.
        """
        check_types(spec)
        common = fair_key if isinstance(fair_key, str) else ""
        plan = schedule(priority=priority, fair_key=common, countdown=countdown, eta=eta, expires=expires)
        keys = [] if common == fair_key else [one.fair_key for one in plans(plan, fair_key, len(items))]
        keeps, most = keep_failures or return_exceptions, check_concurrency(concurrency)
        config = GroupConfig(expected=len(items), keep_failures=keeps, concurrency=most)
        seed = self._seed(run, stem or stem_of([spec]), idempotency_key)
        root = map_root(seed, config, encode_members(spec, items, plan, keys), spec)
        own = schedule(priority=priority)
        action = self._door.admit(root, labels, schedule=own, traceparent=traceparent)
        first = in_group(seed, msgspec.structs.replace(spec, inputs=items[0] if items else b"{}"), 0)
        member = self._door.admit(first, labels, schedule=plan)
        self._limits.check([action, *[member] * min(most, len(items))])
        return self._stored([action], len(items), decode, return_exceptions=return_exceptions, lazy=True)

    def _seed(self, run: str, stem: str, key: str) -> ActionSpec:
        return self._door.complete(ActionSpec(run_name=run, short_name=stem), key)

    def _stored(
        self,
        actions: Sequence[TaskAction],
        members: int,
        decode: Callable[[bytes], Any] | None,
        *,
        return_exceptions: bool,
        lazy: bool = False,
    ) -> Run[Any]:
        """Store the root of a group and what comes with it; return its handle."""
        incarnation = self._storing.store(actions, by=self.who())
        return Run(
            self,
            actions[0].id,
            decode or decode_outputs,
            members=members,
            incarnation=incarnation,
            lazy=lazy,
            return_exceptions=return_exceptions,
        )
