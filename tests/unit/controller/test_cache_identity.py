"""Whose key a call uses: the record says it, never the template its submitter wrote (R49)."""

from __future__ import annotations

from typing import Any

import pytest
from cache_lab import INTERFACE, CacheLab, filled

from reconciler.api.action import ActionSpec
from reconciler.api.template import Identifier, TaskMetadata, TaskTemplate, encode_template
from reconciler.plugins import function
from reconciler.stores.catalog import CacheKey
from reconciler.testing import Lab

VICTIM = Identifier(project="default", domain="development", name="etl.report", version="1")


def template(identity: Identifier = VICTIM, task_type: str = function.TASK_TYPE, **custom: object) -> bytes:
    """Return a template of a cached task under any identity its submitter likes."""
    return encode_template(
        TaskTemplate(
            id=identity,
            type=task_type,
            metadata=TaskMetadata(discoverable=True),
            interface=INTERFACE,
            custom=custom,
        )
    )


def key_of(lab: Lab, task_template: bytes, task_type: str = function.TASK_TYPE, **spec: Any) -> CacheKey:
    """Return the key of one call."""
    call = ActionSpec(task_type=task_type, task_template=task_template, inputs=b'{"x":1}', **spec)
    config = lab.reconciler.cache_config(lab.get(lab.run(call).action))
    assert config is not None
    return config.key


@pytest.fixture
def lab() -> CacheLab:
    """A lab; the plugin of functions is among the built-in ones."""
    return CacheLab()


@pytest.mark.rule("R49")
def test_a_project_never_fills_the_key_of_another(lab: CacheLab) -> None:
    """A template that names another project or domain still gets the key of the action's own."""
    ours = key_of(lab, template(function="etl.report"))
    theirs = key_of(lab, template(function="etl.report"), project="intruder")
    domain = key_of(lab, template(function="etl.report"), domain="staging")
    assert len({(one.project, one.domain, one.key) for one in (ours, theirs, domain)}) == 3
    assert (theirs.project, domain.domain) == ("intruder", "staging")
    assert theirs.key != ours.key, "also where keys are read without their scope"


@pytest.mark.rule("R49")
@pytest.mark.parametrize("field", ["project", "domain"])
def test_an_identity_in_the_template_changes_no_key(lab: CacheLab, field: str) -> None:
    """What a template says of project and domain is no part of the key: calls of one function share it."""
    other = Identifier(**{"name": "etl.report", "project": "p", "domain": "d", field: "x"})
    assert key_of(lab, template(other, function="f")) == key_of(lab, template(function="f"))


@pytest.mark.rule("R49")
def test_two_functions_never_share_a_key(lab: CacheLab) -> None:
    """A template with the name of another task does not fill that task's key: the function is in the key."""
    right = key_of(lab, template(function="etl.report"))
    assert key_of(lab, template(function="etl.something_else")) != right
    assert key_of(lab, template(function="etl.report")) == right


@pytest.mark.rule("R49")
def test_a_plugin_of_another_kind_does_not_pass_as_a_function(lab: CacheLab) -> None:
    """What another plugin computes does not answer for a function, whatever its template's `custom` says."""
    right = key_of(lab, template(function="etl.report"))
    assert key_of(lab, template(task_type="cached", function="etl.report"), "cached") != right


@pytest.mark.rule("R43")
def test_what_another_project_computed_is_no_hit() -> None:
    """The same template, submitted into another project, runs."""
    lab = CacheLab()
    filled(lab)
    lab.call(project="intruder")
    lab.settle()
    assert len(lab.plugin.handled) == 1
