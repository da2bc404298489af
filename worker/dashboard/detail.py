"""Collect what a page shows of one run or one action: inputs, outputs and logs included."""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec

from reconciler.api.action import CONDITION, ActionId, RunId, TaskAction
from reconciler.api.approval import read_condition
from reconciler.api.audit import Who
from reconciler.api.errors import ActionNotFound, BlobNotFound, InvalidInput, ReconcilerError
from reconciler.api.event import ActionEvent
from reconciler.api.logins import WHOLE, View
from reconciler.api.template import template_or_none
from reconciler.cli.describe import why_document
from reconciler.cli.documents import action_document, counts_document, error_of
from reconciler.cli.format import size
from reconciler.cli.log_places import place_of, read_log
from reconciler.client import Client
from reconciler.client.actions import Actions
from reconciler.client.describing import Described, describe
from reconciler.client.reading import read_traceback
from reconciler.client.waiting import document_of
from reconciler.core.children import GROUPS, ROOT
from reconciler.core.counted import counted
from reconciler.core.documents import Document, event_document
from reconciler.core.events import observed_attempts
from reconciler.core.redaction import redaction_of, shown_inputs
from reconciler.core.visible import visible
from reconciler.stores.holds import RunLife
from reconciler.stores.outputs import read_inputs
from worker.dashboard.buttons import buttons_of, takes_inputs
from worker.dashboard.markdown import read_markdown
from worker.dashboard.passes import events_of, has_passes
from worker.dashboard.remembered import reader
from worker.dashboard.rows import bars, error_text, row, task_of
from worker.dashboard.typed_inputs import editable, in_order

PREVIEW: Final = 64 * 1024
"""Most characters of a document or a log that a page shows; the whole can be loaded."""
EDITED: Final = 256 * 1024
"""Largest inputs that a form edits, in bytes."""
_READ: Final = 1024 * 1024
"""Largest object that is read for a preview, in bytes."""
ROWS: Final = 2000
"""Actions in one answer."""
_DEEP: Final = 8
"""Actions in a chain of errors, at most."""


def run_document(
    client: Client, run: RunId, incarnation: str = "", view: View = WHOLE, *, read_only: bool
) -> Document:
    """Write a run: its actions by phase, its root, and the place in the results channel after which changes are new.

    Args:
        client: of the installation.
        run: its name.
        incarnation: of several runs of the name this one; empty = the last one.
        view: what the reader sees of other runs.
        read_only: whether there are no buttons.

    Raises:
        ActionNotFound: there is no such run.
    """
    now = client.store.now()
    read = reader(client, run, incarnation)
    counts = read.counts(run)
    root = root_of(read, run)
    archived = root is not None and root.archived
    return {
        "run": str(run),
        "archived": archived,
        "incarnation": incarnation or (root.metadata.incarnation if root else ""),
        "phases": counts_document(counts),
        "actions": counts.total,
        "ended": counts.ended,
        "root": row(root) if root else None,
        **lineage_document(client, root, view),
        "buttons": buttons_of(root) if root and not read_only else [],
        "cursor": f"{now - 1}-0",
        "now": now,
    }


def root_of(read: Actions, run: RunId) -> TaskAction | None:
    """Read the root of a run, from the records or the archive; None when it has none of the usual name."""
    try:
        return read.get(run.action(ROOT))
    except ActionNotFound:
        return None


def lineage_document(client: Client, root: TaskAction | None, view: View = WHOLE) -> Document:
    """Say which run a run was made of, and which runs were made of it, among projects the reader sees."""
    if root is None:
        return {"made_by": None, "made_into": []}
    lineage = root.metadata.lineage
    life = RunLife(root.id.run_id, root.metadata.incarnation)
    return {
        "made_by": {"verb": lineage.verb, "source": lineage.source, "changed": lineage.changed}
        if lineage and view.sees(lineage.source.partition("/")[0])
        else None,
        "made_into": [str(run) for run in client.made_into(life) if view.sees(run.project)],
    }


def rows_document(client: Client, run: RunId, after: str, incarnation: str = "", limit: int = 0) -> Document:
    """Write a page of the actions of a run, by parent and name; `next` continues, empty = the end. Limit 0: `ROWS`.

    Raises:
        InvalidInput: more rows are asked for, or from a place that is none.
    """
    if limit > ROWS:
        raise InvalidInput(f"limit must be at most {ROWS}, got {limit}; 0 asks for as many")
    if after and "/" not in after:
        raise InvalidInput(
            f"after {visible(after[:80])!r} is no place in the actions; use `next` of the answer before"
        )
    most = limit or ROWS
    page = client.store.list_actions(run, after=after, limit=most)
    records, go_on = page.actions, page.next
    if not records or incarnation not in {"", records[0].metadata.incarnation}:
        records = list(islice(reader(client, run, incarnation).actions(run, after=after), most))
        go_on = place_in_run(records[-1]) if len(records) == most else ""
    return {"actions": [_row(client, record) for record in records], "next": go_on, "now": client.store.now()}


def _row(client: Client, record: TaskAction) -> Document:
    """Write a row; one of a live run whose passes are told only by events is in short, and read by its name when seen."""
    if record.archived:
        return row(record, events_of(client, record))
    return {**row(record), "brief": True} if has_passes(record) else row(record)


def place_in_run(record: TaskAction) -> str:
    """Return the place of an action in the list of its run."""
    return f"{record.spec.parent_action_name or ''}/{record.id.action}"


def action_page(
    client: Client, action: ActionId, incarnation: str = "", view: View = WHOLE, *, read_only: bool
) -> Document:
    """Write everything about one action; of several runs of its name that of this incarnation, or else the last one.

    Raises:
        ActionNotFound: there is no such action.
    """
    read = reader(client, action.run_id, incarnation)
    record = read.get(action)
    chain = (
        describe(client, action, sees=view.sees)
        if not record.phase.is_terminal()
        else [Described(record, None)]
    )
    record = chain[0].record
    events, inputs = read.events(action), inputs_preview(client, record)
    record.set_metadata(submitted=read.submitter(record))
    return {
        **action_document(record, events, why=chain[0].why),
        "task": task_of(record),
        "why": [why_document(one) for one in chain],
        "question": _question(record),
        "events_told": [_event(record, event) for event in events],
        "bars": bars(record, events),
        "blame": blame(read, record),
        "traceback": read_traceback(client.blobs, record, _READ)[-PREVIEW:],
        "inputs_preview": inputs,
        "outputs_preview": outputs_preview(client, record),
        "types": _types(record, inputs),
        "buttons": [] if read_only else buttons_of(record),
        "now": client.store.now(),
    }


def _event(record: TaskAction, event: ActionEvent) -> Document:
    """Write an event with what only the record knows: by which way its actor came, and what a person answered."""
    signal = record.signal if event.final and not redaction_of(record).outputs else None
    return event_document(event) | {
        "door": _door(record, event),
        "answer": msgspec.json.encode(signal.value).decode() if signal else None,
    }


def _door(record: TaskAction, event: ActionEvent) -> str | None:
    """Tell by which way the actor of an event came, as the record of the action has it; None when it does not say."""
    submitted, deletion, signal = record.metadata.submitted, record.metadata.deletion, record.signal
    known = [Who(submitted.actor, submitted.door)] if submitted and event.sequence == 1 else []
    if event.final:
        known += [Who(deletion.actor, deletion.door)] if deletion else []
        known += [Who(signal.by, signal.door)] if signal else []
    return next((one.door for one in known if one.actor == event.actor and one.door), None)


def blame(read: Actions, record: TaskAction) -> list[Document]:
    """Find which actions below a failed one failed first: a child, a child of that, and so on."""
    chain: list[Document] = []
    while record.children.failed and len(chain) < _DEEP:
        children = read.actions(record.id.run_id, parent=record.id.action)
        bad = next(
            (child for child in children if child.phase.is_terminal() and not child.phase.has_outputs()), None
        )
        if bad is None:
            break
        record, text = bad, error_text(error_of(bad))
        chain.append({"action": str(bad.id), "phase": str(bad.phase), "task": task_of(bad), "error": text})
    return chain


def _question(record: TaskAction) -> Document | None:
    if record.spec.action_type != CONDITION:
        return None
    spec = read_condition(record.spec.condition_spec)
    if spec is None:
        return None
    return {
        "name": spec.name,
        "type": spec.type,
        "asks_for": spec.asks_for,
        "prompt": spec.prompt,
        "prompt_read": read_markdown(spec.prompt),
        "description": spec.description,
        "description_read": read_markdown(spec.description),
    }


def _types(record: TaskAction, inputs: Document | None) -> Document:
    """Write the types of inputs and outputs; the inputs in the order of their document, which is that of the declaration."""
    template = template_or_none(record)
    interface = template.interface if template else None
    if interface is None:
        return {}
    shown = (inputs or {}).get("text", "").encode()
    return {"inputs": in_order(interface.inputs, shown), "outputs": interface.outputs}


def inputs_preview(client: Client, record: TaskAction) -> Document | None:
    """Return the inputs as text; integers of any size are exact. None when there are none, as for a question."""
    if not takes_inputs(record):
        return None
    try:
        data = read_inputs(client.blobs, record.spec, limit=_READ)
        return _preview(shown_inputs(redaction_of(record), data))
    except ReconcilerError as error:
        return {"problem": str(error)}


def outputs_preview(client: Client, record: TaskAction) -> Document | None:
    """Return the outputs as text; None when there are none."""
    if record.status.outputs is None and record.signal is None:
        return None
    if redaction_of(record).outputs:
        return {
            "problem": "Its outputs are redacted, as its task says: a program reads them by Client.result."
        }
    try:
        return _preview(outputs_of(client, record, _READ))
    except ReconcilerError as error:
        return {"problem": str(error)}


def outputs_of(client: Client, record: TaskAction, limit: int) -> bytes:
    """Read the outputs document of an action.

    Raises:
        BlobNotFound, BlobCorrupt, BlobUnavailable: it cannot be read.
    """
    return document_of(record, lambda ref: client.blobs.get(ref.uri, sha256=ref.sha256, limit=limit))


def whole_document(client: Client, action: ActionId, which: str, incarnation: str = "") -> bytes:
    """Read the whole inputs or outputs of an action, for a download.

    Raises:
        ActionNotFound: there is no such action.
        InvalidInput: they are redacted.
        ReadFailed, BlobNotFound, BlobCorrupt, BlobUnavailable: they cannot be read.
    """
    record, limit = reader(client, action.run_id, incarnation).get(action), client.settings.max_object_size
    redaction = redaction_of(record)
    if redaction.outputs if which == "outputs" else redaction.inputs:
        raise InvalidInput(
            f"the {which} of {action} are redacted, as its task says; a program reads them by Client.get"
        )
    if which == "inputs":
        return _given(client, record)
    if record.status.outputs is None and record.signal is None:
        raise BlobNotFound(_no_outputs(record))
    return outputs_of(client, record, limit)


def _no_outputs(record: TaskAction) -> str:
    """Say why an action has no outputs, and where the results are if they are elsewhere."""
    if record.spec.task_type in GROUPS:
        members = counted(record.children.total, "member")
        return f"{record.id} is a group and has no outputs of its own: each of its {members} below it has its own"
    if record.phase.has_outputs():
        return f"{record.id} is {record.phase} and returned nothing: its task has no outputs"
    return f"{record.id} is {record.phase} and has no outputs; only what succeeded has"


def _given(client: Client, record: TaskAction) -> bytes:
    if not takes_inputs(record):
        raise BlobNotFound(f"{record.id} has no inputs; only what was asked for with some has")
    return read_inputs(client.blobs, record.spec, limit=client.settings.max_object_size)


def editable_document(client: Client, action: ActionId, incarnation: str = "") -> Document:
    """Write the inputs of an action that lie in S3 as a form edits them.

    Raises:
        ActionNotFound: there is no such action.
        BlobNotFound: it has none.
        InvalidInput: they are too large for a form, with the way to change them all the same.
        ReadFailed: they cannot be read.
    """
    record = reader(client, action.run_id, incarnation).get(action)
    data = _given(client, record)
    if len(data) > EDITED:
        raise InvalidInput(
            f"the inputs are {size(len(data))}, and a form edits {size(EDITED)} at most: download them, change the file, "
            f"and run `reconciler fork {action.run} --input {action.action}=@inputs.json`"
        )
    text, parts = editable(record, data)
    return {"inputs": text, "parts": [msgspec.to_builtins(part) for part in parts]}


def _preview(data: bytes) -> Document:
    try:
        text = msgspec.json.format(data, indent=2).decode(errors="replace")
    except (msgspec.DecodeError, ValueError):
        text = data.decode(errors="replace")
    return {"text": text[:PREVIEW], "size": len(data), "cut": len(text) > PREVIEW}


def whole_log(client: Client, action: ActionId, attempt: int, incarnation: str = "") -> bytes:
    """Read the log of an attempt from its beginning; 0 = the last one. As far as it is written, if it grows.

    Raises:
        ActionNotFound: there is no such action.
        InvalidInput: it has had no such attempt.
        BlobNotFound, BlobCorrupt, BlobUnavailable: it cannot be read.
    """
    return _log_of(client, action, attempt, incarnation)[2]


def log_document(client: Client, action: ActionId, attempt: int, incarnation: str = "") -> Document:
    """Read the end of the log of an attempt; 0 = the last one.

    Raises:
        ActionNotFound: there is no such action.
        InvalidInput: it has had no such attempt.
        BlobNotFound, BlobCorrupt, BlobUnavailable: it cannot be read.
    """
    record, number, data = _log_of(client, action, attempt, incarnation)
    return {
        "attempt": number,
        "log": data[-PREVIEW:].decode(errors="replace"),
        "size": len(data),
        "cut": len(data) > PREVIEW,
        "grows": not record.phase.is_terminal() and number == observed_attempts(record),
    }


def _log_of(
    client: Client, action: ActionId, attempt: int, incarnation: str
) -> tuple[TaskAction, int, bytes]:
    read = reader(client, action.run_id, incarnation)
    record = read.get(action)
    number = attempt or observed_attempts(record)
    if number > observed_attempts(record):
        raise InvalidInput(
            f"{action} has had {counted(observed_attempts(record), 'attempt')}, and no attempt {number}: choose one of these"
        )
    place = place_of(record, read.events(action), number)
    return record, number, read_log(client, place, client.settings.max_object_size) if place else b""
