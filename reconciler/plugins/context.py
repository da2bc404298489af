"""Define what a plugin is given for one call: the task, its inputs, files, state, and what the installation offers (R63)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from reconciler.api.action import ActionId, ActionSpec, AttemptRecord, Children, TaskAction
from reconciler.api.errors import BadTaskSpecification
from reconciler.api.phase import ActionPhase
from reconciler.api.resource import QuotaLease
from reconciler.api.template import TaskTemplate, parse_template, shared_template, template_or_none
from reconciler.api.tokens import AllocationToken
from reconciler.api.transition import PhaseInfo, waiting_for_resources
from reconciler.core import retries
from reconciler.core.events import observed_attempts
from reconciler.core.line import RELAUNCH, Line, fair_key
from reconciler.core.paths import (
    checkpoint_folder,
    generated_name,
    identity_mark,
    is_relaunch,
    launch_id,
    output_prefix,
    shortened_name,
)
from reconciler.core.progress import resumed
from reconciler.core.spans import attempt_context
from reconciler.plugins.allocation import allocate, why_waiting
from reconciler.plugins.managers import NO_CAPS, Answer, Constraints, ResourceManager, SecretManager
from reconciler.plugins.state import PluginStateManager
from reconciler.stores.base import CreateOutcome
from reconciler.stores.known import Known
from reconciler.stores.objects import BlobStore
from reconciler.stores.outputs import ActionFiles, read_inputs

INLINE_TEMPLATE = "inline://taskTemplate"
_INVALID_LABEL = re.compile(r"[^A-Za-z0-9._-]")
_MAX_SECRETS = 256 * 1024


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """The services that `reconciler.wiring` hands to every context.

    Attributes:
        data_store: objects in S3.
        secret_manager: resolves secrets.
        resource_manager: quotas.
        phases_of: how far actions of a run have come, in the order asked; None for one that is not there.
        ended_below: how many children of an action have ended.
        turns_back: whether a waiting action waits for itself through others, and is the one to break the circle.
        start_members: stores members of a group unless they exist; returns a result for each.
        find_function: which living workers of a queue know a function, at the store's time of the round.
        catalog_client: asynchronous catalog, None when there is none (R52).
        stop_attempt: asks the running attempt of an action to stop, with a reason.
        object_limit: largest object read or written, bytes.
        requeue: the requeue duration, ms.
        patience: how long an action waits for a quota that is not registered, ms.
        installation: tells this installation from others that may use the same service.
    """

    data_store: BlobStore
    secret_manager: SecretManager
    resource_manager: ResourceManager
    stop_attempt: Callable[[TaskAction, str], None]
    phases_of: Callable[[Sequence[ActionId]], list[ActionPhase | None]] = lambda _: []
    ended_below: Callable[[ActionId], int] = lambda _: 0
    turns_back: Callable[[ActionId, Sequence[ActionId]], bool] = lambda *_: False
    start_members: Callable[[Sequence[TaskAction]], list[CreateOutcome]] = lambda _: []
    find_function: Callable[[str, str, int], Known] = lambda *_: Known()
    catalog_client: Any = None
    object_limit: int = 64 * 1024 * 1024
    requeue: int = 10_000
    patience: int = 600_000
    installation: str = ""


class TaskExecutionContext:
    """The view of an action during one call. Expensive parts are made when they are asked for.

    Attributes:
        action: the record of this round.
        files: the objects of this launch.
        state: what the plugin keeps between rounds.
        services: what the installation offers.
        max_name: longest generated name; 0 = any.
        launch_request: what `send` asked for: a launch, and the line it is to stand in.
        asked: units of quotas this call asked for.
    """

    __slots__ = (
        "_template", "action", "asked", "files", "launch_request", "max_name", "services", "state",
    )  # fmt: skip

    def __init__(
        self, action: TaskAction, services: Services, state: PluginStateManager, max_name: int = 0
    ) -> None:
        """Build the context of the current attempt.

        Raises:
            InvalidSpec: the run output base cannot be parsed (R63).
            BadTaskSpecification: a secret is described wrongly (R67).
        """
        self.action = action
        self.services = services
        self.state = state
        self.max_name = max_name
        self.launch_request: tuple[str, str] | None = None
        self.asked: list[QuotaLease] = []
        self._template: TaskTemplate | None = None
        prefix = self._prefix(self.attempt_number, action.status.launches)
        self.files = ActionFiles(services.data_store, prefix, limit=services.object_limit)
        self._check_secrets()

    def _prefix(self, attempt: int, launch: int) -> str:
        metadata, base = self.action.metadata, self.action.spec.run_output_base
        return output_prefix(metadata.namespace, metadata.name, base, self.action.id.action, attempt, launch)

    def _check_secrets(self) -> None:
        template = template_or_none(self.action)
        for secret in template.secrets if template else ():
            if secret.mount not in {"env", "file"}:
                raise BadTaskSpecification(
                    f"secret {secret.key!r}: mount must be env or file, got {secret.mount!r}"
                )

    # -- the task --------------------------------------------------------------------------------------------------
    @property
    def template(self) -> TaskTemplate:
        """The task template: a copy of this call's own, so that changing what it holds changes nothing elsewhere.

        Raises:
            BadTaskSpecification: the stored bytes are no template.
        """
        if self._template is None:
            self._template = self._read(parse_template)
        return self._template

    @property
    def shared_template(self) -> TaskTemplate:
        """The task template as all calls of this process share it: only to be read, and costs nothing.

        Raises:
            BadTaskSpecification: the stored bytes are no template.
        """
        return self._read(shared_template)

    def _read(self, parse: Callable[[bytes], TaskTemplate]) -> TaskTemplate:
        try:
            return parse(self.action.spec.task_template)
        except msgspec.DecodeError as error:
            raise BadTaskSpecification(
                f"the task template of {self.action.id} cannot be read: {error}"
            ) from error

    @property
    def template_path(self) -> str:
        """Return where the template lies: in the record itself (R63)."""
        return INLINE_TEMPLATE

    @property
    def now(self) -> int:
        """The store's time of this round, ms."""
        return self.action.now

    def read_inputs(self) -> bytes:
        """Read the inputs, a JSON document.

        Raises:
            ReadFailed: they cannot be read, or are not those that were submitted.
        """
        return read_inputs(self.services.data_store, self.call_spec, limit=self.services.object_limit)

    @property
    def call_spec(self) -> ActionSpec:
        """The spec with the arguments of the next call: those it was submitted with, or has started over with."""
        spec, over = self.action.spec, self.action.status.start_over
        if over is None:
            return spec
        return msgspec.structs.replace(
            spec, inputs=over.inputs, input_uri=over.uri, inputs_digest=over.sha256
        )

    # -- the attempt -----------------------------------------------------------------------------------------------
    @property
    def attempt_number(self) -> int:
        """The current attempt, from 1."""
        return observed_attempts(self.action)

    @property
    def previous_checkpoint_prefix(self) -> str:
        """Tell where the attempt before this one left its checkpoints; empty in the first one (R66).

        It is the folder of that attempt's last launch: a relaunch after a system failure has its own folder (R29).
        """
        before = self.attempt_number - 1
        return checkpoint_folder(self._prefix(before, self.action.status.previous_launches)) if before else ""

    @property
    def max_attempts(self) -> int:
        """Template retries + 1 (R31)."""
        return retries.max_attempts(template_or_none(self.action))

    @property
    def launch(self) -> str:
        """Return the name of the launch that may report; it changes with each attempt and each relaunch (R29)."""
        return launch_id(self.attempt_number, self.action.status.launches)

    @property
    def attempt(self) -> AttemptRecord:
        """Return what the store knows of the launch."""
        return self.action.attempt

    @property
    def children(self) -> Children:
        """Counts of the child actions."""
        return self.action.children

    def send(self, queue: str, task: str = "", *, alone: bool = False) -> None:
        """Put this launch into a line of a queue, once this round is stored. A relaunch goes before all new launches.

        Args:
            queue: its name.
            task: name of what is to run; by default that of the action's spec.
            alone: whether a worker draws it by itself, not together with others.
        """
        metadata, spec, again = self.action.metadata, self.action.spec, is_relaunch(self.launch)
        line = Line(
            queue,
            RELAUNCH if again else metadata.priority,
            alone or again,
            fair_key(metadata.fair_key or self.action.id.project),
            task or spec.short_name or spec.task_type,
        )
        self.launch_request = (self.launch, line.name)

    def resume(self, suspended_at: int) -> None:
        """Continue the attempt in another launch, which `launch` names from now on. No budget is charged.

        Args:
            suspended_at: since when it has waited, ms: that time counts as no run.
        """
        self.action.status = resumed(self.action.status, self.attempt, suspended_at, self.now)

    # -- quotas and secrets (R70, R71) --------------------------------------------------------------------------
    def allocate(self, namespace: str, units: int = 1, constraints: Constraints = NO_CAPS) -> Answer:
        """Ask for units of a resource for this launch, all or none; call it in each round until they are granted.

        The record remembers the token: from then on the engine renews its lease with each round, has the action looked at
        before the lease ends, and gives the units back when the launch is stopped or the action has ended, whatever the
        plugin does. Ask for one resource only, or always in the same order: holding one while waiting for another can
        make two actions wait for each other.

        Returns:
            The answer; unless it is granted, return `Transition(ctx.wait_for(namespace, answer))`.

        Raises:
            QuotaUnknown: no such quota was registered for as long as the installation waits for one.
            BadTaskSpecification: more units than there are, or none.
            StoreUnavailable: the store does not answer.
        """
        return allocate(self, self._allocation_token, namespace, units, constraints)

    @property
    def _allocation_token(self) -> AllocationToken:
        """Name the holder of the units, so that an earlier action with the same name is another holder."""
        incarnation = self.action.metadata.incarnation
        return AllocationToken(f"{self.action.id}/{self.launch}{f'@{incarnation}' if incarnation else ''}")

    def wait_for(self, namespace: str, answer: Answer) -> PhaseInfo:
        """Make the phase of an action that waits for units: whoever releases some wakes it (R70)."""
        info = waiting_for_resources(self.now, 0, why_waiting(namespace, answer.allocation))
        return msgspec.structs.replace(info, requeue_at=answer.look_at)

    def secret(self, key: str, group: str = "") -> str:
        """Return the value of a secret, as the action's project sees it. Keep it out of state, events and logs (R71).

        Raises:
            SecretUnavailable: it cannot be resolved.
        """
        manager = self.services.secret_manager
        return manager.get(key, group=group, project=self.action.id.project, domain=self.action.id.domain)

    # -- names, labels, environment (R67) --------------------------------------------------------------------
    @property
    def generated_name(self) -> str:
        """Unique name of this launch, within the plugin's limit: no other launch of any installation has it.

        It consists of record and attempt, for people, and of 8 characters for the whole identity, because two projects, or
        two installations that share a service, may have runs with the same name.
        """
        incarnation = self.action.metadata.incarnation
        name = generated_name(self.action.metadata.name, self.attempt_number, self.action.status.launches)
        name = f"{name}-{identity_mark(self.services.installation, str(self.action.id), incarnation)}"
        return shortened_name(name, self.max_name) if self.max_name else name

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the attempt; user variables never replace those of the platform."""
        spec, trace = self.action.spec, attempt_context(self.action)
        return {
            **spec.env_vars,
            **({"TRACEPARENT": trace} if trace else {}),
            "ACTION_NAME": self.action.id.action,
            "RUN_NAME": self.action.id.run,
            "_U_RUN_BASE": spec.run_output_base,
            "_U_ORG_NAME": "local",
        }

    @property
    def labels(self) -> dict[str, str]:
        """Labels for whatever the plugin creates."""
        template = template_or_none(self.action)
        labels = {
            **self.action.labels,
            "organization": "flyte",
            "project": self.action.id.project,
            "domain": self.action.id.domain,
            "flyte.org/managed": "true",
            "attempt": str(self.attempt_number),
        }
        if template and template.secrets:
            labels["inject-flyte-secrets"] = "true"
        task = template.id.name if template and template.id else ""
        for key, value in (
            ("run", self.action.id.run),
            ("action", self.action.id.action),
            ("task-name", task),
        ):
            clean = sanitize_label(value)
            if clean:
                labels[key] = clean
        return labels

    @property
    def annotations(self) -> dict[str, str]:
        """Annotations of the record, and its secrets by reference.

        Raises:
            BadTaskSpecification: the secrets are too many.
        """
        template = template_or_none(self.action)
        found = dict(self.action.metadata.annotations)
        for index, secret in enumerate(template.secrets if template else ()):
            found[f"flyte.secrets/s{index}"] = base64.b32encode(msgspec.json.encode(secret)).decode()
        if sum(map(len, found.values())) > _MAX_SECRETS:
            raise BadTaskSpecification(f"annotations exceed {_MAX_SECRETS} bytes: refer to fewer secrets")
        return found

    @property
    def interruptible(self) -> bool:
        """The run's choice, else the task's own (R75)."""
        if self.action.spec.interruptible is not None:
            return self.action.spec.interruptible
        template = template_or_none(self.action)
        return bool(template and template.metadata and template.metadata.interruptible)


def sanitize_label(value: str) -> str:
    """Make a label value: invalid characters become `-`, at most 63, an alphanumeric character at both ends (R67)."""
    clean = _INVALID_LABEL.sub("-", value)[:63]
    if not clean:
        return ""
    first = clean[0] if clean[0].isalnum() else "x"
    last = clean[-1] if clean[-1].isalnum() else "x"
    return first + clean[1:-1] + last if len(clean) > 1 else first
