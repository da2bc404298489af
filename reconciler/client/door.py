"""What this installation accepts: the rules of a spec, and what its settings add to them."""

from __future__ import annotations

import msgspec

from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import BadTaskSpecification, InvalidSpec
from reconciler.api.places import bucket_problem
from reconciler.api.template import shared_template
from reconciler.core.layout import base_problem
from reconciler.core.paths import INLINE
from reconciler.core.validation import check_spec
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
        self._prefix = settings.s3_prefix

    def check(self, action: ActionId, spec: ActionSpec) -> None:
        """Check a complete spec.

        Raises:
            InvalidName, InvalidSpec: as `check_spec`, or a bucket, a folder or a queue is not for submissions.
        """
        check_spec(action, spec)
        problems = self._bucket_problems(spec) + self._function_problems(spec)
        if problem := base_problem(spec.run_output_base, self._prefix):
            problems.append(problem)
        if problems:
            raise InvalidSpec(f"action {action} cannot be accepted: " + "; ".join(problems))

    def _bucket_problems(self, spec: ActionSpec) -> list[str]:
        places = {"runOutputBase": spec.run_output_base}
        if spec.input_uri != INLINE:
            places["inputUri"] = spec.input_uri
        return [
            f"{what} {problem}"
            for what, uri in places.items()
            if uri and (problem := bucket_problem(uri, self._buckets))
        ]

    def _function_problems(self, spec: ActionSpec) -> list[str]:
        """An unreadable template is told of by its first round, as any other."""
        if spec.task_type not in self._types:
            return []
        try:
            config = config_of(shared_template(spec.task_template).custom)
        except (msgspec.DecodeError, BadTaskSpecification):
            return []
        return config_problems(config, self._kept)
