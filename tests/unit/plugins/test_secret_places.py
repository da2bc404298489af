"""Where secrets come from, in which order, what a value may be, and that none of it is shown (R71)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler import Secret
from reconciler.api.action import ActionId, ActionSpec, TaskAction
from reconciler.api.errors import InvalidName, InvalidSettings, InvalidSpec, SecretNotFound, SecretUnavailable
from reconciler.api.template import SecretRef, TaskTemplate, encode_template
from reconciler.plugins.managers import NoopSecretManager
from reconciler.plugins.secrets import ChainedSecrets, EnvironmentSecrets, FileSecrets
from reconciler.settings import Settings
from reconciler.stores.secrets import SecretId, SecretValue
from reconciler.wiring import secrets_of
from worker.attempts.fitness import CannotRun
from worker.attempts.secrets import AttemptSecrets, check_declared, resolve
from worker.runner.runner import Died, Ended, Raised, Stopped
from worker.secrets_lacked import LackedSecrets

pytestmark = pytest.mark.rule("R71")
CANARY = "c4n4ry-Value+/=42"


class Shelf:
    """A place that holds what it is given, by scope and name, and counts how often it is asked."""

    def __init__(self, **held: str | bytes | Exception) -> None:
        self.held = held
        self.asked: list[str] = []

    def fetch(self, secret: SecretId) -> SecretValue:
        """Return or raise as told."""
        name = "_".join((*secret.scope, secret.name))
        self.asked.append(name)
        found = self.held.get(name)
        if found is None:
            raise SecretNotFound(name)
        if isinstance(found, Exception):
            raise found
        return SecretValue(text=found) if isinstance(found, str) else SecretValue(binary=found)


def get(shelf: Shelf, key: str = "db", **options: Any) -> str:
    """Return the value a project `p` in the domain `d` sees."""
    return ChainedSecrets([shelf], **options).get(key, project="p", domain="d")


# -- the chain -------------------------------------------------------------------------------------------------------


def test_the_narrowest_scope_counts() -> None:
    """Project and domain come first, then the domain, then the installation; another project's is never asked."""
    shelf = Shelf(d_p_db="project", d_db="domain", db="all", other_p_db="foreign")
    assert get(shelf) == "project"
    del shelf.held["d_p_db"]
    assert get(shelf) == "domain"
    del shelf.held["d_db"]
    assert get(shelf) == "all"
    assert shelf.asked[-3:] == ["d_p_db", "d_db", "db"]
    assert not any(name.startswith("other") for name in shelf.asked)


def test_scopes_come_before_places() -> None:
    """A narrower secret of a later place wins over a wider one of an earlier place."""
    chain = ChainedSecrets([Shelf(db="wide"), Shelf(d_p_db="narrow")])
    assert chain.get("db", project="p", domain="d") == "narrow"


def test_only_not_found_goes_on() -> None:
    """Any other failure ends the lookup, though a wider scope or a later place has a value."""
    broken, second = Shelf(d_db=SecretUnavailable("refused"), db="wide"), Shelf(db="other")
    with pytest.raises(SecretUnavailable, match="refused"):
        ChainedSecrets([broken, second]).get("db", project="p", domain="d")
    assert second.asked == ["d_p_db"]


def test_a_missing_secret_is_named() -> None:
    """When no scope of no place has it, the error names the key and where to store it."""
    with pytest.raises(SecretNotFound, match=r'"db".*RECONCILER_SECRETS'):
        get(Shelf())


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("text", "text"), ("täxt\n", "täxt\n"), (b"bytes", "bytes"), ("ü".encode(), "ü")],
)
def test_values_that_are_text(value: str | bytes, wanted: str) -> None:
    """A text is taken as it is, bytes as UTF-8."""
    assert get(Shelf(db=value)) == wanted


@pytest.mark.parametrize("value", ["", b"", b"\xff\xfe", "a\0b", "x" * 65_537])
def test_values_that_are_none(value: str | bytes) -> None:
    """Nothing, no UTF-8, zero bytes and too much are errors that name the key and not the value."""
    with pytest.raises(SecretUnavailable, match="db") as caught:
        get(Shelf(db=value, d_p_other="x"))
    assert not isinstance(caught.value, SecretNotFound)
    assert not value or repr(value)[2:-1] not in str(caught.value)


def test_values_are_remembered_for_a_while() -> None:
    """A value is looked up once in its time, per project; then a changed one is seen."""
    now = [0.0]
    shelf = Shelf(db="old")
    chain = ChainedSecrets([shelf], cache_for=timedelta(seconds=30), clock=lambda: now[0])
    assert [chain.get("db", project="p", domain="d") for _ in range(3)] == ["old"] * 3
    assert len(shelf.asked) == 3
    shelf.held["d_p_db"] = "new"
    now[0] = 29.9
    assert chain.get("db", project="p", domain="d") == "old"
    assert chain.get("db", project="q", domain="d") == "old"
    now[0] = 30.1
    assert chain.get("db", project="p", domain="d") == "new"


def test_missing_secrets_are_not_remembered() -> None:
    """A secret that is stored after it was missed is found by the next lookup."""
    shelf = Shelf()
    chain = ChainedSecrets([shelf])
    with pytest.raises(SecretNotFound):
        chain.get("db")
    shelf.held["db"] = "now"
    assert chain.get("db") == "now"


@pytest.mark.parametrize("key", ["../db", "a/b", "", ".", "a b", "x" * 129])
def test_keys_cannot_leave_their_place(key: str) -> None:
    """A key that is no name is refused before any place is asked."""
    shelf = Shelf()
    with pytest.raises(InvalidName):
        ChainedSecrets([shelf]).get(key)
    with pytest.raises(InvalidName):
        ChainedSecrets([shelf]).get("db", group=key or "..")
    assert shelf.asked == []


# -- the places ------------------------------------------------------------------------------------------------------


def test_environment() -> None:
    """A variable holds a secret of the installation; it is none of a domain."""
    place = EnvironmentSecrets({"SECRET_DB_PASSWORD": "one", "SECRET_TEAM__API_KEY": "two"})
    assert place.fetch(SecretId(key="db-password")).text == "one"
    assert place.fetch(SecretId(key="api.key", group="team")).text == "two"
    for secret in (SecretId(key="db-password", domain="d"), SecretId(key="none")):
        with pytest.raises(SecretNotFound):
            place.fetch(secret)


def test_files(tmp_path: Path) -> None:
    """Each scope has its folder; one line break at the end does not count; a folder is no secret."""
    files = {"db": b"all\n", "d/db": b"domain\r\n", "d/p/db": b"project", "d/p/team.key": b"line\n\n"}
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
    place = FileSecrets(tmp_path)
    scopes: list[dict[str, str]] = [{}, {"domain": "d"}, {"domain": "d", "project": "p"}]
    found = [place.fetch(SecretId(key="db", **scope)).binary for scope in scopes]
    assert found == [b"all", b"domain", b"project"]
    assert place.fetch(SecretId(key="key", group="team", domain="d", project="p")).binary == b"line\n"
    for missing in (SecretId(key="d"), SecretId(key="x"), SecretId(key="x", domain="db")):
        with pytest.raises(SecretNotFound):
            place.fetch(missing)


def test_files_stay_in_their_folder(tmp_path: Path) -> None:
    """A link inside of the folder is followed, as Kubernetes makes them; one that leads out is refused."""
    folder = tmp_path / "secrets"
    (folder / "..data").mkdir(parents=True)
    (folder / "..data" / "inner").write_text("inside")
    (tmp_path / "outer").write_text("outside")
    (folder / "linked").symlink_to(folder / "..data" / "inner")
    (folder / "escaped").symlink_to(tmp_path / "outer")
    place = FileSecrets(folder)
    assert place.fetch(SecretId(key="linked")).binary == b"inside"
    with pytest.raises(SecretUnavailable, match="outside"):
        place.fetch(SecretId(key="escaped"))


def test_open_files_are_warned_of(tmp_path: Path) -> None:
    """A file that others may read is used, with one warning that shows no value."""
    for name, mode in (("open", 0o644), ("shut", 0o600)):
        (tmp_path / name).write_text(CANARY)
        (tmp_path / name).chmod(mode)
    place = FileSecrets(tmp_path)
    with capture_logs() as logs:
        for key in ("open", "open", "shut"):
            assert place.fetch(SecretId(key=key)).binary == CANARY.encode()
    assert [(line["event"], line["mode"]) for line in logs] == [("secrets.file_open", "644")]
    assert CANARY not in str(logs)


def test_values_are_not_printed() -> None:
    """Neither `repr` nor `str` of what a place answers shows the value."""
    assert CANARY not in f"{SecretValue(text=CANARY)} {SecretValue(binary=CANARY.encode())!r}"


# -- settings and declarations ---------------------------------------------------------------------------------------


def test_places_are_settings(tmp_path: Path) -> None:
    """`RECONCILER_SECRETS` names the places in order; none means that every lookup fails."""
    (tmp_path / "db").write_text("from file")
    manager = secrets_of(Settings.from_env({"RECONCILER_SECRETS": f"env,files:{tmp_path},aws:prod/"}))
    assert manager.get("db") == "from file"
    assert isinstance(secrets_of(Settings()), NoopSecretManager)


@pytest.mark.parametrize("text", ["vault", "env:X", "files:relative", "files:", "aws:a b"])
def test_unknown_places_are_told(text: str) -> None:
    """A place of another form is a mistake in the settings, told with the forms there are."""
    with pytest.raises(InvalidSettings, match="write env, files:/folder or aws:prefix/"):
        Settings.from_env({"RECONCILER_SECRETS": text})


@pytest.mark.parametrize("text", ["gpu=", "gpu=-1", "gpu=1.5", "=4", "g{p}u=1"])
def test_wrong_quotas_are_told(text: str) -> None:
    """A quota of another form is a mistake in the settings."""
    with pytest.raises(InvalidSettings, match="RECONCILER_QUOTAS"):
        Settings.from_env({"RECONCILER_QUOTAS": f"db=10,{text}"})


def test_a_declared_secret_is_a_reference() -> None:
    """A task's template names key, group and variable; the variable follows from the key when it is not given."""
    assert Secret("db-password", env="DB").reference() == SecretRef(key="db-password", env="DB")
    assert Secret("api.key", group="team").reference() == SecretRef(
        key="api.key", group="team", env="API_KEY"
    )


@pytest.mark.parametrize(("key", "env"), [("db", "A=B"), ("db", "1A"), ("1db", ""), ("db", "RUN_NAME")])
def test_variables_that_cannot_be_used(key: str, env: str) -> None:
    """What is no name of a variable, or one of the platform's, is refused where the task is declared."""
    with pytest.raises(InvalidSpec):
        Secret(key, env=env).reference()


# -- the attempt -----------------------------------------------------------------------------------------------------


def action_with(*secrets: SecretRef) -> TaskAction:
    """Return a record whose template asks for secrets."""
    template = encode_template(TaskTemplate(type="function", secrets=secrets))
    return TaskAction(ActionId("p", "d", "r", "a"), ActionSpec(task_template=template))


def test_an_attempt_gets_what_its_project_sees() -> None:
    """Each secret of the template is resolved for the action's project and domain, into its variable."""
    chain = ChainedSecrets([Shelf(d_p_db=CANARY, token="t0ken")])
    found = resolve(action_with(SecretRef(key="db", env="DB"), SecretRef(key="token")), chain)
    assert found.env == {"DB": CANARY, "TOKEN": "t0ken"}


@pytest.mark.parametrize(
    "secret",
    [
        SecretRef(key="../x"),
        SecretRef(key="db", env="RUN_NAME"),
        SecretRef(key="db", mount="file"),
    ],
    ids=["path", "platform", "mount"],
)
def test_a_secret_that_no_attempt_can_have_fails_for_good(secret: SecretRef) -> None:
    """What no installation can resolve is one error that no retry can help."""
    with pytest.raises(SecretUnavailable) as caught:
        resolve(action_with(secret), ChainedSecrets([Shelf(db="value")]))
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("places", "lacks"),
    [
        (Shelf(), "g.db"),
        (Shelf(**{"g.db": ""}), "g.db"),
        (Shelf(**{"g.db": b"\xff"}), "g.db"),
        (Shelf(**{"g.db": SecretUnavailable("refused")}), "g.db"),
        (Shelf(**{"g.db": SecretUnavailable("away", retryable=True)}), ""),
    ],
    ids=["missing", "empty", "no text", "refused", "away"],
)
def test_a_secret_this_worker_lacks_is_not_the_functions_fault(places: Shelf, lacks: str) -> None:
    """The launch goes back, with the name of the secret unless it is an outage, which does not count."""
    with pytest.raises(CannotRun, match="worker ") as caught:
        resolve(action_with(SecretRef(key="db", group="g")), ChainedSecrets([places]))
    assert caught.value.lacks == lacks


def test_a_worker_finds_out_what_it_lacks() -> None:
    """By the names in the declarations; what is there is not asked for again at once, and an outage changes nothing."""
    shelf = Shelf(d_p_db="value")
    declared: dict[str, list[SecretRef]] = {
        "f": [SecretRef(key="db"), SecretRef(key="api", group="g")],
        "h": [SecretRef(key="db")],
    }
    looked = LackedSecrets(ChainedSecrets([shelf], cache_for=timedelta(0)), declared, "p", "d")
    assert (looked.of("f"), looked.of("h"), looked.of("other")) == ([], [], [])
    looked.look(0)
    assert (looked.of("f"), looked.of("h")) == (["g.api"], [])
    del shelf.held["d_p_db"]
    shelf.held["g.api"] = SecretUnavailable("away", retryable=True)
    looked.look(60)
    assert (looked.of("f"), looked.of("h")) == (["g.api"], [])
    shelf.held["g.api"] = "stored"
    looked.look(1000)
    assert (looked.of("f"), looked.of("h")) == (["db"], ["db"])


OWN = Secret("db", env="DB").reference()


@pytest.mark.parametrize("asked", [OWN, SecretRef(key="token")], ids=["named", "by its key"])
def test_a_function_gets_what_it_declares(asked: SecretRef) -> None:
    """A template that asks for what the function declares is fine, however it spells the variable."""
    check_declared("f", [asked], [OWN, Secret("token").reference()])


@pytest.mark.parametrize(
    "asked",
    [SecretRef(key="other"), SecretRef(key="db", env="LD_PRELOAD"),
     SecretRef(key="db", env="DB", group="g"), SecretRef(key="db", env="DB", mount="file"), SecretRef(key="../x")],
    ids=["key", "variable", "group", "mount", "path"],
)  # fmt: skip
def test_a_submitter_picks_no_secrets(asked: SecretRef) -> None:
    """A secret, a group, a variable or a mount that the function does not declare fails the call for good."""
    for declared in ([], [OWN]):
        with pytest.raises(SecretUnavailable) as caught:
            check_declared("f", [asked], declared)
        assert not caught.value.retryable


@pytest.mark.parametrize(
    "shown",
    [
        CANARY,
        repr({"x": "quo\"te's\n" + CANARY}),
        json.dumps(CANARY),
        "".join(f"<{CANARY}>" for _ in range(9)),
    ],
)
def test_values_are_masked(shown: str) -> None:
    """A value is masked wherever it stands in a text, and the rest of the text stays."""
    masked = AttemptSecrets({"X": CANARY}).mask_text(f"before {shown} after")
    assert CANARY not in masked
    assert "**" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


def test_escaped_and_broken_values_are_masked() -> None:
    """A value with quotes and line breaks is masked also as `repr` or JSON writes it, and line by line."""
    value = "-----BEGIN-----\nline-one-of-the-key\nline\"two'of-the-key\n"
    secrets = AttemptSecrets({"KEY": value})
    for shown in (value, repr(value), json.dumps(value), *value.splitlines()):
        masked = secrets.mask_text(f"[{shown}]")
        assert "of-the-key" not in masked
        assert "BEGIN" not in masked


def test_the_longer_value_is_masked_first() -> None:
    """A value that is part of another one leaves nothing of the other."""
    assert AttemptSecrets({"A": "abcd", "B": "abcdefgh"}).mask_text("abcdefgh abcd") == "** **"


def test_halves_at_a_cut_are_masked() -> None:
    """What a cut left of a value, before and after it, is masked too."""
    secrets = AttemptSecrets({"X": CANARY})
    masked = secrets.mask_text(f"a{CANARY[:9]}\n[... cut ...]\n{CANARY[9:]}z")
    assert masked == "a**\n[... cut ...]\n**z"
    log = secrets.mask(f"a{CANARY[:12]}\n[cut: the log was longer than 99 bytes]\n".encode())
    assert log == b"a**\n[cut: the log was longer than 99 bytes]\n"


def test_ends_of_calls_are_masked() -> None:
    """Message and traceback of an exception, of a death and of a stop show no value."""
    secrets = AttemptSecrets({"X": CANARY})
    ends: list[Ended] = [
        Raised("Error", CANARY, f"trace {CANARY}", retryable=True),
        Died(9, None, oom=False, message=CANARY),
        Stopped(CANARY, killed=False),
    ]
    for end in ends:
        assert CANARY not in repr(secrets.mask_end(end))


def test_without_secrets_nothing_changes() -> None:
    """A text of an attempt without secrets, or with values too short to be one, stays byte for byte."""
    data = b"\xff\xfe 1 no \n[... cut ...]\n"
    assert AttemptSecrets({}).mask(data) == data
    assert AttemptSecrets({"X": "no"}).mask(data) == data
