"""The command group: loads a command when it is called; each error becomes a sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import click

from reconciler.cli.exits import MEANING, ExitCode, error_document, exit_code_of, sentence_of
from reconciler.cli.format import scrub
from reconciler.cli.terminal import write, write_json
from reconciler.core.visible import visible


class Entry(NamedTuple):
    """A command: where it is, as `module:attribute`, and its line in `--help`, which must not cost its import."""

    target: str
    summary: str


COMMANDS = {
    "submit": Entry("reconciler.cli.submit:submit", "Store an action and print its run."),
    "get": Entry("reconciler.cli.get:get", "Show one action: phase, error, history, outputs."),
    "describe": Entry("reconciler.cli.describe:describing", "Say why an action waits."),
    "list": Entry("reconciler.cli.listing:listing", "List runs, or the actions of one run."),
    "history": Entry("reconciler.cli.history:history", "List ended runs the archive remembers."),
    "watch": Entry("reconciler.cli.watch:watch", "Follow the events of an action until it ends."),
    "events": Entry("reconciler.cli.watch:events", "Show the events of an action so far."),
    "result": Entry("reconciler.cli.result:result", "Wait for an action and print its output."),
    "logs": Entry("reconciler.cli.logs:logs", "Print what the last attempt wrote."),
    "abort": Entry("reconciler.cli.abort:abort", "Stop an action, or a whole run."),
    "rerun": Entry("reconciler.cli.remaking:rerun", "Run an ended run again, as a new one."),
    "recover": Entry("reconciler.cli.remaking:recover", "Go on from what succeeded of an ended run."),
    "fork": Entry("reconciler.cli.remaking:fork", "Recover an ended run with changes."),
    "bulk": Entry("reconciler.cli.bulk:bulk", "Rerun, recover or abort many runs."),
    "prioritize": Entry("reconciler.cli.queues:prioritize", "Give a run or an action another priority."),
    "queue": Entry("reconciler.cli.queues:queue", "List, pause, resume, move or limit queues."),
    "signal": Entry("reconciler.cli.signal:signal", "Answer a condition."),
    "top": Entry("reconciler.cli.top:top", "Show queues and workers, again and again."),
    "doctor": Entry("reconciler.cli.doctor:doctor", "Check settings, servers and workers."),
    "demo": Entry("reconciler.cli.demo:demo", "Show the backend at work, with servers of its own."),
    "dev": Entry("reconciler.cli.dev:dev", "Run servers and workers on this machine."),
}
_HELP = """Durable task actions on Celery, Redis and S3.

RUN is the name of a run (project and domain come from the settings), or project/domain/run.
RUN/ACTION is one of its actions; RUN alone means its root, a0.
"""
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {int(code):>3}  {text}" for code, text in MEANING.items())


class CommandLine(click.Group):
    """`reconciler`. A command that is not installed is not listed."""

    def __init__(self) -> None:
        super().__init__(
            "reconciler",
            help=_HELP,
            epilog=_EPILOG,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            params=[
                click.Option(
                    ["--traceback"], is_flag=True, expose_value=False, help="Show where an error came from."
                ),
                click.Option(
                    ["--version"],
                    is_flag=True,
                    expose_value=False,
                    is_eager=True,
                    callback=_show_version,
                    help="Show the version.",
                ),
            ],
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands that are installed, in the order of `--help`."""
        del ctx
        return [name for name, entry in COMMANDS.items() if find_spec(entry.target.partition(":")[0])]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None when there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = COMMANDS[cmd_name].target.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as click does; a name that is no command is answered with those that are."""
        known = self.list_commands(ctx)
        if not args[0].startswith("-") and args[0] not in known and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {args[0]!r}. There are: {', '.join(known)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].summary) for name in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  # click's signature
        """Run the command. If the reader of our pipe closes it, as `head` does, that is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python would complain when it flushes stdout at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.SUCCEEDED

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  # click's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002  # as above
        **extra: Any,  # noqa: ANN401  # as above
    ) -> Any:  # noqa: ANN401  # as above
        """Run a command line and end the process with its exit code; see `click.Command.main`."""
        given = list(sys.argv[1:] if args is None else args)
        prog = prog_name or self.name
        run = partial(super().main, given, prog, complete_var, False, windows_expand_args, **extra)
        if not standalone_mode:
            return run()
        sys.exit(_guarded(run, given))


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:  # noqa: FBT001  # click's signature
    del param
    if not wanted or ctx.resilient_parsing:
        return
    from importlib import metadata  # noqa: PLC0415  # not needed for --help

    try:
        version = metadata.version("celery-reconciler")
    except metadata.PackageNotFoundError:
        version = "of a source tree that is not installed"
    write(f"reconciler {version}")
    ctx.exit()


def _guarded(run: Callable[[], object], given: Sequence[str]) -> int:
    """Run a command line and return its exit code; an error is printed on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a terminal of another encoding is no reason to fail
    try:
        code = run()
        return int(code) if isinstance(code, int) else ExitCode.SUCCEEDED
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last door: nobody gets to see a traceback
        _tell(error, given)
        return exit_code_of(error)


def _tell(error: BaseException, given: Sequence[str]) -> None:
    if "--traceback" in given:
        write(visible(scrub("".join(traceback.format_exception(error)))), err=True)
    if "--json" in given:
        import msgspec  # noqa: PLC0415  # not needed for --help

        write_json(msgspec.json.encode(error_document(error)), err=True)
        return
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        write(error.format_message(), err=True)  # its text is the help
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        write(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", err=True)
    write(f"Error: {sentence_of(error)}", err=True)
