"""Define where the objects of the archive lie, below bucket and prefix of the installation.

    _archive/runs/<project>/<domain>/<run>@<incarnation>.ndjson.gz      one ended run
    _archive/index/<project>/<day>/<digest>.ndjson.gz                    which runs ended on a day (UTC), a line each
    _archive/events/<shard>/<from>_<to>.ndjson.gz                        old events of runs that live for long
    _archive/deleting/… and deleted/…                                    what is deleted on request, and the trace of it
    _archive/bulk/<project>/<name>/…                                     what was asked of many runs, and how far it came

No name starts with `_`, so nothing else lies there, and the submitter may not choose it (`core.layout.base_problem`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from reconciler.api.action import RunId
from reconciler.api.errors import InvalidName
from reconciler.api.names import check_incarnation
from reconciler.core.layout import ARCHIVE
from reconciler.stores.holds import RunLife

RUNS = f"{ARCHIVE}/runs"
INDEX = f"{ARCHIVE}/index"
EVENTS = f"{ARCHIVE}/events"
DELETING = f"{ARCHIVE}/deleting"
DELETED = f"{ARCHIVE}/deleted"
BULK = f"{ARCHIVE}/bulk"
SUFFIX = ".ndjson.gz"


def runs_of(run: RunId) -> str:
    """Return the common start of the paths of all runs that had a name."""
    return f"{RUNS}/{run}@"


def run_path(run: RunId, incarnation: str) -> str:
    """Name the path of one run."""
    return f"{runs_of(run)}{incarnation}{SUFFIX}"


def incarnation_in(path: str) -> str:
    """Read the incarnation from the path of a run."""
    return path.rpartition("@")[2].removesuffix(SUFFIX)


def life_in(path: str) -> RunLife | None:
    """Read which run an object below `RUNS` is of, from its path there; None: it is none of ours."""
    run, _, rest = path.rpartition("@")
    incarnation = rest.removesuffix(SUFFIX)
    try:
        project, domain, name = run.split("/")
        found = RunLife(
            RunId(project, domain, name).checked(), incarnation and check_incarnation(incarnation)
        )
    except (InvalidName, ValueError):
        return None
    return found if rest.endswith(SUFFIX) else None


def day_of(at: int) -> str:
    """Write the day of a time in ms, `YYYY-MM-DD`, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def index_folder(project: str, day: str = "") -> str:
    """Name the path of the index of a project, or of one of its days."""
    return f"{INDEX}/{project}/{day}/" if day else f"{INDEX}/{project}/"


def bulk_folder(project: str, name: str) -> str:
    """Name the path of one bulk."""
    return f"{BULK}/{project}/{name}/"
