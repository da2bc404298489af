"""The `reconciler` command, for people and, with `--json`, for programs.

What is asked for goes to stdout: text, or one JSON document (`watch` and `events`: one JSON object per line).
Errors go to stderr: a sentence with its remedy, or with `--json` one JSON object. Exit codes:

| code | meaning |
|---|---|
| 0 | succeeded |
| 1 | unexpected error |
| 2 | wrong usage, or input that cannot be accepted; nothing was stored |
| 3 | the action failed |
| 4 | the action was aborted |
| 5 | the action timed out |
| 6 | not found: no such action, or its object is gone or damaged |
| 7 | a server cannot be reached, or refuses us |
| 8 | the wait timed out; the action goes on |
| 9 | the settings cannot be used, or `doctor` found problems |
| 10 | `doctor --audit` found keys or objects that nobody owns |
| 11 | the queue is full; nothing was stored, try again later |
| 130 | given up at the keyboard (Ctrl-C, or a question answered with no) |
"""

from reconciler.cli.group import CommandLine

main = CommandLine()
"""The entry point; also `python -m reconciler.cli`."""

__all__ = ["main"]
