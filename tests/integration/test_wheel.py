"""The wheel as an index of packages would show it, built as `pip wheel` builds it, without network."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/celery-reconciler/celery-reconciler"
IN_TREE = f"{REPOSITORY}/blob/main/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built once, by the backend that the test extra installs."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--quiet"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\nDoes `make .venv/.installed` say that all is installed?"
    [built] = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """What an index reads."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return BytesParser().parsebytes(wheel.read(name))


def test_it_says_where_the_project_lives(metadata: Message) -> None:
    """Code, documents, changes and issues have an address, all of one repository."""
    urls = dict(url.split(", ", 1) for url in metadata.get_all("Project-URL", []))
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert urls["Homepage"] == REPOSITORY
    for url in urls.values():
        assert url.startswith(REPOSITORY)
        if url.startswith(IN_TREE):
            assert (ROOT / url.removeprefix(IN_TREE)).exists(), url


def test_it_can_be_found_by_what_it_is(metadata: Message) -> None:
    """Classifiers are those the index knows, and the Python of the lowest release that is allowed is among them."""
    from trove_classifiers import classifiers  # noqa: PLC0415  # a part of the build backend

    given = metadata.get_all("Classifier", [])
    assert set(given) <= set(classifiers)
    lowest = str(metadata["Requires-Python"]).removeprefix(">=")
    assert f"Programming Language :: Python :: {lowest}" in given
    assert {"Framework :: Celery", "Typing :: Typed"} <= set(given)
    assert metadata["License-Expression"] == "Apache-2.0"


def test_its_description_links_to_the_repository(metadata: Message) -> None:
    """No link is relative, for an index has no files beside it; each leads to a file of this tree."""
    text = metadata.get_payload()
    assert isinstance(text, str)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    paths = [link.removeprefix(IN_TREE).partition("#")[0] for link in links if link.startswith(IN_TREE)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_it_holds_the_whole_program(wheel: zipfile.ZipFile) -> None:
    """Every file of both packages, scripts of Redis and the mark of types among them; no tests."""
    names = set(wheel.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "reconciler", "worker", "beat_schedule.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    if not tracked:
        pytest.skip("this tree is no clone: git does not say what belongs to it")
    assert set(tracked) <= names
    assert {"reconciler/py.typed", "reconciler/stores/redis/lua/commit.lua"} <= names
    assert not [name for name in names if name.startswith(("tests/", "examples/", "benchmarks/"))]


def test_it_brings_what_the_pages_and_a_monitoring_need(wheel: zipfile.ZipFile) -> None:
    """Scripts, styles, templates and the description of the API; dashboard and alert rules, as they are in this tree."""
    names = set(wheel.namelist())
    pages = ROOT / "worker" / "dashboard"
    files = [one for kind in ("static/*", "templates/*", "openapi.json") for one in pages.glob(kind)]
    assert len(files) > 10
    assert {str(one.relative_to(ROOT)) for one in files} <= names
    for name in ("grafana-dashboard.json", "prometheus-alerts.yml"):
        [found] = [one for one in names if one.endswith(f".data/data/share/celery-reconciler/{name}")]
        assert wheel.read(found) == (ROOT / "deploy" / name).read_bytes()
