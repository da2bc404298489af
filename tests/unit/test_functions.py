"""The registry of functions, and what user code can ask about its attempt."""

from __future__ import annotations

import datetime as dt
import importlib
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.api.errors import InvalidSettings, InvalidSpec
from reconciler.api.template import SecretRef
from reconciler.core.current import CurrentAttempt, attempt_context, current_attempt
from reconciler.core.functions import FunctionRegistry, interface_digest

ATTEMPT = CurrentAttempt(
    project="p",
    domain="d",
    run="r",
    action="a",
    attempt=2,
    launch="2-1",
    started=dt.datetime.now(dt.UTC),
    checkpoints="s3://b/2-1/c",
    previous_checkpoints="s3://b/1/c",
)


def one() -> int:
    """Return a function to register."""
    return 1


def two() -> int:
    """Return another one."""
    return 2


def test_a_registered_function_is_found() -> None:
    """A function is found by its name, with its signature; other names give nothing."""
    registry = FunctionRegistry()
    registered = registry.register("mine", one)
    assert registry.get("mine") is registered
    assert registered.function is one
    assert registered.signature.interface["outputs"] == {"o0": "int"}
    assert registry.get("yours") is None


def test_names_are_sorted() -> None:
    """The names come in the same order in every process."""
    registry = FunctionRegistry()
    for name in ("b", "c", "a"):
        registry.register(name, one)
    assert registry.names() == ("a", "b", "c")


def test_one_name_for_two_functions_is_refused() -> None:
    """A second function of the same name is refused, both places are told, and the first stays."""
    registry = FunctionRegistry()
    registry.register("mine", one)
    with pytest.raises(
        InvalidSpec, match=r"test_functions\.one .*test_functions\.two .*another name"
    ) as refusal:
        registry.register("mine", two)
    assert f"{__file__}:{one.__code__.co_firstlineno}" in str(refusal.value)
    found = registry.get("mine")
    assert found is not None
    assert found.function is one


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module on sys.path that registers one function in the registry of this process."""
    (tmp_path / "planted_functions.py").write_text(
        "from reconciler.core.functions import registry\n"
        "def planted() -> None: ...\n"
        "registry.register('planted-by-test', planted)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planted_functions", raising=False)
    return "planted_functions"


def test_importing_again_replaces(module: str) -> None:
    """A module that is loaded a second time registers its functions again without complaint."""
    registry = importlib.import_module("reconciler.core.functions").registry
    registry.load([module])
    first = registry.get("planted-by-test")
    importlib.reload(sys.modules[module])
    assert registry.get("planted-by-test").function is not first.function


def test_all_modules_that_fail_are_named(module: str, tmp_path: Path) -> None:
    """Every module that cannot be imported is in one error, with the cause and the setting to correct."""
    (tmp_path / "broken_functions.py").write_text("1 / 0\n")
    with pytest.raises(InvalidSettings, match="RECONCILER_IMPORTS") as refusal:
        FunctionRegistry().load(["no_such_module", module, "broken_functions"])
    assert [
        name in problem for name, problem in zip(("no_such", "broken"), refusal.value.problems, strict=True)
    ]
    assert "ZeroDivisionError" in str(refusal.value)
    assert isinstance(refusal.value.__cause__, ModuleNotFoundError)


def test_outside_of_an_attempt_there_is_none() -> None:
    """Code that runs in no attempt gets None."""
    assert current_attempt() is None


def test_the_current_attempt_is_seen_inside_only() -> None:
    """Inside its block the attempt is the current one, afterwards it is not, also after an error."""
    with suppress(ZeroDivisionError), attempt_context(ATTEMPT):
        assert current_attempt() is ATTEMPT
        _ = 1 / 0
    assert current_attempt() is None


def test_an_attempt_survives_as_texts() -> None:
    """The record reaches another process unchanged."""
    assert CurrentAttempt.from_context(ATTEMPT.to_context()) == ATTEMPT
    assert ATTEMPT.path == "p/d/r/a"


@pytest.mark.parametrize(
    ("context", "error"),
    [
        ({}, KeyError),
        ({"action": "p/d/r", "attempt": "1", "started": "2026-01-01T00:00:00+00:00"}, ValueError),
        ({"action": "p/d/r/a", "attempt": "first", "started": "2026-01-01T00:00:00+00:00"}, ValueError),
        ({"action": "p/d/r/a", "attempt": "1", "started": "soon"}, ValueError),
    ],
)
def test_wrong_texts_are_refused(context: dict[str, str], error: type[Exception]) -> None:
    """Texts that describe no attempt are refused."""
    with pytest.raises(error):
        CurrentAttempt.from_context(context)


def test_another_secret_is_another_interface() -> None:
    """A worker of the release before would refuse the new secret's value, so it has to hand such a launch back."""
    inputs, outputs = {"key": "str"}, {"o0": "str"}
    plain = interface_digest(inputs, outputs)
    first = interface_digest(inputs, outputs, (SecretRef(key="db", env="DB"),))
    second = interface_digest(inputs, outputs, (SecretRef(key="mail", env="DB"),))
    assert len({plain, first, second}) == 3
    assert interface_digest(inputs, outputs, ()) == plain


def test_a_registry_tells_digests_and_secrets_by_name() -> None:
    """What a worker publishes of its functions, and what a supervisor asks before it looks a value up."""
    registry = FunctionRegistry()

    def needs(key: str) -> str:
        return key

    ref = SecretRef(key="db", env="DB")
    registered = registry.register("shop.needs", needs, (ref,))
    assert registry.digests() == {"shop.needs": registered.digest}
    assert registry.secrets() == {"shop.needs": (ref,)}
    assert registered.digest == interface_digest({"key": "str"}, {"o0": "str"}, (ref,))
