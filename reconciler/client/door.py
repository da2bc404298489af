"""Decide what this installation accepts: complete specs, check them, and make actions of them."""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionId, ActionSpec, Metadata, TaskAction, record_name
from reconciler.api.errors import BadTaskSpecification, InvalidSpec
from reconciler.api.places import bucket_problem
from reconciler.api.schedule import DEFAULT_PRIORITY, NOW, Schedule
from reconciler.api.template import shared_template
from reconciler.api.traceparent import check_traceparent
from reconciler.client.submission import key_name, new_run_name
from reconciler.core.children import ROOT
from reconciler.core.inheritance import with_inputs_hash
from reconciler.core.layout import base_problem, is_default_base
from reconciler.core.paths import INLINE
from reconciler.core.validation import check_annotations, check_labels, check_spec, check_types
from reconciler.otel.current import current_traceparent
from reconciler.plugins.function_config import Kept, config_of, config_problems, function_types
from reconciler.settings import Settings


class Door:
    """Checks specs before anything of them is stored. May be shared between threads.

    Args:
        settings: of the installation.
        bucket: where objects lie unless a submission says otherwise.
    """

    def __init__(self, settings: Settings, bucket: str) -> None:
        self._buckets = frozenset({bucket, *settings.buckets})
        self._types = function_types(settings)
        self._kept = Kept.of(settings)
        self._settings = settings

    def complete(self, spec: ActionSpec, key: str) -> ActionSpec:
        """Fill the identity fields that are empty.

        Args:
            spec: as the caller gave it.
            key: names the submission; a run without a name is named after it.

        Raises:
            InvalidSpec, InvalidName: a field has a wrong type, the key is no text, or there are a run name and a key.
        """
        check_types(spec)
        if key and spec.run_name:
            raise InvalidSpec(
                f"give the run name {spec.run_name!r:.80} or the idempotency key, not both: either names the submission, "
                "and the same again gives the first run"
            )
        run = spec.run_name or (key_name(key) if key else new_run_name(spec.short_name or spec.task_type))
        full = msgspec.structs.replace(
            spec,
            project=spec.project or self._settings.project,
            domain=spec.domain or self._settings.domain,
            run_name=run,
            action_name=spec.action_name or ROOT,
        )
        return with_inputs_hash(full)

    def admit(
        self,
        spec: ActionSpec,
        labels: dict[str, str] | None,
        annotations: dict[str, str] | None = None,
        schedule: Schedule = NOW,
        traceparent: str = "",
    ) -> TaskAction:
        """Make a checked action. Where its objects lie is decided when it is stored, because its run may have begun before.

        It belongs to the trace that is given, else to that of the current span of this program.

        Raises:
            InvalidName, InvalidSpec: the spec cannot be accepted.
        """
        action = ActionId(spec.project, spec.domain, spec.run_name, spec.action_name)
        if spec.run_output_base and is_default_base(spec.run_output_base):  # the spec was read from a record
            spec = msgspec.structs.replace(spec, run_output_base="")
        metadata = Metadata(
            namespace=self._settings.namespace,
            name=record_name(action, spec),
            extra_labels=labels or {},
            annotations=annotations or {},
            priority=DEFAULT_PRIORITY if schedule.priority is None else schedule.priority,
            fair_key=schedule.fair_key,
            not_before=schedule.not_before,
            expires_at=schedule.expires_at,
            traceparent=check_traceparent(traceparent) or current_traceparent(),
        )
        admitted = TaskAction(action, spec, metadata=metadata)
        self.check_action(admitted)
        self._check_size(spec)
        return admitted

    def check_action(self, action: TaskAction) -> None:
        """Check the spec, the labels and the annotations of an action.

        Raises:
            InvalidName, InvalidSpec: it cannot be accepted.
        """
        self.check(action.id, action.spec)
        check_labels(action.metadata.extra_labels)
        check_annotations(action.metadata.annotations)

    def _check_size(self, spec: ActionSpec) -> None:
        if spec.inputs is not None and len(spec.inputs) > self._settings.max_object_size:
            raise InvalidSpec(
                f"the inputs have {len(spec.inputs)} bytes, at most {self._settings.max_object_size} are allowed: "
                "store large data in S3 and pass its URI, or raise RECONCILER_MAX_OBJECT_SIZE"
            )

    def check(self, action: ActionId, spec: ActionSpec) -> None:
        """Check a complete spec.

        Raises:
            InvalidName, InvalidSpec: as `check_spec`, or a bucket, a folder or a queue is not for submissions.
        """
        check_spec(action, spec)
        problems = self._bucket_problems(spec) + self._function_problems(spec)
        if problem := base_problem(spec.run_output_base, self._settings.s3_prefix):
            problems.append(problem)
        if problems:
            raise InvalidSpec(f"action {action} cannot be accepted: " + "; ".join(problems))

    def _bucket_problems(self, spec: ActionSpec) -> list[str]:
        if not spec.run_output_base and spec.input_uri in {"", INLINE}:
            return []
        places = {"runOutputBase": spec.run_output_base}
        if spec.input_uri != INLINE:
            places["inputUri"] = spec.input_uri
        return [
            f"{what} {problem}"
            for what, uri in places.items()
            if uri and (problem := bucket_problem(uri, self._buckets))
        ]

    def queue_of(self, task_type: str, template: bytes) -> str:
        """Name the queue in which launches of a task wait; empty if it is no function, or its template cannot be read."""
        if task_type not in self._types:
            return ""
        try:
            return config_of(shared_template(template).custom).queue or self._settings.attempts_queue
        except (msgspec.DecodeError, BadTaskSpecification):
            return ""

    def _function_problems(self, spec: ActionSpec) -> list[str]:
        """Find what is wrong with the function. An unreadable template is reported by the first round."""
        if spec.task_type not in self._types:
            return []
        try:
            config = config_of(shared_template(spec.task_template).custom)
        except (msgspec.DecodeError, BadTaskSpecification):
            return []
        return config_problems(config, self._kept)
