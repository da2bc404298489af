"""Check that an action has what it needs to run (R10, R23)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import attrgetter, le
from types import NoneType

import msgspec

from reconciler.api.action import CONDITION, TASK, ActionId, ActionSpec
from reconciler.api.approval import condition_problems
from reconciler.api.errors import InvalidSpec
from reconciler.api.names import check_name
from reconciler.api.places import place_problem
from reconciler.api.template import shared_template
from reconciler.api.texts import UNREADABLE, unreadable
from reconciler.api.variables import variable_problem
from reconciler.core.paths import INLINE
from reconciler.core.policies import policy_problems

REQUIRED = (
    ("run_name", "runName"),
    ("project", "project"),
    ("domain", "domain"),
    ("action_name", "actionName"),
    ("task_type", "taskType"),
    ("task_template", "taskTemplate"),
    ("input_uri", "inputUri"),
    ("run_output_base", "runOutputBase"),
)
"""Fields a task needs, in the order they are reported (R23)."""

LIMITS = {
    "cache_key": 256,
    "inputs_hash": 256,
    "inputs_digest": 256,
    "task_type": 63,
    "short_name": 63,
    "group": 256,
}
"""Longest values, in characters (R10)."""
MAX_TEMPLATE = 256 * 1024
"""Largest task template, in bytes (R15)."""
MAX_ENVIRONMENT = 32 * 1024
"""Largest sum of environment names and values, in bytes."""
MAX_LABELS = 64
MAX_LABEL = 256
"""Longest value of a label, in characters."""
RESERVED_LABELS = "flyte.org/"
"""What labels that follow from identity and end begin with (R9, R36)."""
_STRINGS = (
    "run_name", "project", "domain", "action_name", "action_type", "input_uri", "inputs_digest", "run_output_base",
    "cache_key", "inputs_hash", "task_type", "short_name", "group",
)  # fmt: skip
_BYTES = ("condition_spec", "task_template")
_typed_of = attrgetter(*_STRINGS, *_BYTES, "inputs", "interruptible", "env_vars")
_DECLARED = frozenset(
    (*(str for _ in _STRINGS), *(bytes for _ in _BYTES), inputs, interruptible, dict)
    for inputs in (bytes, NoneType)
    for interruptible in (bool, NoneType)
)
"""Types of those fields, as they may be: all at once is ten times as fast as one by one."""
_limited_of = attrgetter(*LIMITS)
_required_of = attrgetter(*(attribute for attribute, _ in REQUIRED))
LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?", re.ASCII)


def missing_fields(spec: ActionSpec) -> str:
    """Write the text of R23 that names every empty required field; empty when none is."""
    if all(_required_of(spec)):  # nearly always
        return ""
    missing = [name for attribute, name in REQUIRED if not getattr(spec, attribute)]
    return f"required spec fields are empty: [{' '.join(missing)}]" if missing else ""


def check_spec(action: ActionId, spec: ActionSpec) -> None:
    """Check a spec at the door, before anything is stored.

    Raises:
        InvalidName: a part of the identity or the parent's name breaks the rule of names.
        InvalidSpec: lists every field that is too long or contradictory.
    """
    action.checked()
    check_types(spec)
    problems = (
        _identity_problems(action, spec) + _size_problems(spec) + _template_problems(spec.task_template)
    )
    problems += place_problems(spec)
    if spec.action_type not in {"", TASK, CONDITION}:
        problems.append(f"actionType must be task or condition, got {spec.action_type!r}")
    if (spec.action_type == CONDITION) != bool(spec.condition_spec):
        problems.append("conditionSpec must be given for a condition, and only for a condition")
    elif spec.condition_spec:
        problems += condition_problems(spec.condition_spec)
    if problems:
        raise InvalidSpec(f"action {action} cannot be accepted: " + "; ".join(problems))


def check_types(spec: object) -> None:
    """Check that a spec is one, and that its fields have their declared types. Nothing else is checked.

    Raises:
        InvalidSpec: names the first field that is not.
    """
    if type(spec) is ActionSpec and tuple(map(type, _typed_of(spec))) in _DECLARED and not spec.env_vars:
        return  # nearly always
    if not isinstance(spec, ActionSpec):
        raise InvalidSpec(f"an action is described by an ActionSpec, got {type(spec).__name__}: pass one")
    for name in _STRINGS:
        if not isinstance(getattr(spec, name), str):
            raise _wrong_type(spec, name, "a str")
    for name in _BYTES:
        if not isinstance(getattr(spec, name), bytes):
            raise _wrong_type(spec, name, "bytes")
    if spec.inputs is not None and not isinstance(spec.inputs, bytes):
        raise _wrong_type(spec, "inputs", "bytes or None")
    if spec.interruptible is not None and not isinstance(spec.interruptible, bool):
        raise _wrong_type(spec, "interruptible", "a bool or None")
    if not isinstance(spec.env_vars, dict) or (
        spec.env_vars and any(not isinstance(text, str) for pair in spec.env_vars.items() for text in pair)
    ):
        raise _wrong_type(spec, "env_vars", "a dict of str, names and values")


def _wrong_type(spec: ActionSpec, name: str, wanted: str) -> InvalidSpec:
    return InvalidSpec(f"{name} must be {wanted}, got {getattr(spec, name)!r:.100}")


def place_problems(spec: ActionSpec) -> list[str]:
    """List places that not all servers read alike, one sentence each; empty places are reported elsewhere."""
    found = []
    if spec.run_output_base and (problem := place_problem(spec.run_output_base)):
        found.append(f"runOutputBase {_shown(spec.run_output_base)} {problem}")
    if spec.input_uri == INLINE:
        if spec.inputs is None:
            found.append("inputUri says that the inputs ride in the record, but none are given")
    elif spec.input_uri and (problem := place_problem(spec.input_uri)):
        found.append(f"inputUri {_shown(spec.input_uri)} {problem}")
    return found


def _shown(uri: str) -> str:
    return ascii(uri[:200])


def check_labels(labels: Mapping[str, str]) -> None:
    """Check the labels of a submission, before anything is stored.

    Raises:
        InvalidSpec: lists every label that is reserved, too long or unreadable.
    """
    _check_mapping("labels", labels)
    if not labels:
        return
    problems = (
        [f"{len(labels)} labels are given, at most {MAX_LABELS} are allowed"]
        if len(labels) > MAX_LABELS
        else []
    )
    for key, value in labels.items():
        if not isinstance(key, str) or not LABEL.fullmatch(key):
            problems.append(
                f"the label {key!r:.100} is not allowed: up to 253 letters, digits, '.', '_', '-' and '/', "
                "first and last a letter or digit"
            )
        elif key.startswith(RESERVED_LABELS):
            problems.append(
                f"the label {key!r} is reserved: choose one that does not start with {RESERVED_LABELS}"
            )
        if not isinstance(value, str) or len(value) > MAX_LABEL or not value.isprintable():
            problems.append(
                f"the value of label {key!r:.100} must be a printable str of at most {MAX_LABEL} characters"
            )
    if problems:
        raise InvalidSpec("; ".join(problems))


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Check the annotations of a submission, before anything is stored.

    Raises:
        InvalidSpec: they are no texts, or too large together.
    """
    _check_mapping("annotations", annotations)
    if not annotations:
        return
    if any(not isinstance(text, str) for pair in annotations.items() for text in pair):
        raise InvalidSpec("annotations must be str, names and values")
    if any(unreadable(name + value) for name, value in annotations.items()):
        raise InvalidSpec(f"an annotation {UNREADABLE}")
    size = sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items())
    if size > MAX_ENVIRONMENT:
        raise InvalidSpec(
            f"annotations have {size} bytes, at most {MAX_ENVIRONMENT} are allowed; put large values in S3"
        )


def _check_mapping(what: str, given: object) -> None:
    if type(given) is not dict and not isinstance(given, Mapping):
        raise InvalidSpec(f"{what} must be a dict of str, got {type(given).__name__}")


def _identity_problems(action: ActionId, spec: ActionSpec) -> list[str]:
    problems: list[str] = []
    identity = (spec.project, spec.domain, spec.run_name, spec.action_name)
    if identity != (action.project, action.domain, action.run, action.action):
        problems.append(f"the identity fields say {'/'.join(identity)}, the action is {action}")
    if spec.parent_action_name is not None:
        check_name("parent action", spec.parent_action_name)
        if spec.parent_action_name == spec.action_name:
            problems.append("an action cannot be its own parent")
    return problems


def _template_problems(template: bytes) -> list[str]:
    """List policies that no action can keep. An unreadable template is reported by the first round."""
    if b'"metadata"' not in template:
        return []
    try:
        metadata = shared_template(template).metadata
    except msgspec.DecodeError:
        return []
    return policy_problems(metadata) if metadata is not None else []


def _size_problems(spec: ActionSpec) -> list[str]:
    problems: list[str] = []
    texts = _limited_of(spec)
    if not all(map(le, map(len, texts), LIMITS.values())):
        problems += [
            f"{attribute} has {len(text)} characters, at most {limit} are allowed"
            for text, (attribute, limit) in zip(texts, LIMITS.items(), strict=True)
            if len(text) > limit
        ]
    if len(spec.task_template) > MAX_TEMPLATE:
        problems.append(
            f"taskTemplate has {len(spec.task_template)} bytes, at most {MAX_TEMPLATE} are allowed"
        )
    if unreadable("".join(texts)) and any(map(unreadable, texts)):
        problems.append(f"a text of the spec {UNREADABLE}")
    return problems + _variable_problems(spec.env_vars) if spec.env_vars else problems


def _variable_problems(variables: Mapping[str, str]) -> list[str]:
    if any(unreadable(name + value) for name, value in variables.items()):
        return [f"envVars {UNREADABLE}"]
    problems = [*filter(None, (variable_problem(name, value) for name, value in variables.items()))]
    size = sum(len(k.encode()) + len(v.encode()) for k, v in variables.items())
    if size > MAX_ENVIRONMENT:
        problems.append(
            f"envVars have {size} bytes, at most {MAX_ENVIRONMENT} are allowed; put large values in S3"
        )
    return problems
