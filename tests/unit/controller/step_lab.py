"""What the tests of a step share: a lab of one shard, and a step of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from reconciler.api.action import ActionId
from reconciler.controller.ahead import StepReport
from reconciler.testing import Lab, ScriptedPlugin

SECONDS = timedelta(seconds=1)


def one_shard(*plugins: ScriptedPlugin, **settings: Any) -> Lab:
    """Return a lab whose actions all share a shard."""
    return Lab(plugins, shards=1, **settings)


def step(lab: Lab, named: Sequence[ActionId] = (), *, drain: bool = True) -> StepReport:
    """Run one step of the only shard."""
    return lab.engine.stepper.step(0, named, drain=drain)
