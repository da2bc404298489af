"""No folder of one action is, or lies in, a folder of another: of any two incarnations, names, prefixes and bases."""

from __future__ import annotations

import random
from typing import NamedTuple

import msgspec
import pytest

from reconciler.api.action import ActionId, ActionSpec, record_name
from reconciler.core.layout import base_problem, inputs_folder, is_default_base, run_folder
from reconciler.core.paths import output_prefix
from reconciler.stores.blobs import join_uri
from reconciler.stores.garbage import Life

PAIRS = 10_000
BUCKET = "bucket"
NAMES = ("ab", "a", "1", "2", "1-1", "inputs", "runs", "a0", "a.b", "x_y", "vy", "default", "Z")
"""Few, and like shards, attempts and our own folders, so that they meet as often as they can."""
PREFIXES = ("", "ab", "ab/ab", "a/1", "ab/x/1", "runs", "1/1/1", "default/ab")
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


class Put(NamedTuple):
    """A launch, and where what belongs to it lies."""

    action: ActionId
    incarnation: str
    attempts: str
    launch: str
    inputs: str

    @property
    def life(self) -> tuple[ActionId, str]:
        """Whose it is."""
        return self.action, self.incarnation


def drawn(rng: random.Random) -> str:
    """Return a new incarnation."""
    return "".join(rng.choices(LETTERS, k=10))


def put(rng: random.Random, action: ActionId, incarnation: str, prefix: str, base: str = "") -> Put:
    """Return a launch of an action with the default base, or another one."""
    own = join_uri(BUCKET, prefix, run_folder(action.run_id, incarnation))
    name = record_name(action, ActionSpec(parent_action_name=rng.choice((None, "p"))))
    attempt = rng.randrange(1, 4)
    where = output_prefix("flyte", name, base or own, action.action, attempt, rng.randrange(3))
    return Put(
        action, incarnation, where.rpartition("/")[0], where, inputs_folder(own, action.action, drawn(rng))
    )


def nested(one: str, other: str) -> bool:
    """Whether one folder is the other, or lies in it, or holds it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def identity(rng: random.Random) -> ActionId:
    """Return an action of nasty names."""
    return ActionId(*(rng.choice(NAMES) for _ in range(4)))


def near(rng: random.Random, action: ActionId) -> ActionId:
    """Return the same action, or one that differs in some of its names."""
    parts = [part if rng.random() < 0.7 else rng.choice(NAMES) for part in msgspec.to_builtins(action)]
    return ActionId(*parts)


def test_no_two_actions_share_a_folder() -> None:
    """10,000 pairs: what one may write, or have collected, is no part of what is the other's, nor any key."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(PAIRS):
        first = identity(rng)
        second, prefixes = near(rng, first), [rng.choice(PREFIXES)] * 2
        incarnation = drawn(rng)
        if rng.random() < 0.5:
            prefixes[1] = rng.choice(PREFIXES)  # another installation in the same bucket
        same_run = first.run_id == second.run_id and prefixes[0] == prefixes[1] and rng.random() < 0.5
        one = put(rng, first, incarnation, prefixes[0])
        other = put(rng, second, incarnation if same_run else drawn(rng), prefixes[1])
        if one.life == other.life:
            assert nested(one.launch, other.launch) == (one.launch == other.launch), (one, other)
            assert not nested(one.attempts, other.inputs), (one, other)
            continue
        for mine in (one.attempts, one.inputs):
            for theirs in (other.attempts, other.inputs):
                assert not nested(mine, theirs), (one, other)
        assert str(Life(*one.life)) != str(Life(*other.life))


def test_no_base_that_is_accepted_reaches_into_the_default_ones() -> None:
    """10,000 bases of submitters, drawn from our own folders' names: accepted ones and default ones stay apart."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    accepted = 0
    for _ in range(PAIRS):
        prefix, incarnation, action = rng.choice(PREFIXES), drawn(rng), identity(rng)
        folder = run_folder(action.run_id, incarnation)
        parts = [*prefix.split("/"), *folder.split("/"), *NAMES]
        base = join_uri(BUCKET, *rng.choices(parts, k=rng.randrange(1, 6)))
        if rng.random() < 0.3:
            base = join_uri(BUCKET, *f"{prefix}/{folder}".split("/")[: rng.randrange(1, 7)])
        if base_problem(base, prefix):
            continue
        accepted += 1
        default = put(rng, action, incarnation, prefix)
        custom = put(rng, near(rng, action), incarnation, prefix, base)
        for theirs in (default.launch, default.inputs):
            assert not nested(custom.launch, theirs), (base, custom, default)
    assert accepted > PAIRS / 4


@pytest.mark.parametrize(
    ("base", "prefix", "text"),
    [
        ("s3://bucket/_runs", "", "lies in '_runs'"),
        ("s3://bucket/ab/_runs/p/d/r@x", "", "lies in '_runs'"),
        ("s3://other/x/_runs/y", "", "lies in '_runs'"),
        ("s3://bucket/team", "team/data/1", "lies above"),
        ("s3://bucket/data", "ab/data/x/1-2", "lies above"),
        ("s3://bucket/_runs2/x", "", ""),
        ("s3://bucket/team", "team/data", ""),
        ("s3://bucket/default/development/run1", "", ""),
        ("", "", ""),
    ],
)
def test_a_base_that_reaches_into_ours_is_refused(base: str, prefix: str, text: str) -> None:
    """With a sentence that says why; all others are the submitter's to choose."""
    found = base_problem(base, prefix)
    assert text in found if text else not found


def test_a_default_base_is_known_when_it_comes_back() -> None:
    """A spec that was read from a record carries the base of its run, which is none the submitter chose."""
    run = ActionId("p", "d", "r", "a").run_id
    own = join_uri(BUCKET, "x", run_folder(run, "aaaaaaaaaa"))
    assert is_default_base(own)
    for other in (
        f"{own}/a0",
        own.rpartition("@")[0],
        f"s3://bucket/_runs/x{own[12:]}",
        "s3://bucket/p/d/r",
        "",
    ):
        assert not is_default_base(other)
    assert run_folder(run, "") == "p/d/r", "as releases before wrote it"
