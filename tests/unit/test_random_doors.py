"""10,000 random names, queues, places and texts at every door: none but our errors, and no two things share a key.

`DOOR_SEED=…` repeats what a failed test has printed; `DOOR_TRIES=…` tries another number.
"""

from __future__ import annotations

import os
import random
import string
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from reconciler import Secret, TaskEnvironment
from reconciler.api.action import ActionId, ActionSpec
from reconciler.api.errors import InvalidInput, ReconcilerError
from reconciler.api.places import place_problem
from reconciler.api.queues import check_attempts_queue, check_queue
from reconciler.api.resource import check_resource
from reconciler.api.template import TaskTemplate, encode_template
from reconciler.broker.conf import celery_settings
from reconciler.client.door import Door
from reconciler.client.submission import key_name, new_run_name
from reconciler.core.paths import fnv1a32, input_path, output_prefix
from reconciler.core.validation import check_annotations, check_labels
from reconciler.settings import Settings
from reconciler.stores.blobs import parse_uri
from reconciler.stores.redis.keys import Keys
from reconciler.testing import Lab

TRIES = int(os.environ.get("DOOR_TRIES") or 10_000)
KEYS = Keys("cr", 16)
GOOD = ActionSpec(
    run_name="r", project="p", domain="d", action_name="a", task_type="echo", task_template=b"{}", inputs=b"{}",
    input_uri="inline:", run_output_base="s3://memory/base",
)  # fmt: skip
PIECES = (
    "a", "b", "0", "A", ".", "..", "-", "_", "/", "//", ":", "::", "{", "}", "{01}", "*", "?", "#", "%2e", "\\", " ", "\n",
    "\r", "\t", "\0", "\x06\x16", "\x1b[2J", "\x85", "\x9b", "\u200b", "\u202e", "\u2028", "\ud800", "\udfff",
    "é", "日", "🎉", "s3://",
    "S3://", "file://", "memory", "other", "inline:", "steps", "attempts", "celery", "celeryev", ".pidbox", "unacked",
    "attempts_unacked", "unacked_index", "_kombu.binding.", "amq.", "due", "done", "meta", "worker", "mq", "cr", "=",
    ",", "&", "@",
    "LD_PRELOAD", "AWS_X", "a" * 29, "b" * 63, "c" * 300, "inputs.pb", "_flytecheckpoints", "1-1",
)  # fmt: skip


@pytest.fixture
def rng() -> random.Random:
    """Randomness that can be repeated; the seed is printed with a failure."""
    seed = int(os.environ.get("DOOR_SEED") or random.SystemRandom().randrange(2**32))
    print(f"DOOR_SEED={seed}")
    return random.Random(seed)


def texts(rng: random.Random) -> Iterator[str]:
    """Yield texts: pieces that mean something to somebody, plain names, and any characters at all."""
    for _ in range(TRIES):
        match rng.randrange(4):
            case 0:
                yield "".join(rng.choices(PIECES, k=rng.randint(0, 5)))
            case 1:
                yield "".join(rng.choices(string.ascii_letters + string.digits + "._-", k=rng.randint(1, 40)))
            case 2:
                yield "".join(
                    chr(rng.randrange(rng.choice((128, 0x3000, 0x110000)))) for _ in range(rng.randint(0, 12))
                )
            case _:
                yield rng.choice(PIECES) + "".join(rng.choices("ab01._-", k=rng.randint(0, 6)))


def accepted(door: Callable[[], object]) -> bool:
    """Whether a door lets something in; the error of one that does not is ours, a sentence that can be written anywhere."""
    try:
        door()
    except InvalidInput as error:
        str(error).encode(errors="backslashreplace")
        return False
    return True


def distinct(owners: dict[str, object], keys: Iterator[str] | list[str], owner: object) -> None:
    """Note whose keys these are; nobody else has one of them."""
    for key in keys:
        assert owners.setdefault(key, owner) == owner, f"{key!r} is {owners[key]!r}'s and {owner!r}'s"


def test_no_two_actions_share_a_key(rng: random.Random) -> None:
    """Names of every part of an identity: what is accepted has keys of its own, in the namespace of its shard."""
    owners: dict[str, object] = {}
    good = ["p", "d", "r", "a"]
    let_in = 0
    for text in texts(rng):
        parts = list(good)
        for _ in range(rng.randint(1, 2)):
            parts[rng.randrange(4)] = text
        action = ActionId(*parts)
        if not accepted(action.checked):
            continue
        let_in += 1
        run = action.run_id
        distinct(owners, [KEYS.action(action)], action)
        distinct(owners, [KEYS.tree(run), KEYS.run(run), KEYS.shared(run), KEYS.channel(run)], run)
        for key in (KEYS.action(action), KEYS.tree(run)):
            assert key.startswith(f"cr:{{{KEYS.shard_of(run):02d}}}:")
            assert (key.count(":"), key.count("{"), key.isascii() and key.isprintable()) == (3, 1, True)
        assert ActionId.parse(str(action)) == action
    assert let_in > TRIES / 20


def test_no_queue_is_a_key_of_ours(rng: random.Random) -> None:
    """Queues of the decorator, of a template and of the settings: none is a key of the transport or of the records."""
    options: Any = celery_settings(Settings())["broker_transport_options"]
    prefix = options["global_keyprefix"]
    kept = {prefix + value for name, value in options.items() if name.endswith("_key")}
    kept |= {KEYS.meta, KEYS.confirm, KEYS.due(1), KEYS.runs(1), KEYS.worker("x")}
    door, let_in = Door(Settings(), "memory"), 0
    for text in texts(rng):
        template = encode_template(TaskTemplate(type="function", custom={"function": "f", "queue": "q"}))
        by_template = True
        if "\ud800" not in text and "\udfff" not in text and not any("\ud800" <= c <= "\udfff" for c in text):
            custom: dict[str, Any] = {"function": "f", "queue": text}
            template = encode_template(TaskTemplate(type="function", custom=custom))
            spec = msgspec.structs.replace(GOOD, task_type="function", task_template=template)
            by_template = accepted(lambda spec=spec: door.check(ActionId("p", "d", "r", "a"), spec))  # type: ignore[misc]  # bound now
            by_name = not text or accepted(lambda text=text: check_attempts_queue(text, "steps"))  # type: ignore[misc]  # as above
            assert by_template == by_name, text
        by_decorator = accepted(lambda text=text: TaskEnvironment("e", queue=text))  # type: ignore[misc]  # as above
        assert by_decorator <= by_template
        if not text or not by_decorator:
            continue
        let_in += 1
        key = prefix + text
        assert key not in kept
        assert ":" not in text
        assert "\x06\x16" not in text, "kombu would read a priority"
        assert not text.startswith("_kombu")
        assert check_queue(text) == text
        assert text != "steps"
    assert let_in > TRIES / 20


def test_no_place_leaves_its_folder(rng: random.Random) -> None:
    """Places of inputs and outputs: what is accepted is an address of ours, and what is built on it stays below it."""
    door, let_in = Door(Settings(buckets=("other",)), "memory"), 0
    for text in texts(rng):
        uri = rng.choice((text, f"s3://memory/{text}", f"s3://other/x/{text}", f"s3://{text}/x"))
        for field in ("input_uri", "run_output_base"):
            spec = msgspec.structs.replace(GOOD, inputs=None, input_uri="s3://memory/in")
            spec = msgspec.structs.replace(spec, **{field: uri})
            if not accepted(lambda spec=spec: door.check(ActionId("p", "d", "r", "a"), spec)) or not uri:  # type: ignore[misc]  # as above
                continue
            let_in += 1
            assert place_problem(uri) == ""
            built = (
                input_path(uri)
                if field == "input_uri"
                else output_prefix("flyte", "r-a", uri, "a", 1) + "/outputs.pb"
            )
            address = parse_uri(built)
            assert address.bucket in {"memory", "other"}
            assert not {"", ".", ".."} & set(address.key.split("/"))
            assert address.key.isprintable()
    assert let_in > TRIES / 50


def test_no_text_is_a_raw_error(rng: random.Random) -> None:
    """Every other text at every other door: labels, annotations, variables, secrets, keys, options, resources, signals."""
    lab = Lab()
    env = TaskEnvironment("e", client=lab.client)
    doors: list[Callable[[str], object]] = [
        lambda text: check_labels({text: "x"}),
        lambda text: check_labels({"a": text}),
        lambda text: check_annotations({text: text}),
        check_resource,
        lambda text: Secret(text).reference(),
        lambda text: Secret("a", env=text, group=text).reference(),
        key_name,
        TaskEnvironment,
        lambda text: env.task(name=text)(_task),
        lambda text: env.task(resources=text)(_task),
        lambda text: env.task(name="cached", cache=text)(_task).delay(1),
        lambda text: lab.client.abort(action, text, text),
        lambda text: lab.client.condition(text or "x", "str", text, text, None, text),
        lambda text: lab.client.signal(asked, text, text),
        lambda text: lab.client.submit(msgspec.structs.replace(GOOD, run_name="", short_name=text[:63], group=text[:256])),
        lambda text: lab.client.submit(msgspec.structs.replace(GOOD, run_name=text, env_vars={text: text})),
        lambda text: lab.client.submit(msgspec.structs.replace(GOOD, cache_key=text, task_type=text)),
        lambda text: lab.client.submit(GOOD, idempotency_key=text),
        lambda text: Settings(project=text, steps_queue=text, key_prefix=text, s3_prefix=text, s3_bucket=text).problems(),
        new_run_name,
    ]  # fmt: skip
    action = lab.client.submit(msgspec.structs.replace(GOOD, run_name="")).action
    asked = lab.client.condition("asked", "str").action
    lab.step(asked)
    for number, text in enumerate(texts(rng)):
        door = doors[number % len(doors)]
        with suppress(ReconcilerError):  # signals and aborts have errors of their own on our tree
            door(text)


def _task(x: int) -> int:
    return x


def test_hashes_take_any_text(rng: random.Random) -> None:
    """What spreads folders takes every name that a door lets in."""
    for text in texts(rng):
        if text.isascii():
            assert 0 <= fnv1a32(text) < 2**32
