"""What the tests of the documents' commands share: the commands as they are written, and a terminal to type them into."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli_processes import ROOT
from cli_support import eventually

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "bash", "shell", "zsh"}
"""Languages of fences in which a command would be overlooked: ours is `console`."""


def without_comment(line: str) -> str:
    """Return a command without the remark behind it."""
    return re.sub(r"\s+# .*", "", line)


def commands(page: Path) -> list[str]:
    """Return all commands of a page, in their order."""
    blocks = [text for language, text in FENCE.findall(page.read_text()) if language == "console"]
    lines = [line for block in blocks for line in block.splitlines()]
    return [without_comment(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def written() -> dict[str, list[str]]:
    """Return the commands of each page that has some."""
    found = {str(page.relative_to(ROOT)): commands(page) for page in PAGES}
    return {page: lines for page, lines in found.items() if lines}


class Terminal:
    """A shell in a folder that looks like a clone, with `celery` and `reconciler` on its path.

    Attributes:
        folder: where commands are typed.
        env: its variables.
        put: what stands in the documents → what a reader puts there.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], put: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.put = dict(put or {})
        self.env = {**of_nobody(), **env}
        for name, target in {".venv": Path(sys.prefix), "examples": ROOT / "examples"}.items():
            if not (folder / name).exists():
                (folder / name).symlink_to(target)

    def type(self, *lines: str, answer: str = "") -> str:
        """Type lines into one shell; what they print on stdout. Fails when one does."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(map(self._mine, lines))],
            cwd=self.folder,
            env=self.env,
            input=answer,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{lines} ends with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def running(self, *lines: str) -> Iterator[dict[str, Path]]:
        """Type each line into a terminal of its own, and leave it there; gives what each prints as a file."""
        said = {line: self.folder / f"terminal-{number}.txt" for number, line in enumerate(lines)}
        processes = [self._start(line, path) for line, path in said.items()]
        try:
            yield said
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()

    def _start(self, line: str, path: Path) -> subprocess.Popen[bytes]:
        # `exec`, so that it is the command that is ended, not a shell around it
        script = f"exec env {self._mine(line)}"
        with path.open("wb") as output:
            return subprocess.Popen(
                ["bash", "-c", script], cwd=self.folder, env=self.env, stdout=output, stderr=output
            )

    def _mine(self, line: str) -> str:
        for theirs, mine in self.put.items():
            line = line.replace(theirs, mine)
        return line


def says(path: Path, text: str, within: float = 60.0) -> str:
    """Return all that was printed, once it holds a text."""
    eventually(lambda: text in path.read_text(errors="replace"), within)
    return path.read_text(errors="replace")


def of_nobody() -> dict[str, str]:
    """Return the variables of this process without settings and a path of modules, but with our commands on the path."""
    foreign = ("RECONCILER_", "AWS_", "PYTHONPATH", "CELERY_", "FLOWER_", "MAKE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**env, "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"}
