"""Name the folders in S3 that belong to one action alone, and are removed when its record and archive are gone.

Not those of a cached task, as the catalog refers to them; not a folder the submitter chose, as others may have chosen it.
"""

from __future__ import annotations

from reconciler.api.action import TaskAction
from reconciler.api.template import template_or_none
from reconciler.core.layout import INPUTS, inputs_folder, packs_folder, run_folder
from reconciler.core.paths import output_prefix
from reconciler.stores.garbage import Folders
from reconciler.stores.objects import BlobStore


def folders_of(blobs: BlobStore, action: TaskAction) -> Folders:
    """Name the folders of an action's inputs and attempts; where these stay, that of its children's packs alone."""
    template = template_or_none(action)
    kept = template is None or (template.metadata is not None and template.metadata.discoverable)
    spec, name = action.spec, action.id.action
    if kept:
        return (_packs_of(blobs, action),) if action.metadata.incarnation and action.children.total else ()
    if not action.metadata.incarnation:
        return _old_folders(blobs, action)
    own = blobs.uri(run_folder(action.id.run_id, action.metadata.incarnation))
    inputs = f"{own}/{name}"
    if spec.run_output_base == own:
        return (_attempts_of(action), inputs)
    return (inputs,)  # and the values its function kept


def _packs_of(blobs: BlobStore, action: TaskAction) -> str:
    """Name the folder of what its children share: no child outlives its parent, and none that is cached has a part there."""
    own = blobs.uri(run_folder(action.id.run_id, action.metadata.incarnation))
    return packs_folder(own, action.id.action)


def _old_folders(blobs: BlobStore, action: TaskAction) -> Folders:
    """Name the folders of an action in the layout of earlier releases, where one project could lie within another.

    `<2 characters>/<project>/<domain>/<run>/<action>` is a folder of attempts, and one of inputs when a project is called
    like a shard. So only the very folder of the inputs goes, and no attempts of an action called `inputs`.
    """
    spec, name = action.spec, action.id.action
    if spec.run_output_base != blobs.uri(run_folder(action.id.run_id, "")):
        return ()
    attempts = () if name == INPUTS else (_attempts_of(action),)
    inputs = inputs_folder(spec.run_output_base, name, spec.inputs_digest)
    return (*attempts, inputs) if spec.inputs_digest and spec.input_uri == inputs else attempts


def _attempts_of(action: TaskAction) -> str:
    metadata, base = action.metadata, action.spec.run_output_base
    return output_prefix(metadata.namespace, metadata.name, base, action.id.action, 1).rpartition("/")[0]
