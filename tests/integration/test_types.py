"""Models, arrays and frames on real workers: from the caller through Redis and S3 to a function and back."""

from __future__ import annotations

import decimal
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import type_functions as typed
from click.testing import CliRunner

from reconciler.api.errors import ActionFailed, InvalidSpec
from reconciler.cli import main
from reconciler.client import Client
from reconciler.embedded.stack import Stack

pytestmark = pytest.mark.servers
PATIENCE = 60.0
LIMIT = 3_000_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that takes documents of 3 MB."""
    data = tmp_path_factory.mktemp("stack") / "data"
    env = {"RECONCILER_MAX_OBJECT_SIZE": str(LIMIT)}
    with Stack(data, imports=["type_functions"], env=env, cwd=Path(__file__).parent) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def client(stack: Stack) -> Iterator[Client]:
    """A client of the stack, which the functions use as well."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.env().items():
            patch.setenv(name, value)
        typed.env.client = Client.from_settings()
        yield typed.env.client


def order(rng: random.Random) -> typed.Order:
    """Return a random one."""
    return typed.Order(
        orderNumber=rng.randrange(2**64),
        price=decimal.Decimal(rng.randrange(10**9)) / 100,
        tags=set(rng.sample("abcdef", 3)),
    )


@pytest.mark.parametrize("rows", [3, 60_000], ids=["inline", "in S3"])
def test_frames_arrays_and_models_go_there_and_back(rows: int) -> None:
    """What a caller gives the function takes, and what it returns the caller gets, also by map and outcomes."""
    seed = random.randrange(10**9)
    rng = random.Random(seed)
    table = pd.DataFrame({"value": [rng.random() for _ in range(rows)], "name": ["é"] * rows})
    table.index = pd.date_range("2026-01-01", periods=rows, freq="h", tz="Europe/Berlin")
    weights, orders = np.arange(rows, dtype=float), [order(rng), order(rng)]
    run = typed.report.delay(table, weights, *orders, where=Path("/data/é"))
    many = typed.report.map([table.head(2)], weights=np.ones(2))
    result = run.result(timeout=PATIENCE)
    assert isinstance(result, typed.Report), f"seed {seed}"
    assert result.table.equals(table.assign(weighted=table["value"] * weights)), f"seed {seed}"
    assert str(result.table.index.dtype) == str(table.index.dtype)
    assert (result.orders, result.where) == (orders, Path("/data/é")), f"seed {seed}"
    many.result(timeout=PATIENCE)
    (outcome,) = many.outcomes()
    assert isinstance(outcome, typed.Report)
    assert outcome.table["weighted"].equals(table["value"].head(2).rename("weighted"))


def test_equal_models_are_computed_once(tmp_path: Path) -> None:
    """Equal arguments have one cache key, whatever the order of their sets."""
    book = tmp_path / "book"
    orders = [
        typed.Order(orderNumber=1, price=decimal.Decimal("1.5"), tags=set(tags)) for tags in ("abcd", "dcba")
    ]
    first, second = ([typed.counted.submit(([one], str(book))).result(timeout=PATIENCE)] for one in orders)
    assert first[0].equals(second[0])
    assert book.read_text() == "called\n"


def test_every_float_is_a_result() -> None:
    """NaN and infinity come back; so does a float that is one of numpy."""
    runs = typed.ratio.map([1.0, -1.0, 0.0], whole=0.0)
    assert repr(runs.result(timeout=PATIENCE)) == repr([math.inf, -math.inf, math.nan])


def test_a_result_too_large_is_told_once() -> None:
    """An array that cannot be stored fails its action at once, with the remedy: no retry computes it again."""
    run = typed.zeros.delay(LIMIT // 4)
    with pytest.raises(
        ActionFailed, match=rf"an array of {LIMIT * 2} bytes is too large.*RECONCILER_MAX_OBJECT_SIZE"
    ) as failure:
        run.result(timeout=PATIENCE)
    assert failure.value.code == "InvalidResult"
    with pytest.raises(InvalidSpec, match="RECONCILER_MAX_OBJECT_SIZE"):
        typed.report.delay(pd.DataFrame({"value": []}), np.zeros(LIMIT // 8))


def test_without_a_hint_it_fails_as_in_a_lab() -> None:
    """What `Lab` says of a result without a hint is what a worker says."""
    with pytest.raises(
        ActionFailed, match=r"the result of unhinted .*give the function a return hint"
    ) as failure:
        typed.unhinted.delay().result(timeout=PATIENCE)
    assert failure.value.code == "InvalidResult"


def test_a_validator_that_refuses_in_the_worker_is_told_once(client: Client) -> None:
    """A model that is valid for its caller alone fails the action with what its validator says, without a retry."""
    run = typed.local.delay(typed.Local(process=os.getpid()))
    with pytest.raises(ActionFailed, match=f"process: Value error, made by process {os.getpid()}") as failure:
        run.result(timeout=PATIENCE)
    assert (failure.value.code, client.get(run.action).status.attempts) == ("InvalidArguments", 1)


def test_a_task_no_worker_knows_is_refused() -> None:
    """A function declared inside another one is refused before anything is stored, rather than wait for ever."""
    with pytest.raises(InvalidSpec, match=r"inner is declared inside another function"):
        typed.declared_inside().delay()


def test_people_are_shown_what_a_frame_is() -> None:
    """`reconciler result` shows form and columns of an array or a frame, and not its bytes; with --json all of it."""
    table = pd.DataFrame({"value": [float(n) for n in range(200)]})
    run = typed.report.delay(table, np.ones(200))
    run.result(timeout=PATIENCE)
    name = str(run.id).split("/")[2]
    shown = CliRunner().invoke(main, ["result", name], catch_exceptions=False).output
    full = CliRunner().invoke(main, ["result", name, "--json"], catch_exceptions=False).output
    assert '"rows": 200' in shown
    assert "characters)" in shown
    assert len(shown) < 2000 < len(full)
