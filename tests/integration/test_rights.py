"""Rights on Redis: what a user lacks is told by name before anything is run, and nothing that is used goes untried."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
import redis
from doctor_support import Installation, report

from reconciler.api.action import ActionSpec
from reconciler.broker import rights as of_broker
from reconciler.broker.check import look_at_broker
from reconciler.client import Client
from reconciler.embedded.servers import EmbeddedServers
from reconciler.settings import Settings
from reconciler.stores.redis import rights as of_records
from reconciler.stores.redis.check import store_problems
from reconciler.stores.redis.store import RedisStore
from reconciler.trials import Words
from reconciler.wiring import build_problems

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[2]
SubUser = Callable[..., Settings]
WITH_SUBCOMMANDS = {"SCRIPT", "XGROUP", "PUBSUB"}


def name_of(words: Words) -> str:
    """Return a command as an ACL names it."""
    first = str(words[0]).lower()
    return f"{first}|{str(words[1]).lower()}" if words[0] in WITH_SUBCOMMANDS else first


def names(*lists: list[Words]) -> list[str]:
    """Return the commands of the lists, each once."""
    return sorted({name_of(words) for commands in lists for words in commands})


@pytest.fixture
def user(url: str) -> Iterator[SubUser]:
    """Makes the user `ann` by the rules of an ACL, and gives the settings of who comes as her."""
    with redis.Redis.from_url(url) as client:

        def made(*rules: str) -> Settings:
            client.execute_command("ACL", "SETUSER", "ann", "reset", "on", ">t0p-s3cret", *rules)  # type: ignore[no-untyped-call]  # redis-py has no types here
            return Settings(redis_url=url.replace("redis://", "redis://ann:t0p-s3cret@"), key_prefix="cr")

        yield made
        client.acl_deluser("ann")


def records(settings: Settings) -> list[str]:
    """What is wrong with the record server for these settings."""
    with closing(RedisStore(settings)) as store:
        return store_problems(store)


def broker(settings: Settings) -> list[str]:
    """What is wrong with the broker."""
    return list(look_at_broker(settings).problems)


def test_who_may_do_all_is_told_nothing(user: SubUser) -> None:
    """Nothing is wrong with a user who may do everything, and a trial leaves nothing behind."""
    settings = user("+@all", "~*", "&*")
    with redis.Redis.from_url(settings.redis_url) as client:
        client.flushdb()
        assert records(settings) == broker(settings) == []
        assert client.keys("*trial*") == []


@pytest.mark.parametrize("command", names(of_records.sent("x"), of_records.in_scripts("x")))
def test_a_command_the_records_lack_is_named(user: SubUser, command: str) -> None:
    """A single command that is forbidden is told by its name, whether we send it or a script of ours calls it."""
    [problem] = records(user("+@all", f"-{command}", "~*", "&*"))
    assert f"+{command}" in problem
    assert "ACL SETUSER" in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize("command", names(of_broker.sent("x")))
def test_a_command_the_broker_lacks_is_named(user: SubUser, command: str) -> None:
    """The same for what kombu sends."""
    [problem] = broker(user("+@all", f"-{command}", "~*", "&*"))
    assert f"+{command}" in problem
    assert "s3cret" not in problem


@pytest.mark.parametrize("command", ["info", "publish", "subscribe", "psubscribe"])
def test_what_is_needed_around_the_trials_is_named_too(user: SubUser, command: str) -> None:
    """INFO comes first, and the channels are tried by listening."""
    settings = user("+@all", f"-{command}", "~*", "&*")
    assert f"+{command}" in " ".join([*records(settings), *broker(settings)])


@pytest.mark.parametrize(
    ("rules", "who", "right"),
    [
        (("~*",), records, "&cr:*"),
        (("~*", "&cr:mq:*"), records, "&cr:*"),
        (("~*", "&cr:*"), broker, "&cr:mq:/0.celery.pidbox"),
        (("~cr:mq:*", "&*"), records, "~cr:*"),
        (("~cr:{0*", "~cr:meta*", "&*"), records, "~cr:*"),
        (("%R~cr:*", "&*"), records, "~cr:*"),
        (("~cr:{*", "~cr:meta*", "~cr:worker:*", "&*"), broker, "~cr:*"),
        (("~other:*", "&*"), records, "~cr:*"),
    ],
)
def test_a_key_or_channel_that_is_out_of_reach_is_named(
    user: SubUser, rules: tuple[str, ...], who: Callable[[Settings], list[str]], right: str
) -> None:
    """Rights to keys and channels are told as the rule that gives them."""
    [problem] = who(user("+@all", *rules))
    assert f" {right}" in problem.replace("`", " ")


def test_every_command_of_a_script_is_tried() -> None:
    """A script that calls a new command fails here until the trial knows it."""
    texts = [file.read_text() for file in files("reconciler.stores.redis").joinpath("lua").iterdir()]
    called = {name.lower() for text in texts for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    assert called <= {name.partition("|")[0] for name in names(of_records.in_scripts("x"))}


def test_who_may_tell_nobody_is_not_told_that_a_write_failed(user: SubUser) -> None:
    """A notification is a hint: without the right to send it, what is stored is stored, and all of it."""
    settings = user("+@all", "~*", "resetchannels")
    client = Client.from_settings(msgspec.structs.replace(settings, s3_endpoint="http://127.0.0.1:1"))
    run = client.submit(ActionSpec(task_type="core-sleep", inputs=b"{}"))
    assert [record.id for record in client.actions(run.id)] == [run.action]
    client.store.close()


def rule_of_the_docs() -> list[str]:
    """Return the rule of docs/operations.md, from the password on."""
    text = (ROOT / "docs" / "operations.md").read_text()
    [rule] = re.findall(r"^ACL SETUSER reconciler on >PASSWORD (.*)$", text, re.MULTILINE)
    return str(rule).split()


def test_the_rule_of_the_docs_passes_each_trial(user: SubUser) -> None:
    """The user of the docs is told nothing."""
    settings = user(*rule_of_the_docs())
    assert records(settings) == broker(settings) == []


def test_a_missing_right_is_told_once_at_the_start(user: SubUser, servers: EmbeddedServers) -> None:
    """Nothing that needs the right is tried once it is known to be missing."""
    lacking = user("+@all", "-hsetnx", "~*", "&*")
    settings = Settings.from_env(servers.env(), redis_url=lacking.redis_url)
    told = [problem for problem in build_problems(settings) if "hsetnx" in problem.lower()]
    assert len(told) == 1
    assert "+hsetnx" in told[0]


def test_safe_needs_one_right_more(user: SubUser) -> None:
    """`safe` asks how the server writes, and says by which right."""
    settings = msgspec.structs.replace(user(*rule_of_the_docs()), durability="safe")
    assert "+config|get" in " ".join(records(settings))


def commands_of_server(client: redis.Redis) -> set[str]:
    """Return every command the server was sent, or ran for a script, as an ACL names it."""
    stats: dict[str, object] = client.info("commandstats")  # type: ignore[assignment]  # redis-py says it may be awaited
    return {name.removeprefix("cmdstat_") for name in stats}


def test_a_whole_installation_runs_as_the_user_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, attempts, beat and a client do their work as that user, and no command is used that was not tried."""
    with Installation(tmp_path, rule_of_the_docs()) as installation:
        installation.environ(monkeypatch)
        found = report("--probe")
        assert (found.code, found.problems) == (0, {}), found.text
        with redis.Redis.from_url(installation.servers.redis_url) as client:
            used = commands_of_server(client)
            refusals: list[object] = client.execute_command("ACL", "LOG")  # type: ignore[no-untyped-call]  # redis-py has no types here
    assert refusals == []
    tried = {
        *names(of_records.sent("x"), of_records.in_scripts("x"), of_broker.sent("x")),
        *("info", "publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"),
    }
    of_every_connection = {"hello", "auth", "select", "client|setinfo", "client|setname"}
    of_this_test = {
        "acl|setuser",
        "acl|log",
        "config|get",
    }  # the last one by the embedded stack, as `default`
    assert used - tried - of_every_connection - of_this_test == set()
