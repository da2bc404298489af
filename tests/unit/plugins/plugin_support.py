"""What the tests of the plugins share: contexts out of nothing."""

from __future__ import annotations

from typing import Any

import msgspec

from reconciler.api.action import ActionId, ActionSpec, Metadata, TaskAction
from reconciler.api.status import ActionStatus
from reconciler.api.template import Identifier, TaskTemplate, encode_template
from reconciler.plugins.context import Services, TaskExecutionContext
from reconciler.plugins.managers import NoopResourceManager, NoopSecretManager
from reconciler.plugins.state import PluginStateManager
from reconciler.stores.memory.blobs import MemoryBlobs

NOW = 1_700_000_000_000


def services(**given: Any) -> Services:
    """Return the services of an installation without servers."""
    parts: dict[str, Any] = {
        "data_store": MemoryBlobs(),
        "secret_manager": NoopSecretManager(),
        "resource_manager": NoopResourceManager(),
        "stop_attempt": lambda *_: None,
        **given,
    }
    return Services(**parts)


def record(
    *,
    template: TaskTemplate | bytes | None = None,
    status: ActionStatus | None = None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    inputs: Any = None,
    **spec: Any,
) -> TaskAction:
    """Return the record `rabc123/train`, as claimed at `NOW`."""
    if not isinstance(template, bytes):
        template = encode_template(template or TaskTemplate(id=Identifier(name="my.task")))
    values: dict[str, Any] = {
        "run_name": "rabc123",
        "project": "proj",
        "domain": "dev",
        "action_name": "train",
        "parent_action_name": "a0",
        "task_template": template,
        "inputs": msgspec.json.encode(inputs or {}),
        "run_output_base": "s3://bkt/base",
        **spec,
    }
    metadata = Metadata(
        namespace="flyte", name="rabc123-train", extra_labels=labels or {}, annotations=annotations or {}
    )
    action = ActionId("proj", "dev", "rabc123", "train")
    return TaskAction(action, ActionSpec(**values), status, metadata, now=NOW)


def context(action: TaskAction | None = None, max_name: int = 0, **more: Any) -> TaskExecutionContext:
    """Return the context of a record."""
    action = action or record(**more)
    state = PluginStateManager(action.status.plugin_state, action.status.plugin_state_version)
    return TaskExecutionContext(action, services(), state, max_name)
