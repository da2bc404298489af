"""`reconciler submit`: a call of a registered function, or an action of any task type."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from reconciler.api.action import ActionSpec
from reconciler.api.errors import InvalidArguments, InvalidSettings, InvalidSpec
from reconciler.api.schedule import Moment
from reconciler.api.template import Interface, TaskTemplate, encode_template, parse_template
from reconciler.cli import dev_app
from reconciler.cli.arguments import document_of
from reconciler.cli.commands import Command
from reconciler.cli.durations import duration
from reconciler.cli.functions import load_functions
from reconciler.cli.output import emit, say
from reconciler.cli.planning import Plan, plan_options
from reconciler.cli.result import await_value, print_value
from reconciler.cli.session import Place, common_options, connected, leaving_it_running, read_text
from reconciler.client import Client, Run
from reconciler.client.by_name import PublishedTask
from reconciler.core.functions import registry
from reconciler.core.signature_document import Refused
from reconciler.otel.current import join_trace
from reconciler.task import Task

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `submit` that say what to run."""

    function: str | None
    values: tuple[str, ...]
    args: str | None
    app: tuple[str, ...]
    type: str | None
    inputs: str | None
    interface: str | None
    template: Path | None
    run: str
    key: str
    plan: Plan

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: says which.
        """
        plain = {"--inputs": self.inputs, "--interface": self.interface, "--template": self.template}
        if self.function is not None:
            wrong = [name for name, value in {"--type": self.type, **plain}.items() if value is not None]
            if wrong:
                raise click.UsageError(
                    f"{', '.join(wrong)} is not for a FUNCTION, which says all that itself."
                )
        elif self.type is None and self.template is None:
            raise click.UsageError("say what to do: the name of a FUNCTION, or --type with --inputs.")
        elif self.args is not None or self.app:
            raise click.UsageError("--args and --app are for a FUNCTION; a --type takes --inputs.")
        if self.values and self.args is not None:
            raise click.UsageError("give the arguments as NAME=VALUE or as --args, not both.")
        if self.interface is not None and self.template is not None:
            raise click.UsageError(
                "give --interface or --template, not both: a template holds its interface."
            )


@click.command(cls=Command)
@click.argument("function", required=False)
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--args", help="Its arguments by name, as a JSON object; @FILE reads a file, @- stdin.")
@click.option(
    "--app",
    multiple=True,
    metavar="MODULE|FILE",
    help="Module or file that declares it; repeatable.  [default: RECONCILER_IMPORTS, or what workers publish]",
)
@click.option("--type", "type_", help="Task type of an action that is no function, as core-sleep.")
@click.option("--inputs", help="With --type: its inputs, as --args.")
@click.option(
    "--interface", help='With --type: names and types, as {"inputs": {"duration": "duration"}}; or @FILE.'
)
@click.option(
    "--template",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with a whole task template as JSON, instead of --interface.",
)
@click.option("--run", "--name", default="", help="Name of the run.  [default: a new one]")
@click.option(
    "--key",
    "--idempotency-key",
    default="",
    help="Idempotency key: the same key and input again give the first run.",
)
@click.option("--wait", is_flag=True, help="Wait for the end and print the result; exits as `result` does.")
@click.option(
    "--timeout", type=duration, help="With --wait: longest wait, as 60, 10s or 2h.  [default: no limit]"
)
@plan_options
@common_options
def submit(
    *,
    wait: bool,
    timeout: float | None,
    project: str,
    domain: str,
    as_json: bool,
    type_: str | None,
    priority: int | None,
    countdown: float | None,
    eta: datetime | None,
    expires: Moment | None,
    **given: Any,  # noqa: ANN401  # the other fields of Request
) -> None:
    """Store an action and print its run. What was printed is stored: it survives any crash.

    FUNCTION is the stored name of a task, as `images.resize`. Its code need not be here: arguments are checked against what
    its workers publish. A VALUE is text where the parameter takes text, else JSON.

    \b
    reconciler submit images.resize key=cats/1.jpg width=640 --wait
    reconciler submit images.resize --app pictures --args '{"key": "cats/1.jpg"}' --wait
    reconciler submit --type core-sleep --inputs '{"duration": 5}' \\
        --interface '{"inputs": {"duration": "duration"}}'
    """  # noqa: D301  # click reads the character \\b: keep these lines as they are
    plan = Plan(priority=priority, countdown=countdown, eta=eta, expires=expires)
    request = Request(type=type_, plan=plan, **given)
    request.check()
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is for --wait.")
    place = Place(project, domain)
    join_trace(os.environ)
    with connected(place) as client:
        run = _submit_call(client, request) if request.function else _submit_plain(client, request)
        if wait:
            _finish(client, run, timeout, as_json=as_json)
        elif as_json:
            emit(_document(run))
        else:
            say(str(run.id))


def _document(run: Run[Any]) -> dict[str, object]:
    return {"run": str(run.id), "action": str(run.action)}


def _finish(client: Client, run: Run[Any], timeout: float | None, *, as_json: bool) -> None:
    """Print run and result. The run is printed in any case: it is stored, even if the waiting is interrupted."""
    document = _document(run)
    if not as_json:
        say(str(run.id))
    try:
        with leaving_it_running(run.action):
            value = await_value(client, run.action, timeout)
        document |= {"result": value} if value is not None else {"result": None, "redacted": True}
    finally:
        if as_json:
            emit(document)
    if not as_json:
        print_value(value, as_json=False)


def _submit_call(client: Client, request: Request) -> Run[Any]:
    """Submit a call of a registered function.

    Raises:
        InvalidSpec: no function has this name; lists those that are known.
        InvalidArguments: the arguments do not fit its signature.
    """
    task = _task(client, request)
    kinds = task.signature.interface["inputs"]
    if request.values:
        document, given = document_of(request.values, kinds), "NAME=VALUE"
    else:
        document, given = read_text("--args", request.args if request.args is not None else "{}"), "--args"
    try:
        args, kwargs = task.signature.call_form(task.signature.decode_arguments(document))
    except InvalidArguments as error:
        # The signature speaks of stored inputs; these were typed just now.
        refused = error.__context__
        problem = refused.problem if isinstance(refused, Refused) else str(error)
        expected = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        form = "name=value for each of" if request.values else "a JSON object with"
        raise InvalidArguments(
            f"{given} does not fit {task.name}: {problem}. Write {form} {expected or 'no keys'}."
        ) from error
    return task.submit(args, kwargs, run=request.run, idempotency_key=request.key, **request.plan)


def _task(client: Client, request: Request) -> Task[..., Any] | PublishedTask:
    """Load the modules and find the task, to be submitted through our client; otherwise ask what workers publish."""
    applications = [dev_app.find(app) for app in request.app]
    modules = tuple(application.module for application in applications) or client.settings.imports
    try:
        load_functions(modules, [application.folder for application in applications])
    except InvalidSettings as error:
        if request.app:
            raise click.BadParameter("; ".join(error.problems), param_hint="--app") from error
        raise
    name = request.function or ""
    known = registry.get(name)
    if known is None and request.app:
        raise InvalidSpec(_unknown(name, modules))
    if known is None:
        return _published(client, name, modules)
    for module in dict.fromkeys((known.function.__module__, *modules)):
        for value in vars(sys.modules[module]).values():
            if issubclass(type(value), Task) and value.name == name:
                value.env.client = client
                return cast("Task[..., Any]", value)
    raise InvalidSpec(
        f"the task {name} ({known.place}) is no global of its module, so it cannot be found by name."
    )


def _published(client: Client, name: str, modules: tuple[str, ...]) -> PublishedTask:
    try:
        return client.task(name)
    except InvalidSpec as error:
        if get_close_matches(name, registry.names(), 1):
            raise InvalidSpec(_unknown(name, modules)) from error
        raise


def _unknown(name: str, modules: tuple[str, ...]) -> str:
    names = registry.names()
    if not names:
        remedy = "Name the module that declares it with --app or RECONCILER_IMPORTS."
        return f"no function is named {name!r}: {', '.join(modules)} declares none. {remedy}"
    close = get_close_matches(name, names, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"no function is named {name!r}. Known: {', '.join(names)}.{hint}"


def _submit_plain(client: Client, request: Request) -> Run[Any]:
    """Submit an action of any task type.

    Raises:
        InvalidSpec: inputs, interface or template are not the JSON they should be.
    """
    inputs = read_text("--inputs", request.inputs if request.inputs is not None else "{}")
    try:
        _object.decode(inputs)
    except msgspec.DecodeError as error:
        raise InvalidSpec(f"--inputs must be a JSON object: {error}") from error
    template, task_type = _template(request)
    spec = ActionSpec(run_name=request.run, task_type=task_type, task_template=template, inputs=inputs)
    return client.submit(spec, idempotency_key=request.key, **request.plan)


def _template(request: Request) -> tuple[bytes, str]:
    """Read the bytes of the template and the task type."""
    if request.template is None:
        document = read_text("--interface", request.interface if request.interface is not None else "{}")
        try:
            interface = msgspec.json.decode(document, type=Interface)
        except msgspec.DecodeError as error:
            raise InvalidSpec(
                f'--interface must be a JSON object with "inputs" and "outputs": {error}'
            ) from error
        task_type = request.type or ""
        return encode_template(TaskTemplate(type=task_type, interface=interface)), task_type
    data = request.template.read_bytes()
    try:
        template = parse_template(data)
    except msgspec.DecodeError as error:
        raise InvalidSpec(
            f"{request.template} is no task template: {error}. Give the JSON of a TaskTemplate."
        ) from error
    if request.type and template.type and request.type != template.type:
        raise InvalidSpec(
            f"{request.template} is a template of type {template.type!r}, not {request.type!r}; leave out --type"
        )
    task_type = request.type or template.type
    if not task_type:
        raise InvalidSpec(f'{request.template} names no task type: add "type" to it, or give --type')
    return data, task_type
