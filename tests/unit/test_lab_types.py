"""A lab carries arguments and results as real workers do: by value, through JSON, with the same refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from type_samples import Line, Order, alike

from reconciler import TaskEnvironment
from reconciler.api.errors import ActionFailed, BlobCorrupt, InvalidArguments, InvalidName, InvalidSpec
from reconciler.client import Client
from reconciler.settings import Settings
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.memory.store import MemoryStore
from reconciler.testing import Lab

lab = Lab(max_object_size=2_000_000)
env = TaskEnvironment("types", client=lab.client)


@env.task
def totals(table: pd.DataFrame, order: Order) -> pd.DataFrame:
    """A frame in, a frame out."""
    return table.assign(total=table["price"] * order.number)


@env.task
def unhinted(kind: str):  # type: ignore[no-untyped-def]  # noqa: ANN201  # the point of the tests
    """Gives what its caller names."""
    made: dict[str, Any] = {
        "tuple": (1, 2),
        "set": {1},
        "model": Line(sku="a"),
        "array": np.zeros(2),
        "path": Path("a"),
    }
    return made[kind]


@env.task(retries=3)
def zeros(size: int) -> np.ndarray:  # type: ignore[type-arg]  # any
    """Of a size of choice."""
    return np.zeros(size)


@env.task
def mean(values: list[float]) -> float:
    """As numpy gives it: a float of its own, and NaN where there are no values."""
    return np.float64(sum(values) / len(values)) if values else float("nan")


@env.task
def grown(values: list[int]) -> list[int]:
    """Changes its argument, which is its own."""
    values.append(len(values))
    return values


def test_frames_and_models_pass_through_a_lab() -> None:
    """A task that takes a frame and a model runs in a lab as on a worker; result and outcomes are frames again."""
    table = pd.DataFrame({"price": [1.5, 2.0]}, index=["a", "b"])
    run = totals.delay(table, Order(orderNumber=2))
    many = totals.map([table, table], order=Order(orderNumber=1))
    lab.work()
    assert alike(run.result(), table.assign(total=[3.0, 4.0]))
    assert [alike(one, table.assign(total=table["price"])) for one in many.result()] == [True, True]
    assert all(isinstance(one, pd.DataFrame) for one in many.outcomes())


def test_an_object_is_never_shared() -> None:
    """What a function does to its arguments, its caller does not see; a real worker has another memory."""
    given = [5]
    run = grown.delay(given)
    lab.work()
    assert (given, run.result(), run.result()) == ([5], [5, 1], [5, 1])
    assert run.result() is not run.result()


def test_a_float_of_numpy_and_nan_are_results() -> None:
    """What a calculation gives for a float is a float to the caller."""
    runs = [mean.delay([1.0, 2.0]), mean.delay([])]
    lab.work()
    assert [repr(run.result()) for run in runs] == ["1.5", "nan"]


@pytest.mark.parametrize("kind", ["tuple", "set", "model", "array", "path"])
def test_without_a_hint_the_first_call_of_a_test_tells(kind: str) -> None:
    """A result that would not come back fails in a lab by the code and the sentence of a real worker."""
    run = unhinted.delay(kind)
    lab.work()
    with pytest.raises(
        ActionFailed, match=r"the result of unhinted .*give the function a return hint"
    ) as failure:
        run.result()
    assert failure.value.code == "InvalidResult"
    assert lab.get(run.action).status.attempts == 1


def test_without_a_hint_an_argument_is_refused_at_the_call() -> None:
    """So is an argument, before anything is stored."""
    with pytest.raises(InvalidArguments, match="parameter kind does not fit"):
        unhinted.delay(Path("a"))  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("size", "message"), [(10**8, "an array of 800000000 bytes"), (200_000, r"has 21\d{5} bytes")]
)
def test_a_result_too_large_fails_as_on_a_worker(size: int, message: str) -> None:
    """A lab keeps the limit of results, too, and does not try again."""
    run = zeros.delay(size)
    lab.work()
    with pytest.raises(ActionFailed, match=message) as failure:
        run.result()
    assert (failure.value.code, lab.get(run.action).status.attempts) == ("InvalidResult", 1)
    assert "RECONCILER_MAX_OBJECT_SIZE" in failure.value.message


def test_an_output_too_large_for_its_reader_is_not_loaded() -> None:
    """A client with a smaller limit than the worker had refuses the outputs by their size, with the remedy."""
    run = zeros.delay(100_000)
    many = zeros.map([100_000, 120_000])
    lab.work()
    small = Client(lab.store, lab.blobs, lab.messenger, Settings(max_object_size=900_000))
    record = small.get(run.action)
    for read in (
        lambda: small.outputs(record),
        lambda: small.result(run.action),
        lambda: small.outcomes([run.action], len),
        lambda: small.run(run.id, zeros).result(),
        lambda: small.run(many.id, zeros).result(),
    ):
        with pytest.raises(
            BlobCorrupt, match=r"has 1\d{6} bytes, at most 900000 are read.*RECONCILER_MAX_OBJECT_SIZE"
        ):
            read()
    assert [one.shape for one in many.result()] == [(100_000,), (120_000,)]


def _declared_inside(client: Client) -> Any:
    @TaskEnvironment("inside", client=client).task(name="inner")
    def inner(x: int) -> int:
        return x

    return inner


class _Sending:
    """A messenger to workers, which nobody reads."""

    def wake(self, shard: int, countdown: float = 0.0) -> None:
        """Do nothing."""

    def ticket(self, queue: str) -> None:
        """Do nothing."""

    def waiting(self, queue: str) -> int:
        """Report that nothing waits."""
        del queue
        return 0


def test_a_function_inside_another_is_refused_where_workers_are() -> None:
    """No worker would ever know it, so it is refused before it is stored; a lab runs it."""
    client = Client(MemoryStore(), MemoryBlobs(), _Sending())
    with pytest.raises(
        InvalidSpec, match=r"inner is declared inside another function.*top level of a module"
    ):
        _declared_inside(client).delay(1)
    with pytest.raises(InvalidSpec, match="declared inside"):
        _declared_inside(client).map([1])
    run = _declared_inside(lab.client).delay(4)
    lab.work()
    assert run.result() == 4


def test_a_factory_of_tasks_may_be_called_by_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is declared inside a function that a module calls while it is imported, a worker that imports it knows."""
    (tmp_path / "made_by_factory.py").write_text(
        "from reconciler import TaskEnvironment\n"
        "env = TaskEnvironment('factory')\n"
        "def make(n):\n"
        "    @env.task(name=f'add{n}')\n"
        "    def add(x: int) -> int:\n"
        "        return x + n\n"
        "    return add\n"
        "add3 = make(3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = _imported("made_by_factory")
    module.env.client = Client(MemoryStore(), MemoryBlobs(), _Sending())
    assert not module.add3.delay(1).phase.is_terminal()
    with pytest.raises(InvalidSpec, match="declared inside"):
        module.make(4).delay(1)


def test_a_factory_may_stand_in_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that imports the module that calls it knows the task, too."""
    (tmp_path / "a_factory.py").write_text(
        "from reconciler import TaskEnvironment\n"
        "env = TaskEnvironment('elsewhere')\n"
        "def make():\n"
        "    @env.task(name='made_elsewhere')\n"
        "    def one(x: int) -> int:\n"
        "        return x\n"
        "    return one\n"
    )
    (tmp_path / "calls_a_factory.py").write_text("import a_factory\nmade = a_factory.make()\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = _imported("calls_a_factory")
    module.a_factory.env.client = Client(MemoryStore(), MemoryBlobs(), _Sending())
    assert not module.made.delay(1).phase.is_terminal()


def _imported(name: str) -> ModuleType:
    __import__(name)
    return sys.modules[name]


FACTORY = """
from reconciler import TaskEnvironment
from reconciler.client import Client
from reconciler.stores.memory.blobs import MemoryBlobs
from reconciler.stores.memory.store import MemoryStore
class Messenger:
    def wake(self, shard, countdown=0.0): pass
    def ticket(self, queue): pass
env = TaskEnvironment("factory", client=Client(MemoryStore(), MemoryBlobs(), Messenger()))
def make(n):
    @env.task(name=f"add{n}")
    def add(x: int) -> int:
        return x + n
    return add
"""


@pytest.mark.parametrize("how", ["script", "module", "of another module", "tool"])
def test_who_calls_a_factory_is_told_apart(how: str, tmp_path: Path) -> None:
    """A script may call a factory, its own or an imported one: a worker imports the script, but no tool."""
    (tmp_path / "making.py").write_text(FACTORY)
    use = "from making import make, env\nprint(make(3).delay(1).id)\n"
    (tmp_path / "own.py").write_text(FACTORY + "print(make(3).delay(1).id)\n")
    (tmp_path / "use.py").write_text(use)
    command = {
        "script": ["own.py"],
        "module": ["-m", "own"],
        "of another module": ["use.py"],
        "tool": ["-c", use],
    }[how]
    env = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    ended = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    if how == "tool":
        assert "InvalidSpec: make.<locals>.add is declared inside another function" in ended.stderr
    else:
        assert ended.stdout.startswith("default/development/add3-"), ended.stderr


def test_a_function_whose_name_is_not_allowed_needs_another() -> None:
    """A function whose own name breaks the rule of names is refused with the remedy; a name that was given, without it."""

    def size(x: int) -> int:
        return x

    size.__name__ = "größe"
    with pytest.raises(InvalidName, match=r"'größe' is not allowed.*env\.task\(name="):
        env.task(size)
    with pytest.raises(InvalidName, match=r"'grö' is not allowed[^(]*$"):
        env.task(name="grö")(size)
    assert env.task(name="size")(size).name.endswith(".size")


def test_a_lambda_needs_a_name() -> None:
    """A lambda without a name is refused with the remedy; with one it is a task as any other."""
    with pytest.raises(InvalidSpec, match=r"a lambda has no name.*name="):
        env.task(lambda x: x)
    double: Any = env.task(name="double")(lambda x: 2 * x)
    run = double.delay(2)
    lab.work()
    assert run.result() == 4
