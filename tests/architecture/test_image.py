"""The image: its base and every package in it are pinned, and what is pinned is what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXTRAS = ("flower", "otel")
"""Those that the image has."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPTIONAL = PROJECT["project"]["optional-dependencies"]


def locked(name: str) -> dict[str, tuple[str, int]]:
    """Return packages of a file of docker/: version, and how many files of it are known by their hash."""
    text = (ROOT / "docker" / name).read_text().replace("\\\n", " ")
    found = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    pins = {words[0]: sum(word.startswith("--hash=sha256:") for word in words) for words in found}
    return {canonicalize_name(pin.split("==")[0]): (pin.split("==")[1], count) for pin, count in pins.items()}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (
            "requirements.txt",
            [*PROJECT["project"]["dependencies"], *(one for name in EXTRAS for one in OPTIONAL[name])],
        ),
        ("build.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_what_is_locked_is_what_is_asked_for(name: str, wanted: list[str]) -> None:
    """Each dependency has a version that is allowed and a hash; `docker/lock.sh` renews what is not so."""
    pins = locked(name)
    assert [package for package, (_, hashes) in pins.items() if not hashes] == []
    for requirement in map(Requirement, wanted):
        version, _ = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} has {version}: run docker/lock.sh"


def test_the_build_backend_is_locked_as_it_is_asked_for() -> None:
    """The list that is locked for the build is that of pyproject.toml."""
    assert (ROOT / "docker" / "build.in").read_text().split() == PROJECT["build-system"]["requires"]


def test_the_base_has_a_digest() -> None:
    """Both stages are made from it."""
    [base] = re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim@sha256:[0-9a-f]{64}", base)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON}", "${PYTHON}"]


def test_nothing_is_installed_without_a_hash() -> None:
    """But our own wheel, which brings no other package along."""
    calls = re.findall(r"pip (?:install|wheel) [^\\\n&]+", DOCKERFILE)
    assert len(calls) == 4
    assert [call for call in calls if "--require-hashes" not in call and "--no-deps" not in call] == []


def test_the_build_imports_the_functions() -> None:
    """A module that does not import ends the build, not the first attempts worker."""
    assert "RUN reconciler doctor --imports" in DOCKERFILE
    assert re.search(r"^ARG RECONCILER_IMPORTS=examples$", DOCKERFILE, re.MULTILINE)


def test_the_build_has_what_the_wheel_is_made_of() -> None:
    """Of a file that is missing there the build of the wheel would fail, in the image alone."""
    target = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {*target["packages"], *target["force-include"], *target["shared-data"]}
    copied = {
        word
        for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert [one for one in wanted if one.split("/")[0] not in copied & let_in] == []
    assert all((ROOT / one).exists() for one in wanted)
